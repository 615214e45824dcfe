"""The extractor `medvae-texture-1`: 46 fixed numbers of a volume, in the manner of radiomics.

First order, edges at three scales, spectrum by radius, autocorrelation along the axes. No
learning, no file, no network; the definition is this file and must not change under its name.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

NAME = "medvae-texture-1"
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_SCALES = (0.5, 1.0, 2.0)
_LAGS = (1, 2, 4)
_BANDS = 8


def texture(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """[46] float64 of an image [X, Y, Z] in [-1, 1]."""
    values = image.astype(np.float64)
    parts = [_first_order(values), _edges(values), _spectrum(values), _correlation(values)]
    return np.concatenate(parts)


def _first_order(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    flat = values.ravel()
    counts, _ = np.histogram(flat, bins=32, range=(-1, 1))
    shares = counts[counts > 0] / flat.size
    deviation = flat.std()
    # Moments of a constant are not defined; such a volume has no shape to speak of.
    shape = [stats.skew(flat), stats.kurtosis(flat)] if deviation > 1e-6 else [0.0, 0.0]
    entropy = -(shares * np.log2(shares)).sum()
    return np.array([*np.quantile(flat, _QUANTILES), flat.mean(), deviation, *shape, entropy])


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares = []
    for scale in _SCALES:
        gradient = ndimage.gaussian_gradient_magnitude(values, scale, mode="nearest")
        laplace = ndimage.gaussian_laplace(values, scale, mode="nearest")
        shares += [gradient.mean(), gradient.std(), np.quantile(gradient, 0.95), laplace.std()]
    blob = ndimage.gaussian_filter(values, 4.0, mode="nearest")
    return np.array(
        [*shares, blob.std(), values.std(axis=(0, 1)).mean(), values.std(axis=2).mean()]
    )


def _spectrum(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """log10 of the mean power in eight shells of equal width up to the Nyquist frequency."""
    power = np.abs(np.fft.rfftn(values - values.mean())) ** 2 / values.size
    axes = [np.fft.fftfreq(n) for n in values.shape[:2]] + [np.fft.rfftfreq(values.shape[2])]
    radius = np.sqrt(sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij")))
    shell = np.minimum((radius / 0.5 * _BANDS).astype(int), _BANDS)
    total = np.bincount(shell.ravel(), power.ravel(), minlength=_BANDS + 1)[:_BANDS]
    count = np.bincount(shell.ravel(), minlength=_BANDS + 1)[:_BANDS]
    return np.asarray(np.log10(total / np.maximum(count, 1) + 1e-6))


def _correlation(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centred = values - values.mean()
    power = float((centred**2).mean())
    correlations = []
    for axis in range(3):
        for lag in _LAGS:
            size = centred.shape[axis]
            if lag >= size or power < 1e-12:
                correlations.append(0.0)
                continue
            ahead = np.take(centred, range(lag, size), axis)
            behind = np.take(centred, range(size - lag), axis)
            correlations.append(float((ahead * behind).mean()) / power)
    return np.array(correlations)
