"""A sheet of real scans for the people who ingest them: three planes each, masks, sides, sizes.

It shows patients, and says so in red, in the picture and in the file's own description.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.cine import spread
from medvae.release.figures import LABEL_COLOURS, PLANES, SIDES, best_slice
from medvae.release.survey import slice_of
from medvae.volume import Volume

WARNING = "REAL PATIENTS - keep inside the clinic, do not pass on"
# How the three panels of a scan are ordered.
AXES = (2, 1, 0)
RANGE = (0.5, 99.5)
# Panels need no more pixels than are shown.
MOST_PIXELS = 512
MOST_NAMED = 12
# Of a moving image, evenly spread.
_FRAMES = 4
_INK, _GREY, _RED = "#1b1f24", "#6a737d", "#b31d28"


@dataclass(frozen=True)
class Panel:
    """One slice as it is looked at: its plane, grey or RGB pixels in 0..1, labels, height/width."""

    axis: int
    picture: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8] | None
    ratio: float


@dataclass(frozen=True)
class Scan:
    """What the sheet keeps of one volume: its panels and the lines beside them."""

    panels: tuple[Panel, ...]
    caption: tuple[str, ...]
    label_values: frozenset[int]


def scan_of(volume: Volume, name: str) -> Scan:
    """The slices that show most of the labels, or the middle ones; a picture as it is.

    A volume with channels is shown by the axial slice of each.

    Args:
        name: what the volume is called beside its panels.
    """
    axes = (2,) if volume.shape[2] == 1 else AXES
    values = set() if volume.mask is None else set(np.unique(volume.mask).tolist()) - {0}
    size = " x ".join(str(n) for n in volume.shape)
    steps = " x ".join(f"{step:.3g}" for step in volume.spacing)
    caption = [name, volume.modality, f"{size} voxels", f"{steps} mm"]
    if volume.channels:
        named = f"{len(volume.channels)} frames" if volume.is_cine else ", ".join(volume.channels)
        caption.append(named)
    if volume.mask is not None:
        listed = ", ".join(map(str, sorted(values)[:MOST_NAMED])) or "none"
        more = ", ..." if len(values) > MOST_NAMED else ""
        caption.append(f"labels {listed}{more}")
    else:
        caption.append("no mask")
    if volume.channels and len(axes) > 1:
        # Contrasts beside one another say more than three planes of their mean.
        count = len(volume.channels)
        shown = spread(min(count, _FRAMES), count) if volume.is_cine else range(count)
        panels = [_panel(volume.channel(at), 2) for at in shown]
    else:
        panels = [_panel(volume, axis) for axis in axes]
    return Scan(tuple(panels), tuple(caption), frozenset(values))


def sheet(scans: Sequence[Scan], title: str, names: Mapping[str, str] | None) -> bytes:
    """A PNG with one row a scan.

    Args:
        names: label number -> name, for the key below; None where no scheme is declared.
    """
    from matplotlib.figure import Figure

    head, foot, side, cell, gap = 0.85, 0.45, 1.75, 2.3, 0.14
    columns = max([3, *(len(scan.panels) for scan in scans)])
    size = (side + columns * (cell + gap) + gap, head + len(scans) * (cell + gap) + foot)
    figure = Figure(figsize=size, dpi=100, facecolor="white")
    for row, scan in enumerate(scans):
        bottom = size[1] - head - (row + 1) * (cell + gap) + gap
        for column, panel in enumerate(scan.panels):
            left = side + column * (cell + gap)
            place = (left / size[0], bottom / size[1], cell / size[0], cell / size[1])
            _draw(figure.add_axes(place), panel)
        for line, text in enumerate(scan.caption):
            figure.text(
                0.12 / size[0], 1 - (head + row * (cell + gap) + 0.2 + 0.2 * line) / size[1], text,
                fontsize=8.5 if line == 0 else 7.5, color=_INK if line == 0 else _GREY,
                weight="bold" if line == 0 else "normal", wrap=False, parse_math=False,
            )  # fmt: skip
    figure.text(0.12 / size[0], 1 - 0.3 / size[1], WARNING, fontsize=11, color=_RED, weight="bold")
    figure.text(0.12 / size[0], 1 - 0.58 / size[1], title, fontsize=9, color=_INK, parse_math=False)
    _key(figure, size, sorted(set().union(*(scan.label_values for scan in scans))), names or {})
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None, "Description": WARNING})
    return out.getvalue()


def _panel(volume: Volume, axis: int) -> Panel:
    index = best_slice(volume, axis)
    across, up = (volume.spacing[a] * volume.shape[a] for a in range(3) if a != axis)
    thin = [max(1, n // MOST_PIXELS) for i, n in enumerate(volume.shape) if i != axis]
    if len(volume.channels) == 3 and volume.shape[2] == 1:
        low, high = _limits(volume.voxels)
        picture = np.stack([slice_of(channel, axis, index) for channel in volume.voxels], axis=-1)
    else:
        grey = volume.grey
        low, high = _limits(grey)
        picture = np.asarray(slice_of(grey, axis, index))
    scaled = np.clip((picture.astype(np.float32) - low) / (high - low), 0, 1)
    labels = None if volume.mask is None else slice_of(volume.mask, axis, index).astype(np.uint8)
    every = slice(None, None, thin[1]), slice(None, None, thin[0])
    return Panel(
        axis,
        np.nan_to_num(scaled[every]),
        None if labels is None else labels[every],
        up / across,
    )


def _limits(voxels: npt.NDArray[Any]) -> tuple[float, float]:
    """Black and white: percentiles of some of the finite voxels."""
    some = voxels.reshape(-1)[:: max(1, voxels.size // 500_000)]
    some = some[np.isfinite(some)]
    low, high = (float(v) for v in np.percentile(some, RANGE)) if some.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _draw(axes: Any, panel: Panel) -> None:
    rows, columns = panel.picture.shape[:2]
    axes.set_facecolor("black")
    axes.imshow(
        panel.picture, cmap="gray", vmin=0, vmax=1, interpolation="bilinear",
        aspect=panel.ratio * columns / rows,
    )  # fmt: skip
    if panel.labels is not None:
        for value in np.unique(panel.labels[panel.labels > 0]):
            inside = panel.labels == value
            if not inside.all():
                axes.contour(inside, levels=[0.5], colors=[_colour(int(value))], linewidths=1.0)
    left, right, bottom, top = SIDES[panel.axis]
    for letter, x, y, across, up in (
        (left, 0.01, 0.5, "left", "center"),
        (right, 0.99, 0.5, "right", "center"),
        (bottom, 0.5, 0.01, "center", "bottom"),
        (top, 0.5, 0.99, "center", "top"),
    ):
        axes.text(
            x, y, letter, transform=axes.transAxes, ha=across, va=up, fontsize=7.5, color="#ffd33d"
        )
    axes.set_title(PLANES[panel.axis], fontsize=6.5, color=_GREY, pad=1.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour(value: int) -> str:
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]


def _key(
    figure: Any, size: tuple[float, float], values: list[int], names: Mapping[str, str]
) -> None:
    """Which colour is which label, as many as fit in one line."""
    at = 0.12
    for value in values:
        text = f"{value} {names.get(str(value), '')}".strip()
        width = 0.25 + 0.075 * len(text)
        if at + width > size[0]:
            break
        figure.text(
            at / size[0], 0.16 / size[1], text, fontsize=8, color=_colour(value), weight="bold",
            parse_math=False,
        )  # fmt: skip
        at += width
