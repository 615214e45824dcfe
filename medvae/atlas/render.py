"""The public renderer: from a template, a field and noise to an image with a mask.

All of it is post-processing of released numbers and public constants.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas import spectrum
from medvae.atlas.basis import Array
from medvae.atlas.features import label_map

# Public: part of the unexplained power that goes into the template's own edges rather
# than into texture, and the largest amplification that this may take.
TO_EDGES = 0.5
MAX_GAIN = 3.0


def sharpen(template: Array, residual: Array) -> Array:
    """The template [X, Y, Z] with part of the residual power [SHELLS] put into its edges.

    A mean over imperfectly aligned patients is blurred by just the power that is missing
    from it; giving it back as contrast keeps the anatomy, giving it back as noise does not.
    """
    power = spectrum.shell_power(template)
    wanted = power + TO_EDGES * residual
    gains = np.sqrt(wanted / np.maximum(power, 1e-9))
    return spectrum.filtered(template, np.clip(gains, 1.0, MAX_GAIN))


def resize_labels(distances: Array, sizes: Array) -> Array:
    """Signed distances [L, X, Y, Z] moved in or out so that label volumes scale by sizes^3.

    Averaging signed distances thins what is thin; the released sizes undo it. A label that
    the template does not have is left alone.
    """
    moved = distances.copy()
    labels = label_map(distances)
    wanted = [(labels == i + 1).sum() * sizes[i] ** 3 for i in range(len(distances))]
    for _ in range(2):
        for i, count in enumerate(wanted):
            if count < 1:
                continue
            low, high = -0.5, 0.5
            base = moved[i].copy()
            for _ in range(12):
                middle = (low + high) / 2
                moved[i] = base + middle
                if (label_map(moved) == i + 1).sum() > count:
                    low = middle
                else:
                    high = middle
    return moved
