"""Hearts in two contrasts: people's own cine frame, and one with dark blood that is made of it.

As for heads (heads.py) only one contrast is a scanner's. In the other blood is dark, the wall
bright, fluid and fat round the heart brighter than muscle, and what is brighter than its tissue
in the cine frame is a little brighter, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from organs.cohorts import Cohort, Scan
from scipy import ndimage

from contrasts import person

CHANNELS = ("cine", "dark")
# Of the labels of the cohort (right ventricle, wall, left ventricle), how people differ in them,
# and what the cine frame says within one; beside them what is half as bright as the brightest is
# brightest.
GREYS = {1: 0.12, 2: 0.6, 3: 0.08}
DIFFERS, ALONG, NOISE = 0.03, 0.3, 0.015
BESIDE = 0.9


def contrasts(
    cohort: Cohort, scan: Scan
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Cine frame and dark blood [X, Y, Z] in [0, 1], labels, and affine of one person."""
    cine, labels, affine, random = person.read(cohort, scan)
    cine = np.clip(cine, 0.0, 1.2)
    dark = np.clip(BESIDE * 4.0 * cine * (1.0 - cine), 0.0, 1.0)
    for label, grey in GREYS.items():
        own = labels == label
        if own.any():
            varies = cine[own] - np.median(cine[own])
            dark[own] = grey + DIFFERS * random.standard_normal() + ALONG * varies
    dark = ndimage.gaussian_filter(dark, (0.6, 0.6, 0.0))
    dark += NOISE * random.standard_normal(dark.shape)
    return cine, np.maximum(dark, 0.0), labels, affine
