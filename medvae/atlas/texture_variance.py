"""Texture variance map: the residual's power at each voxel, for absolute grey values (CT).

Around the subject of a crop there is chest wall in one patient and lung in another, while the
subject itself is there in all. Uniform texture would hide the subject in some samples.

Sensitivity. A volume's vector holds weighted low-frequency coefficients of its squared residual,
cut off at `MAX_SQUARE`. A patient's mean vector is clipped to `CLIP`, so one patient changes the
noisy mean by at most CLIP / N.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas.basis import Array, Shape
from medvae.atlas.template import REFINE_REACH, Layout

# Public: the cut-off of a squared residual, and the norm of a typical patient's vector.
MAX_SQUARE, CLIP = 2.0, 0.8
# Public: limits of the power at a voxel, over the mean power.
MIN_RATIO, MAX_RATIO = 0.02, 3.0


def layout(grid: Shape, noise_std: float) -> Layout:
    """The layout of the map for a noise std of the vector; public, since it uses no data."""
    return Layout.plan(grid, noise_std, REFINE_REACH)


def encode(plan: Layout, residual: Array) -> Array:
    """[dimension] vector of a residual [X, Y, Z] in units of a standardised image."""
    return plan.encode(np.minimum(residual**2, MAX_SQUARE))


def decode(plan: Layout, noisy: Array, noise_std: float) -> Array:
    """[X, Y, Z] factor of the texture's std, whose mean square is about 1."""
    power = plan.decode(noisy, noise_std)
    mean = float(power.mean())
    if mean <= 0.0:
        return np.ones_like(power)
    return np.asarray(np.sqrt(np.clip(power / mean, MIN_RATIO, MAX_RATIO)))
