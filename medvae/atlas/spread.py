"""Where patients differ more and where less: a map of the residual's power, for CT.

What lies round a crop's subject is wall in one patient and lung in another, and the subject
itself is there in all of them. Texture as strong everywhere would put it out in some samples.

Sensitivity: the squared residual of a volume, cut off at `CUT`, as weighted low-frequency
coefficients clipped to `CLIP` per patient: the mean moves by at most CLIP / N.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas.basis import Array, Shape
from medvae.atlas.template import REFINE_REACH, Layout

# Public: squares beyond this, and the norm of a typical patient's vector.
CUT, CLIP = 2.0, 0.8
# Public: the least and the most that the power at a place may be of the mean over places.
LEAST, MOST = 0.02, 3.0


def layout(grid: Shape, noise: float) -> Layout:
    """Which coefficients pay for their noise; public, for it sees no data."""
    return Layout.plan(grid, noise, REFINE_REACH)


def encode(plan: Layout, residual: Array) -> Array:
    """[dimension] of a residual [X, Y, Z] in units of a standardised image."""
    return plan.encode(np.minimum(residual**2, CUT))


def decode(plan: Layout, released: Array, noise: float) -> Array:
    """[X, Y, Z] what texture is multiplied by: about 1 on average, in squares."""
    power = plan.decode(released, noise)
    mean = float(power.mean())
    if mean <= 0.0:
        return np.ones_like(power)
    return np.asarray(np.sqrt(np.clip(power / mean, LEAST, MOST)))
