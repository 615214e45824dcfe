"""Labels of a cohort without masks: what a public rule finds in each scan by its grey values.

They stand in for masks where shapes are measured, and no drawn volume has them as labels. A scan's
labels are a function of that scan and of declared facts alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae import modality as modalities
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates.layout import WIDE_MM
from medvae.anatomy.templates.tissues import VISIBLE, body_of, on_scale
from medvae.config import DataConfig

# Width (standard deviation) of the kernel that scans are smoothed by, as a part of the edge of the
# declared field of view: noise, vessels and specks of contrast agent are no tissue. Mean maps
# resolve an eighth of the edge.
SMOOTH: Final = 0.015
# Grey classes of a relative scale, the darkest of which is the background. A wide field of view has
# air round the body, which is a class of its own.
CLASSES: Final = ("middle", "bright")
WIDE_CLASSES: Final = ("dark", "middle", "bright")
# Steps of the histogram that grey classes are found in.
BINS: Final = 128
# Kernels of fewer voxels change nothing.
_LEAST_VOXELS = 0.2


@dataclass(frozen=True)
class AutomaticTissues:
    """The rule of one cohort.

    Attributes:
        names: of the labels 1..L, from dark to bright.
        edge: of a cube of the declared field of view, in mm.
        levels: on the scale of -1 to 1, from where on each label is, ascending; None: levels of
            each scan's own (`otsu_levels`).
        body: what is brighter may be body, what is not body is not labelled; None: all is body.
    """

    names: tuple[str, ...]
    edge: float
    levels: tuple[float, ...] | None = None
    body: float | None = None

    @classmethod
    def of(cls, data: DataConfig) -> AutomaticTissues:
        """The rule of a cohort: by modality, window and field of view, as declared.

        Args:
            data: with a spacing.
        """
        assert data.spacing is not None
        edge = float(np.prod(np.multiply(data.size, data.spacing)) ** (1.0 / 3.0))
        wide = edge > WIDE_MM
        limits = modalities.get(data.modality).tissues
        if limits is None:
            return cls(WIDE_CLASSES if wide else CLASSES, edge)
        found = {"soft tissue": limits.muscle, "bone": limits.bone}
        if not wide:
            # What is not gas: a small field of view is within the body.
            found = {"tissue": limits.gas, "bone": limits.bone}
        levels = {name: on_scale(value, data.window) for name, value in found.items()}
        shown = {name: level for name, level in levels.items() if abs(level) < VISIBLE}
        body = max(on_scale(limits.body, data.window), -VISIBLE) if wide else None
        return cls(tuple(shown), edge, tuple(shown.values()), body)

    def labelled(self, scan: Scan) -> Scan:
        """The scan with these labels in place of a mask; none where it shows too few grey values.

        Each voxel of the smoothed scan has the last label whose level it reaches.
        """
        sigma = SMOOTH * self.edge / scan.spacing
        image = ndimage.gaussian_filter(
            scan.image, np.where(sigma >= _LEAST_VOXELS, sigma, 0.0), mode="nearest"
        )
        levels: Array | tuple[float, ...] = (
            otsu_levels(image, len(self.names) + 1) if self.levels is None else self.levels
        )
        mask = np.zeros(image.shape, np.uint8)
        for label, level in enumerate(levels, 1):
            mask[image >= level] = label
        if self.body is not None:
            mask[~body_of(scan.image > self.body, scan.spacing)] = 0
        return replace(scan, mask=mask)


def otsu_levels(image: npt.NDArray[np.float32], classes: int) -> Array:
    """[classes - 1] grey values between the classes of an image in [-1, 1], ascending.

    Those of the largest variance between classes (Otsu 1979; of several, Liao, Chen and Chung
    2001), found exactly on a histogram of `BINS` steps by dynamic programming. Empty where the
    image has fewer different grey values than classes.
    """
    counts, edges = np.histogram(image, bins=BINS, range=(-1.0, 1.0))
    if np.count_nonzero(counts) < classes:
        return np.zeros(0)
    middles = (edges[:-1] + edges[1:]) / 2.0
    mass = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * middles)])
    # [first, stop]: what a class of these steps adds to the variance between classes.
    own_mass = mass[None, :] - mass[:, None]
    own_moment = moment[None, :] - moment[:, None]
    gain = np.where(own_mass > 0, own_moment**2 / np.maximum(own_mass, 1.0), -np.inf)
    best, starts = gain[0], []
    for _ in range(classes - 1):
        total = best[:, None] + gain
        starts.append(total.argmax(axis=0))
        best = total.max(axis=0)
    stop, levels = BINS, []
    for start in reversed(starts):
        stop = int(start[stop])
        levels.append(edges[stop])
    return np.array(levels[::-1])
