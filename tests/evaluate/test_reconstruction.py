"""PSNR and SSIM against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from medvae.config import DataConfig
from medvae.evaluate import compare, ms_ssim, psnr, ssim
from medvae.volume import Volume


def picture(shape: tuple[int, int, int] = (32, 40, 24)) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=shape)
    return np.clip(ndimage.gaussian_filter(noise, 2) * 8, -1, 1).astype(np.float32)


def test_identical_volumes() -> None:
    image = picture()
    assert psnr(image, image) == 100
    assert ssim(image, image) == pytest.approx(1)
    assert ms_ssim(image, image) == pytest.approx(1)


@pytest.mark.parametrize("offset", [0.5, 0.1, 0.01])
def test_psnr_of_a_constant_offset(offset: float) -> None:
    image = np.zeros((8, 8, 8), np.float32)
    expected = 20 * math.log10(2 / offset)
    assert psnr(image, image + np.float32(offset)) == pytest.approx(expected, rel=1e-5)


def test_ssim_of_constants_in_closed_form() -> None:
    """(2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 L)^2."""
    a, b, c1 = 0.5, 0.2, (0.01 * 2) ** 2
    one, two = np.full((9, 9, 9), a, np.float32), np.full((9, 9, 9), b, np.float32)
    assert ssim(one, two) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), rel=1e-3)


def test_ssim_falls_with_noise_and_with_blur() -> None:
    image, random = picture(), np.random.default_rng(1)
    noisy = [ssim(image, image + np.float32(s) * random.normal(size=image.shape).astype("f4"))
             for s in (0.05, 0.2, 0.8)]  # fmt: skip
    assert 1 > noisy[0] > noisy[1] > noisy[2] > -1
    blurred = ndimage.gaussian_filter(image, 2)
    assert ssim(image, blurred) < 0.9
    assert ms_ssim(image, blurred) == pytest.approx(ms_ssim(blurred, image), rel=1e-4)


@pytest.mark.parametrize("shape", [(3, 9, 9), (5, 5, 5), (2, 2, 2), (1, 8, 8)])
def test_small_volumes_have_ssim_but_no_ms_ssim(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    assert ssim(image, image) == pytest.approx(1)
    assert ms_ssim(image, image) is None


@pytest.mark.parametrize("modality", ["mri", "ct"])
def test_compare_is_on_the_originals_scale(modality: str) -> None:
    """Whatever units an MRI has, the figures are the same."""
    data = DataConfig(modality=modality, size=(32, 40, 24))  # type: ignore[arg-type]
    scale = 500.0 if modality == "ct" else 1.0
    voxels = picture() * scale
    made = voxels + 0.05 * scale
    found = compare(_volume(voxels, modality), _volume(made, modality), data)
    assert 20 < found.psnr < 40
    if modality == "mri":
        again = compare(_volume(voxels * 1e4, modality), _volume(made * 1e4, modality), data)
        assert again.psnr == pytest.approx(found.psnr, rel=1e-3)
        assert again.ssim == pytest.approx(found.ssim, rel=1e-3)
    with pytest.raises(ValueError, match="cannot compare"):
        compare(_volume(voxels, modality), _volume(voxels[1:], modality), data)


def _volume(voxels: np.ndarray, modality: str) -> Volume:
    return Volume(voxels.astype(np.float32), np.eye(4), modality)  # type: ignore[arg-type]


def test_a_single_slice_is_compared_as_a_picture() -> None:
    """Mean and variance of a window of one voxel would say nothing of structure."""
    image = picture()[:, :, :1]
    shuffled = np.random.default_rng(0).permutation(image.ravel()).reshape(image.shape)
    assert ssim(image, shuffled) < 0.3
    assert ssim(image, ndimage.gaussian_filter(image, (1, 1, 0))) > 0.6
    assert ms_ssim(image, image) == pytest.approx(1)
