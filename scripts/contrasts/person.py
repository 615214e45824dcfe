"""A person whose scan another contrast is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from organs.cohorts import Cohort, Scan


def read(
    cohort: Cohort, scan: Scan
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[Any], np.random.Generator]:
    """Image [X, Y, Z], 1 at its bright end, labels, affine, and random numbers of this person."""
    volume = cohort.read(scan)
    assert volume.mask is not None
    random = np.random.default_rng([len(volume.mask), int(volume.voxels.sum()) % 2**31])
    image = volume.voxels.astype(np.float64)
    image /= max(float(np.percentile(image, 99.5)), 1e-6)
    return image, volume.mask, np.asarray(volume.affine), random
