"""What hangs on the distance from the middle alone: few numbers, so noise leaves much of them.

A crop is round what is studied, and what differs between kinds of that (a nodule's size, how
sharply it ends) is to a good part the same all round. Of a released field, the part that a few
functions of the distance explain is taken out first, with the noise that falls on these few; only
the rest is shrunk as a field of unknown form. Little is lost where the guess is wrong, for
the two parts add up to the field, each shrunk by what noise alone would have made of it.

Post-processing of a release: costs no privacy.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas.basis import Array, Basis

# Public: cosines of the distance, up to half of the longest side.
FUNCTIONS = 8


def distance(shape: tuple[int, ...]) -> Array:
    """[X, Y, Z] the distance of each voxel from the middle, in parts of the longest side."""
    sides = [np.arange(n) - (n - 1) / 2 for n in shape]
    squares = sum(side**2 for side in np.meshgrid(*sides, indexing="ij"))
    return np.asarray(np.sqrt(squares) / max(shape))


def design(basis: Basis, weight: Array) -> Array:
    """[K, FUNCTIONS] coefficients of functions of the distance, times a weight [X, Y, Z]."""
    inside = np.minimum(2.0 * distance(weight.shape), 1.0)
    waves = [weight * np.cos(np.pi * order * inside) for order in range(FUNCTIONS)]
    return np.stack([basis.analyse(wave) for wave in waves], axis=1)


def explained(values: Array, noise: Array, functions: Array) -> Array:
    """[K] the part of noisy coefficients that functions explain, shrunk for the noise.

    Generalised least squares (Aitken 1936), the estimate shrunk as a whole (James and Stein 1961,
    positive part), so that of noise alone nothing is left to speak of.

    Args:
        values, noise: [K] coefficients and their noise deviations (0: no noise, all is kept as
            it is, and nothing is to be explained).
        functions: [K, J] what may explain them.
    """
    if not (noise > 0).all():
        return np.zeros_like(values)
    axes, _ = np.linalg.qr(functions / noise[:, None])
    told = axes.T @ (values / noise)
    kept = max(0.0, 1.0 - len(told) / max(float(told @ told), 1e-12))
    return np.asarray(kept * noise * (axes @ told))
