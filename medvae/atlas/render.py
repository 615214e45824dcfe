"""The public renderer: from a template, a field and noise to an image with a mask.

All of it is post-processing of released numbers and public constants.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas import spectrum
from medvae.atlas.basis import Array

# Public: part of the unexplained power that goes into the template's own edges rather
# than into texture, and the largest amplification that this may take.
TO_EDGES = 0.5
# And into texture. The rest is anatomy that stands elsewhere in each patient: drawn as texture
# it would look like noise. Chosen while looking at mri_hippocampus.
TO_TEXTURE = 0.2
MAX_GAIN = 3.0


def sharpen(template: Array, residual: Array) -> Array:
    """The template [X, Y, Z] with part of the residual power [SHELLS] put into its edges.

    A mean over imperfectly aligned patients is blurred by just the power that is missing
    from it; giving it back as contrast keeps the anatomy, giving it back as noise does not.
    """

    def gains(power: Array) -> Array:
        wanted = power + TO_EDGES * residual
        return np.clip(np.sqrt(wanted / np.maximum(power, 1e-9)), 1.0, MAX_GAIN)

    return spectrum.filtered(template, gains)


def resize_labels(shapes: Array, size: float, usual: Array | None = None) -> Array:
    """Shape channels [L, X, Y, Z] with the boundary moved until all labels scale by size^3.

    Averaging signed distances thins what is thin; the released size undoes it.

    usual: the channels as they are usually deformed, if labels shall scale there; adding to
    channels and deforming them go in either order.
    """
    where = shapes if usual is None else usual
    wanted = (where[0] < 0.0).sum() * size**3
    if wanted < 1:
        return shapes
    low, high = -0.5, 0.5
    for _ in range(16):
        middle = (low + high) / 2
        if (where[0] + middle < 0.0).sum() > wanted:
            low = middle
        else:
            high = middle
    moved = shapes.copy()
    moved[0] += high
    return moved
