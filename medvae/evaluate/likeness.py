"""How much a release is like public people: figures that no patient's scan goes into.

A release is made from what was released of the patients already, and public people are public, so
that these figures cost no privacy budget. They say nothing of how like the patients a release is.

    fit    an image goes better with its own label map than with another volume's
    shape  Dice of label maps with those of public people, centre on centre
    look   distance of an image to the nearest public one, in fixed texture features
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.distance import cdist

from medvae.config import DataConfig
from medvae.evaluate import pictures
from medvae.evaluate.texture import texture
from medvae.grid import to_grid
from medvae.volume import Volume

# Volumes of a set that are looked at: the first ones, so that time does not grow with a release.
LOOKED = 8
# Label maps are compared on every k-th voxel, so that no side is longer than this.
LONGEST = 48
# Around label maps, so many voxels show whether the border is where the image has one.
_MARGIN = 2

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float64]


@dataclass
class Likeness:
    """What is kept of a set of volumes, to be compared with another set on the same grid.

    Attributes:
        data: the release's grid, window and labels.
        look: whether its images are looked at (public people may have label maps alone).
        images, masks: the first `LOOKED` ones on a coarse grid; masks hold labels 1..K.
        features: [d] of each image.
    """

    data: DataConfig
    look: bool = True
    count: int = 0
    images: list[Image] = field(default_factory=list)
    masks: list[Labels] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)

    def add(self, volume: Volume) -> None:
        """Keep one volume, if it is among the first.

        Raises:
            InputError: it cannot be resampled onto the grid.
        """
        self.count += 1
        if self.count > LOOKED:
            return
        gridded = to_grid(volume, self.data)
        channels = pictures.channels_of(gridded.image)
        step = -(-max(gridded.image.shape[-3:]) // LONGEST)
        if gridded.mask is not None:
            self.images.append(np.stack([channel[::step, ::step, ::step] for channel in channels]))
            self.masks.append(gridded.mask[::step, ::step, ::step])
        if self.look:
            self.features.append(np.concatenate([texture(channel) for channel in channels]))


def fit(volumes: Likeness) -> float | None:
    """How often an image goes better with its own label map than with another volume's, 0 to 1.

    0.5 is chance. Where both maps agree, in them and just around, they say the mean grey value of
    each label; where they differ, that map goes better whose means are nearer to the voxels
    (least squares). None where no two label maps differ.
    """
    wins = []
    for own, other in permutations(range(len(volumes.masks)), 2):
        first, second = volumes.masks[own], volumes.masks[other]
        near = ndimage.binary_dilation((first > 0) | (second > 0), iterations=_MARGIN)
        gain = _gain(volumes.images[own][:, near], first[near], second[near])
        if gain is not None:
            wins.append(np.sign(gain) / 2 + 0.5)
    return float(np.mean(wins)) if wins else None


def _gain(values: Image, own: Labels, other: Labels) -> float | None:
    """By how much [n] labels are nearer to [C, n] values than others are; None: no difference."""
    agreed = own == other
    counts = np.bincount(own[agreed], minlength=256)
    differ = ~agreed & (counts[own] > 0) & (counts[other] > 0)
    if not differ.any():
        return None
    gain = 0.0
    for image in values.astype(np.float64):
        means = np.bincount(own[agreed], image[agreed], 256) / np.maximum(counts, 1)
        nearer, farther = (image[differ] - means[of[differ]] for of in (own, other))
        gain += float((farther**2 - nearer**2).mean())
    return gain


def shape(first: Likeness, second: Likeness | None = None) -> float | None:
    """Mean Dice over labels and pairs of people of two sets, or of one set among itself.

    The middles of all labels together are put in one place; nothing is turned or scaled. A
    label that neither map has is left out; one that only one map has counts 0. None where there is
    no pair.
    """
    labels = first.data.labels
    ones = [_centred(mask) for mask in first.masks]
    if second is None:
        pairs: Iterator[tuple[Labels, Labels]] = (
            (mine, other) for at, mine in enumerate(ones) for other in ones[at + 1 :]
        )
    else:
        others = [_centred(mask) for mask in second.masks]
        pairs = ((mine, other) for mine in ones for other in others)
    dices = [_dice(mine, other, labels) for mine, other in pairs]
    return float(np.mean(dices)) if dices else None


def _centred(mask: Labels) -> Labels:
    """[2X, 2Y, 2Z]: a label map with the middle of its labels in the middle of the grid."""
    where = np.argwhere(mask)
    middle = where.mean(axis=0) if len(where) else (np.array(mask.shape) - 1) / 2
    out = np.zeros([2 * n for n in mask.shape], mask.dtype)
    start = [n - round(float(at)) for n, at in zip(mask.shape, middle, strict=True)]
    x, y, z = (slice(at, at + n) for at, n in zip(start, mask.shape, strict=True))
    out[x, y, z] = mask
    return out


def _dice(first: Labels, second: Labels, labels: int) -> float:
    size = labels + 1
    joint = np.bincount(first.ravel().astype(np.intp) * size + second.ravel(), minlength=size**2)
    table = joint.reshape(size, size)
    total = (table.sum(axis=0) + table.sum(axis=1))[1:]
    both = 2 * np.diag(table)[1:]
    there = total > 0
    return float((both[there] / total[there]).mean()) if there.any() else 0.0


def look(volumes: Likeness, people: Likeness) -> float | None:
    """Distance of images to the nearest public one over that between public ones (medians).

    1 where they lie as close to public people as these to one another; features are taken in
    standard deviations of the public people. None with fewer than three people.
    """
    if len(people.features) < 3 or not volumes.features:
        return None
    real, drawn = np.stack(people.features), np.stack(volumes.features)
    centre, scale = real.mean(axis=0), real.std(axis=0)
    # Of a feature that all people share, what counts is whether it is the same.
    scale = np.maximum(scale, 1e-3 * (1 + np.abs(centre)))
    real, drawn = (real - centre) / scale, (drawn - centre) / scale
    between = cdist(real, real)
    np.fill_diagonal(between, np.inf)
    nearest = float(np.median(between.min(axis=1)))
    return float(np.median(cdist(drawn, real).min(axis=1))) / max(nearest, 1e-9)
