"""Radial component of a field: few coefficients, hence little noise.

Crops are centred on the structure of interest, and differences between its classes (a nodule's
size, the sharpness of its edge) are largely the same in all directions. `radial_component` is
estimated first; the rest is then shrunk as a field of unknown form. The two parts add up to the
field, so a field that is not radial loses little.

Post-processing of a mechanism's output: costs no privacy.
"""

from __future__ import annotations

import numpy as np

from medvae.atlas.basis import Array, Basis

# Public: number of cosines of the distance, which reach half of the longest side.
FUNCTIONS = 8


def distance(shape: tuple[int, ...]) -> Array:
    """[X, Y, Z] distance of each voxel from the centre, in fractions of the longest side."""
    sides = [np.arange(n) - (n - 1) / 2 for n in shape]
    squares = sum(side**2 for side in np.meshgrid(*sides, indexing="ij"))
    return np.asarray(np.sqrt(squares) / max(shape))


def radial_functions(basis: Basis, weight: Array) -> Array:
    """[K, FUNCTIONS] coefficients of cosines of the distance, times a weight [X, Y, Z]."""
    radius = np.minimum(2.0 * distance(weight.shape), 1.0)
    waves = [weight * np.cos(np.pi * order * radius) for order in range(FUNCTIONS)]
    return np.stack([basis.analyse(wave) for wave in waves], axis=1)


def radial_component(noisy: Array, noise_std: Array, functions: Array) -> Array:
    """[K] part of noisy coefficients that the functions explain, shrunk for the noise.

    Generalised least squares (Aitken 1936), shrunk as a whole (positive-part James-Stein 1961),
    so that noise alone leaves almost nothing.

    Args:
        noisy, noise_std: [K] coefficients and their noise std; 0 anywhere means no noise, and the
            component is then 0: the rest needs no shrinkage.
        functions: [K, J] of `radial_functions`.
    """
    if not (noise_std > 0).all():
        return np.zeros_like(noisy)
    axes, _ = np.linalg.qr(functions / noise_std[:, None])
    scores = axes.T @ (noisy / noise_std)
    shrinkage = max(0.0, 1.0 - len(scores) / max(float(scores @ scores), 1e-12))
    return np.asarray(shrinkage * noise_std * (axes @ scores))
