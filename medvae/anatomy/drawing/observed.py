"""What some voxels of a patient's scan show, and which tissue each is likely to be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from medvae.anatomy.drawing import volumes
from medvae.anatomy.drawing.components import Components, summed
from medvae.anatomy.drawing.pose import OutputGrid
from medvae.anatomy.registration import Alignment, pull_to_subject, sampling
from medvae.anatomy.registration.geometry import Array, affine_points
from medvae.anatomy.registration.subject import Maps, class_shares
from medvae.anatomy.scan import Scan

# Public constants. Voxels that grey values are measured on, in mm.
MEASURED_MM = 2.0
# One voxel in so many mm is looked at.
MEASURED_EVERY_MM = 4.0
# A voxel shows a tissue of a neighbour's label with this probability, relative to its own: borders
# of masks are off by part of a voxel, and grey values are more exact.
MISLABELLED = 0.2
# A voxel counts where its anatomy is at least so likely given its mask.
LEAST_PRIOR = 0.05


@dataclass(frozen=True)
class Observed:
    """Voxels of a scan that grey values are measured on.

    Attributes:
        signal: [P] of voxels of about `MEASURED_MM`, 0 to 1.
        prior: [K + 1, P] of each tissue and of an edge; 0 where a voxel does not count.
        points: [3, P] places in the template's frame, in mm.
        grid: of the voxels.
        sizes: [L] how large the labels are (see `volumes.log_ratios`); NaN without a mask.
    """

    signal: npt.NDArray[np.float32]
    prior: Maps
    points: torch.Tensor
    grid: OutputGrid
    sizes: Array

    def with_image(self, scan: Scan) -> Observed:
        """The same places in another image on the scan's grid."""
        return replace(self, signal=_thinned(scan)[0])


def observe(scan: Scan, alignment: Alignment, components: Components, shares: Maps) -> Observed:
    """Look at a scan whose pose is known.

    shares: [M, X, Y, Z] mean share of each component, on the template's grid.
    """
    signal, part, grid = _thinned(scan)
    own_shares = pull_to_subject(shares, alignment, grid.affine, grid.shape)
    sizes = np.full(components.labels, np.nan)
    if scan.mask is not None and components.labels:
        # The mask gives the tissues that a voxel is likely to be.
        numbers = {number: number for number in range(components.labels + 1)}
        own, of_own = class_shares(scan.mask, scan.affine, numbers, len(numbers), MEASURED_MM)
        have = own[1:].sum(axis=(1, 2, 3), dtype=np.float64) * voxel_mm3(of_own)
        expected = volumes.by_label(own_shares, components.cohort, components.labels)
        sizes = volumes.log_ratios(have, expected * voxel_mm3(grid.affine))
        own += MISLABELLED * ndimage.uniform_filter(own, (1, 3, 3, 3), mode="nearest")
        own_shares *= own[components.cohort][:, *part]
    prior = summed(components.to_classes(), own_shares).reshape(-1, len(signal))
    total = prior.sum(axis=0)
    points = affine_points(alignment.affine @ grid.affine, grid.shape, torch.device("cpu"))
    inside = (sampling.box_coordinates(points, alignment.box).abs() <= 1.0).all(dim=0).numpy()
    is_usable = (total > LEAST_PRIOR) & inside.ravel()
    scale = np.where(is_usable, 1.0 / np.maximum(total, LEAST_PRIOR), 0.0).astype(np.float32)
    return Observed(signal, _with_edge(prior * scale), points.flatten(1), grid, sizes)


def _thinned(
    scan: Scan,
) -> tuple[npt.NDArray[np.float32], tuple[slice, ...], OutputGrid]:
    """[P] signal of some voxels of about `MEASURED_MM`; which ones, and their grid."""
    factors = sampling.factors_for(scan.affine, scan.image.shape, MEASURED_MM)
    image = sampling.thin(torch.from_numpy(scan.image)[None], factors)[0]
    affine = sampling.thinned_affine(scan.affine, factors)
    # One of so many voxels is enough; it keeps its own noise.
    steps = sampling.factors_for(affine, image.shape, MEASURED_EVERY_MM)
    part = tuple(slice(step // 2, None, step) for step in steps)
    change = np.diag([*map(float, steps), 1.0])
    change[:3, 3] = [step // 2 for step in steps]
    signal = np.asarray((image[part].numpy().ravel() + 1.0) / 2.0, np.float32)
    x, y, z = image[part].shape
    return signal, part, OutputGrid(affine @ change, (x, y, z))


def _with_edge(prior: Maps) -> Maps:
    """[K + 1, P] priors [K, P] and that of voxels which are partly air, as no tissue is."""
    edge = np.minimum(prior[0], prior[1:].sum(axis=0))
    return np.concatenate([prior * (1.0 - edge), edge[None]]).astype(np.float32)


def voxel_mm3(affine: Array) -> float:
    """Volume of a voxel, in mm^3."""
    return abs(float(np.linalg.det(affine[:3, :3])))
