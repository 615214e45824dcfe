"""Memorisation: is a synthetic volume, or a part of it, some patient's?

A copy is much nearer to one patient than to every other. The statistic is the ratio of the
distance to the nearest patient over the distance to the second nearest *patient* (not volume:
two scans of a person are near each other). It does not blame a model for making volumes that
are near everybody, as an average is.

Calibration: the gap between the two smallest of many independent distances is asymptotically
exponential (Renyi 1953), so -log(ratio) of volumes that are nobody's copy is about
exponential. Its scale is estimated on the real patients themselves, each left out in turn, by
the median, which unnoticed duplicates among them do not move. The threshold is where the whole
audit would raise a false alarm once in a hundred times.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medvae.audit.embed import Embedded, distances
from medvae.audit.report import Finding

_ALPHA = 0.01
# -log(ratio) below this is as good as none; keeps the threshold off 1 for tight cohorts.
_LEAST_SCALE = 0.01
_TINY = 1e-6

Array = npt.NDArray[np.float64]


def whole_copies(made: Embedded, real: Embedded) -> Finding:
    """Copies of a whole volume, as it is or mirrored, whatever its brightness and contrast."""
    patients, one, two = real.subjects, made.whole(), real.whole()
    between = np.minimum(distances(one, two), distances(made.mirrored(), two))
    among = np.minimum(distances(two, two), distances(real.mirrored(), two))
    seen = _ratios(between, patients)
    usual = _ratios(among, patients, own=patients)
    return _judge("whole copies", "volume", seen[None], usual[None])


def part_copies(made: Embedded, real: Embedded) -> Finding:
    """Copies of an octant, or of a quarter of a picture, in its place."""
    patients = real.subjects
    one, two = made.parts(), real.parts()
    seen = np.stack([_ratios(distances(a, b), patients) for a, b in zip(one, two, strict=True)])
    usual = np.stack([_ratios(distances(b, b), patients, own=patients) for b in two])
    part = "quarter of a picture" if real.planar else "octant of a volume"
    return _judge("copied parts", part, seen, usual)


def _ratios(
    between: Array, patients: npt.NDArray[np.str_], own: npt.NDArray[np.str_] | None = None
) -> Array:
    """[n] nearest over second nearest patient, of rows [n, m]; `own` patients are left out."""
    names, index = np.unique(patients, return_inverse=True)
    nearest = np.full((len(between), len(names)), np.inf)
    for column, name in enumerate(index):
        nearest[:, name] = np.minimum(nearest[:, name], between[:, column])
    if own is not None:
        nearest[names[None, :] == own[:, None]] = np.inf
    smallest = np.partition(nearest, 1, axis=1)[:, :2]
    return (smallest[:, 0] + _TINY) / (smallest[:, 1] + _TINY)


def _judge(name: str, unit: str, seen: Array, usual: Array) -> Finding:
    """seen, usual: [places, n] ratios; each place has a scale of its own."""
    scale = np.maximum(np.median(-np.log(usual), axis=1) / math.log(2), _LEAST_SCALE)
    # How improbable each ratio is, in units of its place's scale.
    excess = -np.log(seen) / scale[:, None]
    limit = math.log(seen.size / _ALPHA)
    caught = int((excess > limit).any(axis=0).sum())
    worst = float(excess.max())
    lowest = float(seen.min())
    found = float(np.exp(-limit * scale).max())
    verdict = (
        f"none of {seen.shape[1]} synthetic volumes is nearer to one patient than chance allows"
        if caught == 0
        else f"{caught} of {seen.shape[1]} synthetic volumes hold a copy of a patient's {unit}"
    )
    return Finding(
        name=name,
        statistic=worst,
        threshold=limit,
        passed=caught == 0,
        sentence=f"{verdict} (smallest distance ratio {lowest:.3f}; below {found:.3f} a volume is "
        "called a copy, and above it nothing is found)",
        details={
            "caught": caught,
            "synthetic": seen.shape[1],
            "lowest_ratio": lowest,
            "usual_ratio": float(np.median(usual)),
            "false_alarm_rate": _ALPHA,
        },
        power={"distance_ratio": found, "risk": _ALPHA},
    )
