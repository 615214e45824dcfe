"""Corrections of a mean template, so that samples are as sharp and as large as patients.

Post-processing of released numbers and public constants: costs no privacy.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas import spectrum
from medvae.atlas.basis import Array

# Public: fractions of the residual power that sharpen the template's edges and that become random
# texture. The rest is anatomy whose position differs between patients; as texture it would look
# like noise. Chosen on mri_hippocampus.
EDGE_FRACTION, TEXTURE_FRACTION = 0.5, 0.2
# Public: largest amplification of a frequency shell.
MAX_GAIN = 3.0


def sharpen(template: Array, residual: Array) -> Array:
    """The template [X, Y, Z] with a fraction of the residual power [SHELLS] added to its edges.

    Misalignment of patients blurs their mean by the power that it lacks. Amplifying the template
    restores this power as anatomy; random texture would restore it as noise.
    """

    def gains(power: Array) -> Array:
        target = power + EDGE_FRACTION * residual
        return np.clip(np.sqrt(target / np.maximum(power, 1e-9)), 1.0, MAX_GAIN)

    return spectrum.filtered(template, gains)


def resize_labels(shapes: Array, size: float, deformed: Array | None = None) -> Array:
    """Shape channels [L, X, Y, Z] whose union has its volume scaled by size^3.

    Averaging signed distances makes thin labels thinner; the released size corrects that.

    deformed: [L, X, Y, Z] channels at the mean deformation, in which the volume is measured; None:
        `shapes`. Adding a constant and deforming commute.
    """
    measured = shapes if deformed is None else deformed
    target = (measured[0] < 0.0).sum() * size**3
    if target < 1:
        return shapes
    low, high = -0.5, 0.5
    for _ in range(16):
        offset = (low + high) / 2
        if (measured[0] + offset < 0.0).sum() > target:
            low = offset
        else:
            high = offset
    resized = shapes.copy()
    resized[0] += high
    return resized
