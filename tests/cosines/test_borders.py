"""Borders: sharper at the same power, beside kept coefficients that stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from medvae.config import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.borders import bordered, sharpened
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.grid import from_grid
from medvae.portable import drawers
from tests.cosines.test_marginals import SHARES

BASIS = Basis((32, 24, 1))
KEPT = BASIS.strongest(BASIS.law, 12)
CLOUD = np.random.default_rng(0).standard_normal(len(BASIS)) * np.sqrt(BASIS.law)
KNOWN = replace(
    Numbers.public(BASIS, 0),
    kept=KEPT,
    covariance=np.diag(BASIS.law[KEPT])[None],
    borders=np.array([3.0]),
)


def sharp(image: np.ndarray) -> np.ndarray:
    return sharpened(torch.from_numpy(image[None]))[0].numpy()


@pytest.mark.parametrize("shape", [(40, 1, 1), (24, 20, 1), (12, 14, 10)])
def test_a_blurred_border_becomes_a_step_at_its_place(shape: tuple[int, int, int]) -> None:
    step = np.zeros(shape)
    step[: shape[0] // 2] = 1.0
    blurred = ndimage.gaussian_filter1d(step, 1.5, axis=0, mode="nearest")
    found = sharp(blurred)
    assert np.abs(np.diff(found, axis=0)).max() > 1.8 * np.abs(np.diff(blurred, axis=0)).max()
    np.testing.assert_array_equal(found > 0.5, step > 0.5)
    assert found.min() >= blurred.min()
    assert found.max() <= blurred.max()


def test_a_constant_image_stays_and_channels_do_not_touch_one_another() -> None:
    np.testing.assert_array_equal(sharp(np.full((8, 6, 4), 0.25)), 0.25)
    two = np.random.default_rng(1).normal(size=(2, 16, 12, 1))
    together = sharpened(torch.from_numpy(two)).numpy()
    for one, found in zip(two, together, strict=True):
        np.testing.assert_array_equal(sharp(one), found)


def test_borders_have_the_power_of_their_bands_and_the_kept_coefficients() -> None:
    found = bordered(BASIS, CLOUD, KEPT, 3)
    np.testing.assert_array_equal(found[KEPT], CLOUD[KEPT])
    fine = ~np.isin(np.arange(BASIS.bands), BASIS.band[KEPT])
    assert fine.sum() > 4
    power, wanted = BASIS.by_band(found**2), BASIS.by_band(CLOUD**2)
    np.testing.assert_allclose(power[fine], wanted[fine], rtol=1e-9)
    slopes = [np.diff(BASIS.synthesise(values), axis=0).ravel() for values in (CLOUD, found)]
    # Waves of random signs have normal slopes; where there are borders, most slopes are small.
    before, after = (stats.kurtosis(slope) for slope in slopes)
    assert before < 1.0 < after


def test_an_image_without_fine_waves_and_labels_are_left_alone() -> None:
    flat = np.zeros(len(BASIS))
    flat[0] = 0.3
    np.testing.assert_allclose(bordered(BASIS, flat, KEPT, 2), flat, atol=1e-12)
    labelled = Basis((10, 8, 1), labels=1, related=True)
    values = np.random.default_rng(2).standard_normal(len(labelled))
    found = bordered(labelled, values, np.zeros(0, np.int64), 1)
    np.testing.assert_array_equal(found[80:], values[80:])
    assert np.abs(found[:80] - values[:80]).max() > 0.01


def test_draws_have_borders_where_the_model_says_so_and_a_model_of_earlier_has_none() -> None:
    model = CosineModel.read(BASIS, CosineModel(BASIS, KNOWN).to_arrays())
    arrays = model.to_arrays()
    for name in ("borders", "marginals"):
        arrays.pop(name)
    earlier = CosineModel.read(BASIS, arrays)
    values = earlier.coefficients(np.random.default_rng(5), 0)
    plain = np.clip(BASIS.synthesise(values), -1.0, 1.0).astype(np.float32)
    np.testing.assert_array_equal(earlier.draw(np.random.default_rng(5)), plain)
    drawn = model.draw(np.random.default_rng(5))
    assert stats.kurtosis(np.diff(drawn, axis=0).ravel()) > 1.0
    np.testing.assert_array_equal(model.draw(np.random.default_rng(5)), drawn)


CT_PET = DataConfig(modality="ct", channels=("ct", "pet"), modalities=("ct", "pet"), size=(8, 8, 8))


@pytest.mark.filterwarnings("ignore:.*trace", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("marginals", "data"),
    [
        (np.zeros(0), DataConfig(modality="xray", size=BASIS.size, labels=0)),
        (SHARES, DataConfig(modality="xray", size=BASIS.size, labels=0)),
        (np.stack([SHARES, SHARES**2]), CT_PET),
    ],
)
def test_the_network_of_a_bundle_draws_the_same_borders_and_grey_values(
    marginals: np.ndarray, data: DataConfig
) -> None:
    basis = Basis.of(data)
    known = replace(KNOWN if basis == BASIS else Numbers.public(basis, 0), marginals=marginals)
    model = CosineModel(basis, known)
    random, again = np.random.default_rng(4), np.random.default_rng(4)
    wanted = from_grid(model.draw(random), data).voxels
    normals = [again.standard_normal(n) for n in (len(basis), len(known.kept))]
    numbers = torch.from_numpy(np.concatenate([[0.0], *normals])[None])
    drawer = drawers._CosineDrawer(model, data)
    with torch.no_grad():
        made = torch.jit.trace(drawer, numbers)(numbers)[0].numpy()  # type: ignore[no-untyped-call]
    for channel, own in zip(made, wanted.reshape(made.shape), strict=True):
        np.testing.assert_allclose(channel, own, atol=min(1.0, 0.01 * np.ptp(own)))
