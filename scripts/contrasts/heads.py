"""Whole heads in two contrasts: people's own T1, and a FLAIR that is made of it and their labels.

No public cohort at hand has several contrasts of whole heads and label maps of them, so only one
contrast is a scanner's. The other has the anatomy of its person: fluid is dark, cortex brighter
than white matter, and what is brighter than its tissue in T1 is a little darker, as water makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from organs.cohorts import Cohort, Scan
from scipy import ndimage

from contrasts import person

CHANNELS = ("t1", "flair")
# Voxels of files are means of so many along each axis: heads of 2 mm are fine enough at 4 mm.
THINNED = 2
# FLAIR of the labels of `TISSUES`, of fluid and of what is outside of the brain over its T1; how
# people differ in them; and of a tissue what its T1 says.
GREYS = {1: 0.5, 2: 0.68, 3: 0.6, 4: 0.1, 5: 0.62, 6: 0.55}
FLUID, OUTSIDE, DIFFERS, AGAINST, NOISE = 0.12, 0.6, 0.03, -0.4, 0.015
# Least T1, as a part of white matter's, of a voxel beside the brain that is no fluid.
BRIGHT = 0.35


def contrasts(
    cohort: Cohort, scan: Scan
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """T1 and FLAIR [X, Y, Z] in [0, 1], labels, and affine of one person's thinned head."""
    t1, labels, of_voxels, random = person.read(cohort, scan)
    brain = labels > 0
    flair = OUTSIDE * t1
    # Round the brain, what is dark in T1 is fluid.
    near = ndimage.binary_dilation(brain, iterations=4) & ~brain
    flair[near & (t1 < BRIGHT * np.median(t1[labels == 1]))] = FLUID
    for label, grey in GREYS.items():
        own = labels == label
        if own.any():
            varies = t1[own] - np.median(t1[own])
            flair[own] = grey + DIFFERS * random.standard_normal() + AGAINST * varies
    flair = ndimage.gaussian_filter(np.maximum(flair, 0.0), 0.6)
    flair += NOISE * random.standard_normal(flair.shape) * (t1 > 0.02)
    affine = np.asarray(of_voxels @ np.diag([THINNED, THINNED, THINNED, 1.0]))
    affine[:3, 3] += of_voxels[:3, :3] @ np.full(3, (THINNED - 1) / 2.0)
    return _thinned(t1), _thinned(np.maximum(flair, 0.0)), _likeliest(labels), affine


def _blocks(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[X, Y, Z, THINNED^3] voxels of each thinner one."""
    x, y, z = (n // THINNED for n in voxels.shape)
    kept = voxels[: x * THINNED, : y * THINNED, : z * THINNED]
    cells = kept.reshape(x, THINNED, y, THINNED, z, THINNED).transpose(0, 2, 4, 1, 3, 5)
    return cells.reshape(x, y, z, -1)


def _thinned(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(_blocks(voxels).mean(axis=-1))


def _likeliest(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    cells = _blocks(labels)
    counts = np.stack([(cells == label).sum(axis=-1) for label in range(len(GREYS) + 1)])
    return np.asarray(counts.argmax(axis=0), np.uint8)
