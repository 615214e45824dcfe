"""PNG pictures of a release: contact sheet, histogram, trade-off curve.

Written without dates or version strings, so that equal volumes give equal files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medvae.cine import spread
from medvae.release.survey import Survey, grey_or_colour, slice_of
from medvae.volume import Volume

# Okabe and Ito's colours, which colour-blind readers distinguish too.
LABEL_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
PLANES = ("sagittal", "coronal", "axial")
# What is to the left, right, bottom and top of a slice across an axis.
SIDES = {2: tuple("LRPA"), 1: tuple("LRIS"), 0: tuple("PAIS")}
# Frames beside one another, and moving images below one another, on a sheet.
_COLUMNS, MOVING = 10, 6
_INK, _GREY = "#1b1f24", "#6a737d"


def contact_sheet(survey: Survey, title: str, subtitle: str) -> bytes:
    """The volumes kept by the survey, one a column, the middle slice of each plane a row.

    For volumes with channels, a row is the axial slice of a channel. For moving images, a row is a
    volume with its frames side by side.
    """
    from matplotlib.figure import Figure

    sample = survey.shown
    rows = _rows(sample)
    columns = len(rows[0][2])
    numbers = _frames_shown(sample[0]) if sample[0].is_cine else range(columns)
    heights = [max(_frame(v, axis) for v in volumes) for _, axis, volumes in rows]
    titled = "frame {}" if sample[0].is_cine else "{:04d}"
    cell, head, side = 1.45, 0.95, 0.75
    size = (side + cell * columns + 0.15, head + cell * sum(heights) + 0.35)
    figure = Figure(figsize=size, dpi=110, facecolor="white")
    grid = figure.add_gridspec(
        len(rows), columns, height_ratios=heights, wspace=0.04, hspace=0.04,
        left=side / size[0], right=1 - 0.15 / size[0],
        bottom=0.3 / size[1], top=1 - head / size[1],
    )  # fmt: skip
    for row, (name, axis, volumes) in enumerate(rows):
        for column, volume in enumerate(volumes):
            axes = figure.add_subplot(grid[row, column])
            _panel(axes, volume, axis, survey.channels.get(name, survey))
            if row == 0:
                axes.set_title(titled.format(numbers[column] + 1), fontsize=8, color=_GREY, pad=3)
            if column == 0:
                axes.set_ylabel(name, fontsize=8, color=_GREY)
    left, top = side / size[0], size[1]
    figure.text(left, 1 - 0.36 / top, title, fontsize=12, color=_INK, weight="bold")
    figure.text(left, 1 - 0.60 / top, subtitle, fontsize=8.5, color=_GREY)
    return _png(figure)


def _rows(volumes: Sequence[Volume]) -> list[tuple[str, int, Sequence[Volume]]]:
    """Name of each row, the axis that its slices are across, and what it shows of each volume."""
    first = volumes[0]
    if not first.channels or first.shape[2] == 1:
        return [(name, axis, volumes) for axis, name in planes_of(first).items()]
    if first.is_cine:
        return [
            (f"{number:04d}", 2, [volume.channel(at) for at in _frames_shown(first)])
            for number, volume in enumerate(volumes[:MOVING], 1)
        ]
    return [
        (name, 2, [volume.channel(at) for volume in volumes])
        for at, name in enumerate(first.channels)
    ]


def _frames_shown(volume: Volume) -> list[int]:
    """Evenly spread frames, as many as a row of the sheet holds."""
    there = len(volume.channels)
    return spread(min(there, _COLUMNS), there)


def planes_of(volume: Volume) -> dict[int, str]:
    """Axis that a plane is across -> its name, in the order shown; a picture is one plane."""
    return {axis: PLANES[axis] for axis in (2, 1, 0)} if volume.shape[2] > 1 else {2: "picture"}


def _frame(volume: Volume, axis: int) -> float:
    """Physical height over width of a slice."""
    across, up = (volume.spacing[a] * volume.shape[a] for a in range(3) if a != axis)
    return up / across


def _panel(axes: Any, volume: Volume, axis: int, survey: Survey) -> None:
    index = best_slice(volume, axis)
    across, up = [volume.spacing[a] for a in range(3) if a != axis]
    picture = grey_or_colour(volume, axis, index, survey.low, survey.high, survey.exponent)
    axes.imshow(
        picture, cmap="gray", vmin=0, vmax=255,
        aspect=up / across, interpolation="bilinear",
    )  # fmt: skip
    if volume.mask is not None:
        labels = slice_of(volume.mask, axis, index)
        for value in survey.labels:
            inside = labels == value
            if inside.any() and not inside.all():
                colour = LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]
                axes.contour(inside, levels=[0.5], colors=[colour], linewidths=1.1)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def best_slice(volume: Volume, axis: int) -> int:
    """The slice that shows most of the labels, or the middle one."""
    if volume.mask is not None and volume.mask.any():
        others = tuple(a for a in range(3) if a != axis)
        return int(np.argmax((volume.mask > 0).sum(axis=others)))
    return volume.shape[axis] // 2


def histogram(surveys: Mapping[str, Survey], noun: str = "volumes") -> bytes:
    """Share of voxels a bin, over all synthetic volumes; a panel for each unit.

    surveys: by what is written under the axis.
    """
    from matplotlib.figure import Figure

    size = (6.4, 2.8 * len(surveys))
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    every = figure.subplots(len(surveys), squeeze=False)[:, 0]
    for axes, (unit, survey) in zip(every, surveys.items(), strict=True):
        _bars(axes, survey, unit)
    count = next(iter(surveys.values())).count
    every[0].set_title(
        f"Intensities of {count} synthetic {noun}", fontsize=10, loc="left", color=_INK
    )
    return _png(figure)


def _bars(axes: Any, survey: Survey, unit: str) -> None:
    share = survey.counts / max(int(survey.counts.sum()), 1) * 100
    axes.stairs(share, survey.edges, fill=True, color="#56B4E9", alpha=0.55)
    axes.stairs(share, survey.edges, color="#0072B2", linewidth=1.2)
    axes.set_xlim(survey.low, survey.high)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(unit, fontsize=9, color=_INK)
    axes.set_ylabel("% of voxels", fontsize=9, color=_INK)
    axes.tick_params(labelsize=8, colors=_GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def trade_off(curve: dict[str, list[float]], unit: str) -> bytes:
    """The bound on what any attacker finds, by rate of false alarms (logarithmic)."""
    from matplotlib.figure import Figure

    rates, hits = curve["false_positive_rates"], curve["true_positive_rates"]
    figure = Figure(figsize=(6.4, 3.0), dpi=110, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(rates, rates, hits, color="#56B4E9", alpha=0.25, linewidth=0)
    axes.plot(rates, hits, color="#0072B2", linewidth=1.8)
    axes.plot(rates, rates, color=_GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_xlim(rates[0], 1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01%", "0.1%", "1%", "10%", "100%"])
    axes.minorticks_off()
    axes.grid(color="#e6e9ed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.annotate("guessing", (0.19, 0.22), ha="right", fontsize=8, color=_GREY)
    axes.set_xlabel(f"false alarms among {unit}s who did not take part", fontsize=9, color=_INK)
    axes.set_ylabel("found of those who did", fontsize=9, color=_INK)
    axes.set_title("The most that any attacker can find", fontsize=10, loc="left", color=_INK)
    axes.tick_params(labelsize=8, colors=_GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _png(figure)


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
