"""A public template as a start: found by the released mean, deformed onto it.

Only released numbers and public anatomy meet here, so it costs no privacy. Where a cohort
is of a region that a public template shows, the template knows the fine structure that a
noisy mean cannot, and the mean knows which region it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage, signal

from medvae.atlas.basis import Array, Shape
from medvae.atlas.displacement import warp
from medvae.atlas.features import standardise
from medvae.atlas.registration import Moving, Registrar
from medvae.atlas.study import IMAGE_WEIGHT

# Public: a window that correlates less with the mean is not believed to show its region.
BELIEVED = 0.4
# Search on every second voxel, both sides blurred by two.
BLUR, STEP = 2.0, 2
# Resolutions, in voxels, that a released mean may have.
FILL_BLURS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)


@lru_cache(maxsize=2)
def mni152(spacing: tuple[float, float, float]) -> Array:
    """[A, B, C] the MNI152 T1 template (ICBM 2009a, ships with nilearn) at a voxel size in mm."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    values = np.asarray(image.get_fdata(), dtype=np.float64)
    return np.asarray(ndimage.zoom(values, 1.0 / np.array(spacing), order=1))


def start(mean: Array, public: Array, registrar: Registrar) -> tuple[Array, float] | None:
    """[X, Y, Z] the public crop that explains the mean best, in the mean's frame, and a factor.

    The crop is standardised, as an individual's image is; times the factor it has the
    strength of the mean, which noise and misalignment have weakened.


    None where nothing of the public volume resembles the mean, or it is smaller than the
    grid. `mean` is a released, standardised mean image.
    """
    if any(have < want for have, want in zip(public.shape, mean.shape, strict=True)):
        return None
    place, likeness = _search(mean, public)
    if likeness < BELIEVED:
        return None
    crop = standardise(public[place])
    found = warp(crop, _field(mean, crop, registrar), order=3)
    found = standardise(found)
    smooth = ndimage.gaussian_filter(found, BLUR / 2)
    return found, max(0.0, float((mean * smooth).mean() / max((smooth**2).mean(), 1e-9)))


def fine(mean: Array, public: Array, registrar: Registrar) -> Array:
    """[X, Y, Z] the fine structure that the public volume has where the mean was taken.

    Of the deformed crop, only what is finer than the blur at which it is most like the mean;
    0 where nothing of the public volume resembles it.
    """
    started = start(mean, public, registrar)
    if started is None:
        return np.zeros(mean.shape)
    crop, _ = started
    blurred = {sigma: ndimage.gaussian_filter(crop, sigma) for sigma in FILL_BLURS}
    likeness = {s: float(np.corrcoef(mean.ravel(), b.ravel())[0, 1]) for s, b in blurred.items()}
    best = max(likeness, key=lambda sigma: likeness[sigma])
    return np.asarray(likeness[best] * (crop - blurred[best]))


def _field(mean: Array, crop: Array, registrar: Registrar) -> Array:
    # A mean that noise has shrunk is little evidence: its power says how much.
    weight = np.array([IMAGE_WEIGHT * min(1.0, float((mean**2).mean()))])
    still = np.zeros((3, len(registrar.basis)))
    coefficients = registrar.register(
        mean[None], Moving(crop[None]), weight, start=still, centre=still
    )
    return registrar.basis.synthesise(coefficients)


def _search(mean: Array, public: Array) -> tuple[tuple[slice, ...], float]:
    """The window of `public` that is most like the mean, and its correlation with it."""
    thin = (slice(None, None, STEP),) * 3
    kernel = ndimage.gaussian_filter(mean, 0.5)[thin]
    kernel = kernel - kernel.mean()
    smooth = ndimage.gaussian_filter(public, BLUR)[thin]
    score = signal.fftconvolve(smooth, kernel[::-1, ::-1, ::-1], mode="valid") / kernel.size
    spread = np.sqrt(np.maximum(_window_variance(smooth, kernel.shape), 1e-4))
    score /= spread * max(float(kernel.std()), 1e-9)
    corner = [int(c) * STEP for c in np.unravel_index(int(score.argmax()), score.shape)]
    corner = [min(c, a - n) for c, a, n in zip(corner, public.shape, mean.shape, strict=True)]
    place = tuple(slice(c, c + n) for c, n in zip(corner, mean.shape, strict=True))
    return place, float(score.max())


def _window_variance(values: Array, window: Shape) -> Array:
    """Variance over each full window of the volume ("valid" placements)."""
    ones = np.ones(window) / np.prod(window)
    mean = signal.fftconvolve(values, ones, mode="valid")
    return np.asarray(signal.fftconvolve(values**2, ones, mode="valid") - mean**2)
