"""How much of a cohort's anatomy the declared grid shows, from what `ingest` noted of each mask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.api.records import VolumeEntry
from medvae.api.results import Coverage
from medvae.config_names import MAX_LABELS

if TYPE_CHECKING:
    from medvae.config import DataConfig, RunConfig

Array = npt.NDArray[np.float64]

# The proposed grid shows so large a part of the boxes round labels, with so many mm on either side;
# it has at most so many voxels along an axis, in steps of so many, of a multiple of so many mm.
SHARE, MARGIN_MM, LONGEST, STEP, ROUND_MM = 0.9, 10.0, 96, 8, 0.5
# Slices thicker than that, or than so many times the finest axis, are kept as they are: what is
# between them was not scanned, and voxels as long within a slice would lose what it shows.
THICK_MM, THICK_TIMES = 4.0, 2.0
# A label that ends so near the grid's border counts as shown.
TOLERANCE_MM = 1.0


def label_boxes(mask: npt.NDArray[np.uint8]) -> dict[str, list[list[int]]]:
    """By number above 0 in a mask: first and last index (inclusive) along each axis.

    Empty for a mask of more labels than can be learnt, whose boxes would fill the manifest.
    """
    from scipy import ndimage

    boxes = {
        str(number): [[int(edge.start), int(edge.stop) - 1] for edge in edges]
        for number, edges in enumerate(ndimage.find_objects(mask), start=1)
        if edges is not None
    }
    return boxes if len(boxes) <= MAX_LABELS else {}


def _box(entry: VolumeEntry, numbers: tuple[int, ...]) -> Array | None:
    """[3, 2] voxels from the corner: the box round the learnt labels; None: none is there."""
    boxes = entry.get("label_boxes", {})
    corners = np.array(
        [boxes[str(number)] for number in numbers if str(number) in boxes], np.float64
    )
    if not corners.size:
        return None
    return np.stack([corners[..., 0].min(axis=0), corners[..., 1].max(axis=0) + 1.0], axis=1)


def coverage(volumes: list[VolumeEntry], data: DataConfig) -> Coverage | None:
    """Volumes whose labels reach beyond the grid, and a grid that would show them.

    These are figures of private data: they are for the screen of whoever declares the grid.

    Args:
        volumes: lines of the manifest.

    Returns None where no line holds the place of a learnt label, or the grid does not crop.
    """
    if data.fit != "crop" or data.crop == "body" or 1 in data.size:
        return None
    boxes = [(entry, _box(entry, data.label_numbers)) for entry in volumes]
    labelled = [(entry, box) for entry, box in boxes if box is not None]
    if not labelled:
        return None
    spacing = np.array([entry["spacing"] for entry, _ in labelled], np.float64)
    shape = np.array([entry["shape"][-3:] for entry, _ in labelled], np.float64)
    ends = np.array([box for _, box in labelled])
    extent = (ends[..., 1] - ends[..., 0]) * spacing
    voxel = spacing if data.spacing is None else np.broadcast_to(data.spacing, spacing.shape)
    grid = np.array(data.size) * voxel
    if data.crop == "labels":
        reach = extent / 2
    else:
        middle = shape[..., None] / 2
        reach = np.abs(ends - middle).max(axis=-1) * spacing
    beyond = (reach > grid / 2 + TOLERANCE_MM).any(axis=1)
    size, proposed = _proposed(extent, spacing, shape * spacing)
    return Coverage(
        volumes=len(labelled),
        beyond=int(beyond.sum()),
        grid_mm=tuple(float(round(edge, 1)) for edge in np.median(grid, axis=0)),
        size=size,
        spacing=proposed,
    )


def of_run(volumes: list[VolumeEntry], cfg: RunConfig) -> Coverage | None:
    """`coverage` of what a run draws.

    None also where draws have the extent of the library's people: patients are measured on the
    whole of their scans then, and the grid is that of the network, which sees parts of draws.
    """
    anatomy = cfg.anatomy
    extent = anatomy.spacing is not None or cfg.data.spacing is None
    if anatomy.used and anatomy.public and extent:
        return None
    return coverage(volumes, cfg.data)


def cut_off(volumes: list[VolumeEntry], cfg: RunConfig) -> str:
    """What a training says of labels beyond the grid; empty where none are."""
    covered = of_run(volumes, cfg)
    if covered is None or not covered.beyond:
        return ""
    return (
        f"the labels of {covered.beyond} of {covered.volumes} volumes reach beyond the grid, which "
        "cuts them off (medvae plan names a larger grid)"
    )


def _proposed(
    extent: Array, spacing: Array, scanned: Array
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Voxels and their size in mm of a grid that shows nearly all labels whole.

    Args:
        extent, spacing, scanned: [N, 3] mm of the labels, of a voxel and of the whole scan.
    """
    # Labels that scans cut off get no margin: nothing was scanned there.
    margin = np.minimum(extent + 2 * MARGIN_MM, scanned)
    edges = np.quantile(margin, SHARE, axis=0)
    own = np.median(spacing, axis=0)
    # One size along all axes but those of thick slices.
    thick = (own > THICK_MM) | (own > THICK_TIMES * own.min())
    fine = max(float(edges.max()) / LONGEST, float(own[~thick].max(initial=0.0)))
    fine = max(math.ceil(round(fine / ROUND_MM, 3)) * ROUND_MM, ROUND_MM)
    kept = thick & ((own > THICK_MM) | (own > fine))
    steps = [float(round(step, 2)) if keep else fine for step, keep in zip(own, kept, strict=True)]
    sizes = [
        STEP * math.ceil(float(edge) / step / STEP) for edge, step in zip(edges, steps, strict=True)
    ]
    return (sizes[0], sizes[1], sizes[2]), (steps[0], steps[1], steps[2])
