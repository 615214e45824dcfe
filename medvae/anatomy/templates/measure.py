"""What one patient's volume shows of the mean maps, on the way to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medvae.anatomy.organs import distance_subject, label_distances
from medvae.anatomy.registration import Alignment, Settings, Subject, pull_to_template, register
from medvae.anatomy.registration.geometry import Array, BoxGrid
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates.layout import FILL, parts_of, shown
from medvae.anatomy.templates.maps import Templates

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """Attributes:
    layout: [L, 7] numbers of each label (see `layout`); NaN for one that is not there.
    parts: [L] logarithm of each label's part of the field of view; NaN as before.
    distances: signed distances [X, Y, Z] in mm of each label on its own grid, or None where they
        are not looked at.
    picture: [C, X, Y, Z] on the grid of the mean pictures, or None where it is not looked at.
    greys: [2 C] mean of each channel's voxels, and mean square of each.
    """

    layout: Array
    parts: Array
    distances: list[Maps] | None = None
    picture: Maps | None = None
    greys: Array | None = None

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """[L] whether each label is there."""
        return np.isfinite(self.layout[:, FILL])


def placed(scan: Scan, templates: Templates) -> Shown:
    """Where a patient's labels are, around the middle of his or her own mask.

    Raises:
        ValueError: no voxel is labelled.
    """
    subject, images = _subject(scan, templates)
    affine = _to_middle(subject, templates)
    means = [image.mean(dtype=np.float64) for image in images]
    squares = [np.square(image, dtype=np.float64).mean() for image in images]
    greys = np.array([*means, *squares])
    return replace(_placed(subject, affine, templates), greys=greys)


def centred(scan: Scan, templates: Templates) -> Shown:
    """A patient's labels around the middle of his or her own mask. Raises as `placed`."""
    subject, _ = _subject(scan, templates)
    return _shown(subject, _to_middle(subject, templates), templates)


def registered(scan: Scan, templates: Templates) -> Shown:
    """A patient who is registered to the templates by a similarity, with the picture.

    A coarse template is long where fields of view cut organs off: stretched to it, patients would
    make the next one longer.

    Raises:
        ValueError: no voxel is labelled.
    """
    subject, images = _subject(scan, templates)
    settings = Settings(max_frequency=0.0, angles=templates.angles)
    compared = replace(subject, channels=subject.channels[templates.compared])
    fit = register(compared, templates.template, settings)
    affine = similarity(fit.affine, subject.centre)
    picture = _pulled(Subject(scan.affine, images), affine, templates.pictures.grid)
    return replace(_shown(subject, affine, templates), picture=picture)


def compared(scan: Scan, templates: Templates) -> Subject | None:
    """What is compared with `Templates.template`; None where nothing is labelled."""
    if scan.mask is None or not scan.mask.any():
        return None
    subject, _ = _subject(scan, templates)
    return replace(subject, channels=subject.channels[templates.compared])


def similarity(affine: Array, fixed: Array) -> Array:
    """[4, 4] rotation, one scale and shift nearest to an affine map; `fixed` [3] goes where it did.

    The scale is the middle one of the three.
    """
    left_vectors, sizes, right_vectors = np.linalg.svd(affine[:3, :3])
    matrix = np.eye(4)
    matrix[:3, :3] = sizes[1] * (left_vectors @ right_vectors)
    matrix[:3, 3] = affine[:3, :3] @ fixed + affine[:3, 3] - matrix[:3, :3] @ fixed
    return matrix


def _subject(scan: Scan, templates: Templates) -> tuple[Subject, Maps]:
    """Distances [L, X, Y, Z] of labels and tissues, and [C, X, Y, Z] that mean pictures are of.

    Raises:
        ValueError: no voxel is labelled, or the scan has other channels.
    """
    images = np.stack([channel.image for channel in scan.channels])
    if len(images) != templates.channels:
        raise ValueError("the scan has other channels than the maps")
    edge, tissues = templates.box.edge, templates.tissues
    if templates.automatic is None:
        subject = distance_subject(scan, templates.organs, edge)
    else:
        subject = _nested(scan, templates.organs, edge)
    if not (subject.channels < 0).any():
        raise ValueError("no voxel is labelled")
    if tissues is None:
        return subject, images
    masks = tissues.shown(scan)
    channels = [
        label_distances(mask.astype(np.uint8), scan.affine, 1, edge).channels for mask in masks
    ]
    return (
        replace(subject, channels=np.concatenate([subject.channels, *channels])),
        np.stack([tissues.interior(image, masks) for image in images]),
    )


def _nested(scan: Scan, count: int, edge: float) -> Subject:
    """Distances [L, X, Y, Z] of labels each of which is within the one before it.

    Of a layer between two others, mean distances would be flat.
    """
    assert scan.mask is not None
    channels = [
        label_distances((scan.mask >= label).astype(np.uint8), scan.affine, 1, edge)
        for label in range(1, count + 1)
    ]
    return replace(channels[0], channels=np.concatenate([own.channels for own in channels]))


def _to_middle(subject: Subject, templates: Templates) -> Array:
    """[4, 4] scanner mm to a frame whose origin is the middle of all labels.

    In a wide field of view that shows the body, its axis is that of the body: labels on one side of
    it would leave the other side out of the frame.
    """
    labelled = np.asarray((subject.channels[: templates.organs] < 0).any(axis=0))
    middle = _middle(labelled, subject.affine)
    if templates.layout.wide and templates.tissues is not None:
        middle[:2] = _middle(subject.channels[-1] < 0, subject.affine)[:2]
    affine = np.eye(4)
    affine[:3, 3] = -middle
    return affine


def _middle(inside: npt.NDArray[np.bool_], affine: Array) -> Array:
    """[3] scanner mm of the middle of some voxels."""
    return np.asarray(affine[:3, :3] @ np.argwhere(inside).mean(axis=0) + affine[:3, 3])


def _shown(subject: Subject, affine: Array, templates: Templates) -> Shown:
    """Labels in the frame that an affine map leads to."""
    layout = templates.layout
    pulled = [
        _pulled(Subject(subject.affine, channel[None]), affine, grid)[0]
        for channel, grid in zip(subject.channels, layout.grids, strict=True)
    ]
    placed_maps = _placed(subject, affine, templates)
    # Beside a field of view that is smaller than the view, maps go on, and so do parts of them.
    filled = np.array([(filling < 0).mean() for filling in pulled])
    usable = layout.large & (filled > 0)
    parts = np.where(usable, np.log(np.where(usable, filled, 1.0)), placed_maps.parts)
    return replace(placed_maps, distances=layout.within(pulled), parts=parts)


def _placed(subject: Subject, affine: Array, templates: Templates) -> Shown:
    """Numbers of labels in the frame that an affine map leads to."""
    view = templates.layout.view
    numbers = shown(subject.channels, affine @ subject.affine, view)
    return Shown(numbers, parts_of(numbers, view))


def _pulled(subject: Subject, affine: Array, grid: BoxGrid) -> Maps:
    """Channels on a grid; beside the field of view their border repeats."""
    pose = Alignment(grid.box, 0.0, affine, np.zeros((3, 0)), 0.0, 1.0)
    values, _ = pull_to_template(subject, pose, grid)
    return values
