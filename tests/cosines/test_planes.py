"""Correlation between channel planes: measured, shrunk under noise, and drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medvae.config import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import SECONDS
from medvae.cosines.planes import PlaneCorrelations, between
from medvae.cosines.planned import parts_of
from medvae.grid import from_grid
from medvae.portable import drawers

BASIS = Basis((10, 8, 6), 3, related=True)
KNOWN = Numbers.public(BASIS, 0)
PART = PlaneCorrelations(BASIS, KNOWN)
# Of planes 0 and 1, 0 and 2, 1 and 2.
TRUE = np.array([[1, 0.7, 0], [0.7, 1, -0.4], [0, -0.4, 1]])


def images(count: int, seed: int = 0) -> np.ndarray:
    """[n, F] coefficients of the public law whose planes are correlated as `TRUE`."""
    normal = np.random.default_rng(seed).standard_normal((count, 3, len(BASIS) // 3))
    return np.einsum("ab,nbw->naw", np.linalg.cholesky(TRUE), normal).reshape(count, -1) * np.sqrt(
        BASIS.law
    )


def released(values: np.ndarray) -> np.ndarray:
    return np.mean([PART.measure(one, None) for one in values], axis=0)


def test_without_noise_the_correlation_of_each_octave_is_found() -> None:
    planes = PART.estimate(released(images(800)), 0.0, KNOWN).planes
    assert planes.shape == (BASIS.octaves, 3, 3)
    np.testing.assert_allclose(planes[3:], np.tile(TRUE, (BASIS.octaves - 3, 1, 1)), atol=0.06)
    assert np.abs(planes[:3] - TRUE).max() < 0.3


def test_under_much_noise_planes_are_independent() -> None:
    noise = np.random.default_rng(0).normal(0.0, 100.0, PART.dimension)
    planes = PART.estimate(noise, 100.0, KNOWN).planes
    np.testing.assert_allclose(planes, np.tile(np.eye(3), (BASIS.octaves, 1, 1)), atol=0.01)


def test_whatever_noise_makes_is_a_correlation() -> None:
    wild = np.random.default_rng(1).normal(0.0, 3.0, PART.dimension)
    for matrix in PART.estimate(wild, 0.0, KNOWN).planes:
        assert np.linalg.eigvalsh(matrix).min() > 1e-3
        np.testing.assert_allclose(np.diag(matrix), 1.0)


def test_a_vector_is_bounded_whatever_the_image_is() -> None:
    values = images(100)
    norms = [np.linalg.norm(PART.measure(one, None)) for one in values]
    assert 0.3 * PART.clip < np.median(norms) < PART.clip
    for wild in (1e6 * values[0], 1e-6 * values[0], np.zeros(len(BASIS))):
        found = PART.measure(wild, None)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 1.0 + 1e-12
    np.testing.assert_allclose(PART.measure(1e6 * values[0], None), PART.measure(values[0], None))


def test_an_image_of_no_known_class_adds_nothing() -> None:
    part = PlaneCorrelations(BASIS, Numbers.public(BASIS, 2))
    for category in (None, 2):
        assert not part.measure(images(1)[0], category).any()
    assert part.measure(images(1)[0], 1).any()


def test_kept_coefficients_have_the_correlation_of_their_planes() -> None:
    known = replace(KNOWN, planes=np.tile(TRUE, (BASIS.octaves, 1, 1)))
    count = len(BASIS) // 3
    found = between(BASIS, known, np.array([5, count + 5, 2 * count + 5, count + 6]))
    expected = np.eye(4)
    expected[:3, :3] = TRUE
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(between(BASIS, KNOWN, np.arange(4)), np.eye(4))


def test_draws_are_correlated_as_released() -> None:
    values = images(600)
    known = KNOWN
    for part in parts_of(SECONDS, BASIS, KNOWN, lambda _, clip: 1e-3 * clip):
        mean = np.mean([part.measure(one, None) for one in values], axis=0)
        known = part.estimate(mean, 0.0, known)
    assert len(known.kept) < len(BASIS) / 2
    random = np.random.default_rng(2)
    model = CosineModel.read(BASIS, CosineModel(BASIS, known).to_arrays())
    drawn = np.stack([BASIS.analyse(model.draw(random)) for _ in range(300)])
    planes = (drawn / np.sqrt(BASIS.law)).reshape(300, 3, -1)
    found = np.einsum("naw,nbw->ab", planes, planes)
    size = np.sqrt(np.diag(found))
    np.testing.assert_allclose(found / np.outer(size, size), TRUE, atol=0.1)


@pytest.mark.parametrize(
    ("data", "related"),
    [
        (DataConfig(channels=("t1", "t2")), True),
        (DataConfig(), False),
        (DataConfig(modality="photo"), False),
        (DataConfig(modality="xray"), False),
    ],
)
def test_planes_are_related_where_no_public_basis_is_known(data: DataConfig, related: bool) -> None:
    basis = Basis.of(data)
    assert basis.related is related
    assert (len(parts_of(SECONDS, basis, Numbers.public(basis, 0), lambda *_: 1.0)) == 2) is related


def test_the_network_of_a_bundle_relates_planes_alike() -> None:
    data = DataConfig(channels=("t1", "t2", "flair"), size=BASIS.size, labels=0)
    planes = np.tile(TRUE, (BASIS.octaves, 1, 1))
    kept = np.array([3, 7])
    covariance = np.eye(2)[None] * 1e-3
    model = CosineModel(BASIS, replace(KNOWN, planes=planes, kept=kept, covariance=covariance))
    random, again = np.random.default_rng(4), np.random.default_rng(4)
    wanted = from_grid(model.draw(random), data).voxels
    numbers = np.concatenate([[0.0], again.standard_normal(len(BASIS)), again.standard_normal(2)])
    with torch.no_grad():
        made = drawers._CosineDrawer(model, data)(torch.from_numpy(numbers[None]))[0].numpy()
    np.testing.assert_allclose(made, wanted, atol=1.0)
