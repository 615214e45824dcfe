"""How large a cohort's labels are beside public people's: measured of patients, and drawn.

Label protocols place borders differently, and cohorts differ in age, by more than a smooth
deformation shows: a cortex of 2.5 mm that another protocol draws .5 mm thicker is a fifth larger.
So what is left of a label's volume after registration is a figure of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.registration.subject import Maps

# What a textbook knows of the logarithm of a volume ratio: nothing but how far protocols differ.
STD = 0.3
# Ratios beyond this (in logarithms) are of a label that is not where the anatomy has it.
MOST = 1.5
# A label of fewer mm^3, expected or found, is not compared.
LEAST_MM3 = 300.0
# Rounds in search of the biases; and the largest: there a border has moved by a voxel of the map.
_ROUNDS, _LARGEST = 12, 6.0


def log_ratios(have: Array, expected: Array) -> Array:
    """[L] logarithms of volumes over expected ones, in mm^3; NaN where one is too small."""
    is_measured = np.minimum(have, expected) >= LEAST_MM3
    ratio = np.log(np.maximum(have, LEAST_MM3) / np.maximum(expected, LEAST_MM3))
    return np.where(is_measured, np.clip(ratio, -MOST, MOST), np.nan)


def by_label(shares: Maps, cohort: npt.NDArray[np.intp], labels: int) -> Array:
    """[labels] sums over voxels of shares [M, ...]; cohort: [M] label 1..L of a component, or 0."""
    of_component = shares.reshape(len(shares), -1).sum(axis=1, dtype=np.float64)
    return np.asarray(np.bincount(cohort, of_component, labels + 1)[1:], np.float64)


def biases(pure: Array, mixtures: torch.Tensor, target: Array) -> Array:
    """[L + 1] what is added to the logarithm of each label's membership; none to that of no label.

    Args:
        pure: [L + 1] points that are of one label alone; the first: of none.
        mixtures: [P, L + 1] memberships of points near borders; each row sums to 1.
        target: [L] points that are to be of each label; one that is not positive or not finite
            stays as it is.
    """
    bias = torch.zeros(len(pure), dtype=torch.float64)
    shares = mixtures.double()
    free = np.isfinite(target) & (target > 0) & (pure[1:] + shares.sum(dim=0).numpy()[1:] > 0)
    for _ in range(_ROUNDS):
        weighted = shares * bias.exp()
        weighted /= weighted.sum(dim=1, keepdim=True).clamp(min=1e-12)
        have = pure[1:] + weighted.sum(dim=0).numpy()[1:]
        # Borders give way in part: the logarithm of a membership moves a volume by less.
        step = np.log(np.where(free, target, 1.0) / np.where(free, np.maximum(have, 1e-9), 1.0))
        bias[1:] = (bias[1:] + torch.from_numpy(2.0 * step)).clamp(-_LARGEST, _LARGEST)
    return np.asarray(bias.numpy())


def biased(mixtures: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Memberships [P, M] times the factor [M] of each component, with a sum of 1 again."""
    weighted = mixtures * factors
    return weighted / weighted.sum(dim=1, keepdim=True)
