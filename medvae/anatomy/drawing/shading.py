"""The coil's shading: a smooth gain over the whole image, the same for all tissues."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch

from medvae.anatomy.registration import Box, sampling
from medvae.anatomy.registration.geometry import Array

# The shortest waves: so many half waves along the diagonal of the box.
HALF_WAVES = 3.0
# How much a coefficient differs between scanners, and between people of one: a field of 28 such
# waves has a deviation of 14%. Published fields of 20 and 40% non-uniformity, a wide range of what
# scanners do, reach 10 and 20% of the signal either way (Kwan, Evans, Pike 1999).
STD, WITHIN_STD = 0.05, 0.03
# The same in models that do not say it: 29%, which at little budget was drawn as bright lobes.
EARLIER_STD, EARLIER_WITHIN_STD = 0.1, 0.04


class Shading:
    """Logarithm of the gain as a sum of cosines on the template's box, without a constant.

    Attributes:
        waves: [J, 3] half waves along each axis.
    """

    def __init__(self, box: Box, used: bool = True) -> None:
        """used: False where grey values are absolute: there is no shading."""
        steps = product(range(int(HALF_WAVES) + 1), repeat=3)
        waves = [wave for wave in steps if used and 0 < sum(n * n for n in wave) <= HALF_WAVES**2]
        self._box = box
        self.waves = np.array(waves, np.intp).reshape(-1, 3)

    def basis(self, points: torch.Tensor) -> torch.Tensor:
        """[J, ...] functions at points [3, ...] in mm of the template's frame."""
        part = (sampling.box_coordinates(points, self._box).clamp(-1.0, 1.0) + 1.0) / 2.0
        values = points.new_empty((len(self.waves), *points.shape[1:]))
        for at, wave in enumerate(self.waves):
            value = torch.ones_like(points[0])
            for axis in range(3):
                if wave[axis]:
                    value = value * torch.cos(np.pi * float(wave[axis]) * part[axis])
            values[at] = value
        return values

    def log_gain(self, points: torch.Tensor, coefficients: Array) -> torch.Tensor:
        """[...] at points [3, ...] in mm of the template's frame."""
        if not len(self.waves):
            return torch.zeros_like(points[0])
        weights = torch.from_numpy(np.asarray(coefficients, np.float32))
        gain: torch.Tensor = torch.tensordot(weights, self.basis(points), dims=1)
        return gain
