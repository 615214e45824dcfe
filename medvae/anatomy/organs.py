"""Registration of an organ by the signed distances of its labels: entries of images with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration import Subject, Template, sampling, signed_distances
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.registration.subject import class_shares
from medvae.anatomy.scan import Scan

# Beyond so many mm from a border a distance says nothing more.
LIMIT_MM = 20.0
# Finer voxels than this part of the template's edge are not needed to place an organ.
FINEST = 1.0 / 112.0


def distance_template(mean: Template, channels: Sequence[Sequence[int]]) -> Template:
    """The entry's mean template for a cohort's labels.

    Args:
        mean: signed distances, one channel a label of the entry.
        channels: for each cohort label, the entry's channels that it stands for.
    """
    # The distance from a union is the smallest of the distances, outside of it.
    maps = [mean.channels[list(own)].min(axis=0) for own in channels]
    stds = np.array([mean.stds[list(own)].max() for own in channels])
    return replace(mean, channels=np.stack(maps), stds=stds)


def distance_subject(scan: Scan, count: int, edge: float) -> Subject:
    """A patient's signed distances; a label that the mask lacks is nowhere.

    Args:
        count: how many labels the cohort has. Without a mask nothing is known.
        edge: as of `label_distances`.
    """
    mask = np.zeros(scan.image.shape, np.uint8) if scan.mask is None else scan.mask
    return label_distances(mask, scan.affine, count, edge)


def label_distances(mask: npt.NDArray[np.uint8], affine: Array, count: int, edge: float) -> Subject:
    """Signed distances [count, X, Y, Z] of labels 1 to `count`, cut off at `LIMIT_MM`.

    edge: of a cube of the template's volume, in mm; says how fine voxels need to be.
    """
    finest = edge * FINEST
    factors = sampling.factors_for(affine, mask.shape, finest)
    if factors != (1, 1, 1):
        index = {number: number - 1 for number in range(1, count + 1)}
        shares, affine = class_shares(mask, affine, index, count, finest)
        best = shares.argmax(axis=0) + 1
        # The background is one more share.
        mask = np.where(shares.max(axis=0) > 1.0 - shares.sum(axis=0), best, 0).astype(np.uint8)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    voxel = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    maps = signed_distances(mask, tuple(range(1, count + 1)), voxel, LIMIT_MM)
    return Subject(affine, maps)
