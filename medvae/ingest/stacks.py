"""Whether slices form one stack: how far apart they are, and what is wrong where they are not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.float64]

# Of the distance between slices:
SAME_POSITION = 0.02
GAP = 1.5
UNEVEN = 0.2
# Millimetres below which two positions are one, whatever the distance between slices.
ROUNDING = 1e-3
# Differences between two spellings of one direction, and of one pixel spacing (relative).
SAME_DIRECTION = 0.01
SAME_SPACING = 1e-3
# Steps that differ by more than this factor are of two kinds.
TWO_KINDS = 3.0
MOST_NAMED = 3
# So few gaps between so many small steps are between blocks of slices, not acquisitions.
MOST_BLOCKS, LEAST_OF_A_BLOCK = 3, 4


def median(values: Positions) -> float:
    """The median of finite numbers [N]; NaN of none.

    `np.median` loads numpy.ma, which takes a process that reads one series as long as 20 slices.
    """
    ordered = np.sort(values)
    if not ordered.size:
        return float("nan")
    return float((ordered[(ordered.size - 1) // 2] + ordered[ordered.size // 2]) / 2)


def same_place(along: Positions) -> float:
    """Millimetres below which two slices are at one place.

    Args:
        along: [N] sorted positions along the normal, millimetres.
    """
    steps = np.diff(along)
    apart = steps[steps > ROUNDING]
    return max(ROUNDING, SAME_POSITION * median(apart) if apart.size else 0.0)


def clashes(along: Positions) -> int:
    """How many slices are where another one is (`along` as in `same_place`)."""
    return int((np.diff(along) <= same_place(along)).sum())


def most_at_one_place(along: Positions) -> int:
    """The largest number of slices at one place (`along` as in `same_place`)."""
    apart = np.flatnonzero(np.diff(along) > same_place(along))
    return int(np.diff([-1, *apart, len(along) - 1]).max())


def problem(along: Positions, thickness: Positions | None = None) -> str:
    """Why slices at distinct places are no evenly spaced stack; empty where they are one.

    Args:
        along: [N] sorted positions along the normal, millimetres.
        thickness: [N] of each slice, millimetres, NaN where it is unknown.
    """
    steps = np.diff(along)
    if steps.size < 2:
        return ""
    if near := _pairs(steps):
        return (
            f"{near} of its slices are within {steps.min():.2g} mm of another one: several "
            "acquisitions in one series, to be split first"
        )
    usual = median(steps)
    gaps = np.flatnonzero(steps > GAP * usual)
    if gaps.size and _are_missing(steps, gaps, usual, thickness):
        missing = int(np.rint(steps[gaps] / usual - 1).sum())
        where = ", ".join(str(gap + 1) for gap in gaps[:MOST_NAMED])
        more = " and others" if gaps.size > MOST_NAMED else ""
        are = "slice is" if missing == 1 else "slices are"
        return (
            f"about {missing} {are} missing between its {len(along)} slices (after slice "
            f"{where}{more}): export it again"
        )
    even = np.linspace(along[0], along[-1], len(along))
    if gaps.size or np.abs(along - even).max() > UNEVEN * usual:
        return (
            f"its slices are not evenly spaced ({steps.min():.3g} to {steps.max():.3g} mm apart): "
            "resample it first"
        )
    return ""


def is_only_uneven(along: Positions, thickness: Positions | None = None) -> bool:
    """Whether all that is wrong with slices is that their distances differ (as `problem`)."""
    return "not evenly spaced" in problem(along, thickness)


def _pairs(steps: Positions) -> int:
    """How many slices follow another one within a fraction of the usual distance."""
    rising = np.sort(steps)
    jumps = rising[1:] / rising[:-1]
    if jumps.max() < TWO_KINDS:
        return 0
    low = steps <= rising[int(jumps.argmax())]
    between = int((~low).sum())
    if between < MOST_BLOCKS and low.sum() >= LEAST_OF_A_BLOCK * (between + 1):
        return 0
    usual = median(steps[~low])
    # Long runs of small steps are blocks of slices with gaps between them.
    lengths = np.zeros(len(steps) + 1)
    for index, step in enumerate(steps):
        lengths[index + 1] = lengths[index] + step if low[index] else 0.0
    return int(low.sum()) if lengths.max() < 0.5 * usual else 0


def _are_missing(
    steps: Positions, gaps: npt.NDArray[np.intp], usual: float, thickness: Positions | None
) -> bool:
    """Whether gaps are whole numbers of steps that no thicker slice fills."""
    times = steps[gaps] / usual
    if np.abs(times - np.rint(times)).max() > UNEVEN:
        return False
    if thickness is None:
        return True
    filled = np.maximum(thickness[gaps], thickness[gaps + 1]) > steps[gaps] / GAP
    return not filled.any()
