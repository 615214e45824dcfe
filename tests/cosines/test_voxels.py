"""Moments of voxels: measured, kept out of noise, and met by draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.config_data import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import GAINS, SECONDS
from medvae.cosines.planned import VOXELS, mechanisms, parts_of
from medvae.cosines.shrinkage import packed
from medvae.cosines.voxels import MOST_STRETCH, VoxelMoments

BASIS = Basis((12, 10, 8), 3, related=True)
# Channels that vary alike and have nothing in common.
_ALIKE = np.tile(BASIS.by_band(BASIS.law)[: BASIS.octaves], BASIS.planes)
PUBLIC = replace(Numbers.public(BASIS, 0), power=_ALIKE, borders=np.array([1.0]))
PART = VoxelMoments(BASIS, PUBLIC)
MEAN = np.array([0.2, -0.1, 0.0])
COVARIANCE = np.array([[0.10, 0.06, -0.05], [0.06, 0.08, -0.02], [-0.05, -0.02, 0.09]])


def vector(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """What is released of images that have these."""
    raw = np.concatenate([mean, packed(covariance + np.outer(mean, mean))])
    return np.asarray(raw + PART.measure(np.zeros(len(BASIS)), None))


def drawn(numbers: Numbers, count: int = 60) -> np.ndarray:
    """[V, C] voxels of draws."""
    random, model = np.random.default_rng(4), CosineModel(BASIS, numbers)
    images = np.stack([model.draw(random) for _ in range(count)])
    return images.transpose(0, 2, 3, 4, 1).reshape(-1, BASIS.channels)


def test_moments_are_those_of_the_voxels() -> None:
    image = np.random.default_rng(0).uniform(-1.0, 1.0, (3, *BASIS.size))
    found = PART.measure(BASIS.analyse(image), None)
    voxels = image.reshape(3, -1)
    np.testing.assert_allclose(
        found, vector(voxels.mean(axis=1), np.cov(voxels, bias=True)), atol=1e-12
    )
    assert len(found) == PART.dimension
    # What the model's own draws have is nothing new.
    random, model = np.random.default_rng(1), CosineModel(BASIS, PUBLIC)
    own = [PART.measure(model.coefficients(random, 0), None) for _ in range(200)]
    assert np.linalg.norm(np.mean(own, axis=0)) < 0.2 * PART.clip


def test_draws_have_the_released_moments_and_without_them_they_have_not() -> None:
    numbers = PART.estimate(vector(MEAN, COVARIANCE), 0.0, PUBLIC)
    voxels, before = drawn(numbers, 400), drawn(PUBLIC, 400)
    np.testing.assert_allclose(voxels.mean(axis=0), MEAN, atol=0.05)
    np.testing.assert_allclose(np.cov(voxels.T), COVARIANCE, atol=0.015)
    assert np.abs(np.cov(before.T) - COVARIANCE).max() > 0.04


def test_images_that_are_mostly_air_have_vectors_within_the_clip() -> None:
    """Half of their voxels and more are -1, in every channel; patients differ by how many."""
    random, images = np.random.default_rng(5), []
    for part in random.uniform(0.5, 0.7, 40):
        inside = np.arange(BASIS.size[0]) >= part * BASIS.size[0]
        tissue = np.clip(random.normal(0.1, 0.3, (3, *BASIS.size)), -1.0, 1.0)
        images.append(np.where(inside[:, None, None], tissue, -1.0))
    analysed = np.stack([BASIS.analyse(image) for image in images])
    mean = analysed.mean(axis=0)
    power = BASIS.by_band(np.mean((analysed - mean) ** 2, axis=0) + mean**2)
    known = replace(PUBLIC, means=mean[None], power=power)
    own = VoxelMoments(BASIS, known)
    vectors = [own.measure(one, None) for one in analysed]
    raw = [one - own.measure(np.zeros(len(BASIS)), None) for one in vectors]
    assert max(map(np.linalg.norm, vectors)) < own.clip < min(map(np.linalg.norm, raw))
    voxels = drawn(own.estimate(np.mean(vectors, axis=0), 0.0, known), 200)
    wanted = np.stack(images).transpose(0, 2, 3, 4, 1).reshape(-1, 3)
    np.testing.assert_allclose(voxels.mean(axis=0), wanted.mean(axis=0), atol=0.06)


def test_much_noise_leaves_draws_as_they_are() -> None:
    wild = np.random.default_rng(2).normal(0.0, 50.0, PART.dimension)
    matrix = PART.estimate(wild, 50.0, PUBLIC).voxels
    np.testing.assert_allclose(matrix[:, :3], np.eye(3), atol=0.02)
    np.testing.assert_allclose(matrix[:, 3], 0.0, atol=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_noise_makes_no_channel_is_stretched_beyond_the_bound(seed: int) -> None:
    wild = np.random.default_rng(seed).normal(0.0, 3.0, PART.dimension)
    matrix = PART.estimate(wild, 0.0, PUBLIC).voxels[:, :3]
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    sizes = np.linalg.eigvalsh(matrix)
    assert sizes.min() > 0.0
    voxels = drawn(PUBLIC)
    before, after = np.cov(voxels.T), np.cov((voxels @ matrix.T).T)
    ratio = np.linalg.eigvals(np.linalg.solve(before, after)).real
    assert ratio.min() > 0.8 * MOST_STRETCH**-2
    assert ratio.max() < 1.25 * MOST_STRETCH**2


def test_contrasts_that_are_scaled_by_patient_have_them() -> None:
    kinds = {
        ("mri", ("t1", "t2"), ()): True,
        ("ct", ("ct", "pet"), ("ct", "pet")): False,
        ("photo", ("red", "green", "blue"), ()): False,
        ("ct", (), ()): False,
    }
    for (modality, channels, modalities), measured in kinds.items():
        data = DataConfig(
            modality=modality,
            channels=channels,
            modalities=modalities,
            size=(16, 16, 1 if modality == "photo" else 8),
        )
        planned = dict(mechanisms(Basis.of(data)))
        assert (VOXELS in planned) is measured, channels
        assert (GAINS in planned) is (len(channels) != 2), channels
        assert sum(planned.values()) == pytest.approx(1.0)
    (part,) = parts_of(VOXELS, BASIS, PUBLIC, lambda *_: 1.0)
    assert isinstance(part, VoxelMoments)
    # One channel with labels has nothing to go together with.
    labelled = dict(mechanisms(Basis((8, 8, 4), 1, related=True, labels=1)))
    assert VOXELS not in labelled
    assert labelled[SECONDS] > dict(mechanisms(BASIS))[SECONDS]


def test_a_model_of_an_earlier_version_draws_as_it_did() -> None:
    numbers = PART.estimate(vector(MEAN, COVARIANCE), 0.0, PUBLIC)
    kept = CosineModel(BASIS, numbers).to_arrays()
    same = CosineModel.read(BASIS, kept)
    np.testing.assert_array_equal(drawn(same.numbers, 2), drawn(numbers, 2))
    earlier = CosineModel.read(BASIS, {k: v for k, v in kept.items() if k != "voxels"})
    np.testing.assert_array_equal(drawn(earlier.numbers, 2), drawn(PUBLIC, 2))
