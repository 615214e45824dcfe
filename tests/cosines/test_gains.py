"""Gains of bands: measured, shrunk under noise, and drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medvae.config import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.gains import LEAST_WIDTH, BandGains
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import GAINS
from medvae.cosines.planned import mechanisms, parts_of
from medvae.grid import from_grid
from medvae.portable import drawers

BASIS = Basis((20, 16, 1))
KNOWN = replace(
    Numbers.public(BASIS, 0),
    kept=BASIS.strongest(BASIS.law, 30),
    covariance=np.diag(BASIS.law[BASIS.strongest(BASIS.law, 30)])[None],
)
WIDE = BASIS.widths >= LEAST_WIDTH
PART = BandGains(BASIS, KNOWN)
# All wide bands vary together, and each a little by itself.
TRUE = np.outer(WIDE, WIDE) * 0.4 + np.diag(0.2 * WIDE)


def images(count: int, gains: np.ndarray) -> np.ndarray:
    """[n, F] coefficients of the public law, whose bands have such log gains of power."""
    random = np.random.default_rng(0)
    normal = random.standard_normal((count, len(BASIS))) * np.sqrt(BASIS.law)
    powers = random.multivariate_normal(np.zeros(BASIS.bands), gains, size=count)
    return normal * np.exp(powers / 2.0)[:, BASIS.band]


def estimated(values: np.ndarray, sigma: float = 0.0) -> Numbers:
    mean = np.mean([PART.measure(one, None) for one in values], axis=0)
    noise = np.random.default_rng(1).normal(0.0, sigma, PART.dimension)
    return PART.estimate(mean + noise, sigma, KNOWN)


def test_without_noise_the_covariance_of_log_powers_is_found() -> None:
    found = estimated(images(3000, TRUE)).gains
    np.testing.assert_allclose(found, TRUE, atol=0.08)
    assert not found[~WIDE].any()


def test_images_of_one_normal_distribution_have_next_to_no_gains() -> None:
    found = estimated(images(3000, 0.0 * TRUE)).gains
    assert np.abs(found).max() < 0.03


def test_under_much_noise_there_are_no_gains() -> None:
    random = np.random.default_rng(1)
    largest = []
    for _ in range(10):
        noise = random.normal(0.0, 3.0, PART.dimension)
        largest.append(np.abs(PART.estimate(noise, 3.0, KNOWN).gains).max())
    # Of eigenvalues in noise alone the largest is near the edge, and less than the noise is left.
    assert np.median(largest) < 1.0
    assert not PART.estimate(np.zeros(PART.dimension), 3.0, KNOWN).gains.any()


def test_whatever_noise_makes_is_a_covariance() -> None:
    wild = np.random.default_rng(1).normal(0.0, 30.0, PART.dimension)
    assert np.linalg.eigvalsh(PART.estimate(wild, 0.0, KNOWN).gains).min() > -1e-9


def test_a_vector_of_an_ordinary_image_is_not_clipped_and_of_an_empty_one_finite() -> None:
    norms = [np.linalg.norm(PART.measure(one, None)) for one in images(300, TRUE)]
    assert 0.15 * PART.clip < np.median(norms) < PART.clip
    for wild in (1e9, 1e-9, 0.0):
        found = PART.measure(wild * images(1, TRUE)[0], None)
        assert np.isfinite(found).all()
        assert np.linalg.norm(found) > PART.clip


def test_draws_have_the_covariance_of_log_powers_and_keep_second_moments() -> None:
    # A log power of mean 0 and variance v is a power of mean exp(v / 2).
    larger = np.exp(0.6 / 2)
    known = replace(KNOWN, gains=TRUE, covariance=KNOWN.covariance * larger)
    model = CosineModel.read(BASIS, CosineModel(BASIS, known).to_arrays())
    random = np.random.default_rng(3)
    drawn = np.stack([model.coefficients(random, 0) for _ in range(4000)])
    np.testing.assert_allclose(estimated(drawn).gains, TRUE, atol=0.08)
    varying = WIDE[BASIS.band]
    ratio = (drawn**2).mean(axis=0)[varying] / BASIS.law[varying] / larger
    assert ratio == pytest.approx(np.ones(len(ratio)), abs=0.25)
    assert ratio.mean() == pytest.approx(1.0, abs=0.05)


def test_a_model_without_gains_draws_as_ever() -> None:
    old = CosineModel(BASIS, KNOWN)
    arrays = old.to_arrays()
    arrays.pop("gains")
    again = CosineModel.read(BASIS, arrays)
    one, two = (model.draw(np.random.default_rng(5)) for model in (old, again))
    np.testing.assert_array_equal(one, two)


def test_gains_are_a_mechanism_of_pictures_and_not_of_contrasts() -> None:
    assert [name for name, _ in mechanisms(BASIS)][-1] == GAINS
    related = mechanisms(Basis((10, 8, 6), 3, related=True))
    assert GAINS not in [name for name, _ in related]
    for shares in (related, mechanisms(BASIS)):
        assert sum(share for _, share in shares) == pytest.approx(1.0)
    (part,) = parts_of(GAINS, BASIS, KNOWN, lambda *_: 1.0)
    assert isinstance(part, BandGains)
    tiny = Basis((2, 2, 1))
    assert BandGains(tiny, Numbers.public(tiny, 0)).dimension >= 1


def test_the_network_of_a_bundle_has_the_same_gains() -> None:
    data = DataConfig(modality="xray", size=BASIS.size, labels=0)
    model = CosineModel(BASIS, replace(KNOWN, gains=TRUE))
    random, again = np.random.default_rng(4), np.random.default_rng(4)
    wanted = from_grid(model.draw(random), data).voxels
    normals = [again.standard_normal(n) for n in (len(BASIS), len(KNOWN.kept), BASIS.bands)]
    numbers = torch.from_numpy(np.concatenate([[0.0], *normals])[None])
    with torch.no_grad():
        made = drawers._CosineDrawer(model, data)(numbers)[0].numpy()
    np.testing.assert_allclose(made.squeeze(), wanted.squeeze(), atol=1.0)
