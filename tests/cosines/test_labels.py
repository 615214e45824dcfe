"""Label maps as planes of their own beside the channels: correlated and drawn with them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medvae.config import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.planned import mechanisms, parts_of
from medvae.privacy.joint import joined

SIZE = (16, 12, 10)
DATA = DataConfig(channels=("t1", "t2"), size=SIZE, label_scheme={"1": "one", "2": "two"}, labels=2)
BASIS = Basis.of(DATA)


def subject(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A ball of label 1 that is dark in t1 and bright in t2, and a corner of label 2."""
    x, y, z = np.indices(SIZE)
    centre = np.array([8.0, 6.0, 5.0]) + random.normal(0.0, 0.7, 3)
    ball = sum((one - at) ** 2 for one, at in zip((x, y, z), centre, strict=True)) < 12.0
    mask = np.where(ball, 1, np.where((x < 4) & (y < 4), 2, 0)).astype(np.uint8)
    soft = ndimage.gaussian_filter(ball.astype(float), 1.0)
    noise = 0.02 * random.standard_normal((2, *SIZE))
    return np.stack([0.4 - 0.8 * soft, 0.8 * soft - 0.4]) + noise, mask


@pytest.fixture(scope="module")
def model() -> CosineModel:
    """Released without noise."""
    random = np.random.default_rng(1)
    values = [BASIS.analyse(*subject(random)) for _ in range(120)]
    known = Numbers.public(BASIS, 0)
    for name, _ in mechanisms(BASIS):
        for part in parts_of(name, BASIS, known, lambda _, clip: 1e-3 * clip):
            mean = np.mean([part.measure(one, None) for one in values], axis=0)
            known = part.estimate(mean, 0.0, known)
    return CosineModel.read(BASIS, CosineModel(BASIS, known).to_arrays())


def test_planes_of_labels_follow_those_of_the_channels() -> None:
    image, mask = subject(np.random.default_rng(0))
    values = BASIS.analyse(image, mask)
    assert len(values) == len(BASIS) == 4 * np.prod(SIZE)
    np.testing.assert_allclose(BASIS.synthesise(values), image, atol=1e-12)
    # The slowest coefficient of a label is the part of the image that it fills.
    np.testing.assert_allclose(
        values[[2 * mask.size, 3 * mask.size]], [(mask == 1).mean(), (mask == 2).mean()]
    )
    again = BASIS.mask(values)
    assert again is not None
    assert [(again == label).sum() for label in (1, 2)] == [(mask == n).sum() for n in (1, 2)]
    assert (again == mask).mean() > 0.97
    np.testing.assert_array_equal(BASIS.mask(BASIS.analyse(image, None)), 0)
    full = BASIS.mask(BASIS.analyse(image, np.ones(SIZE, np.uint8)))
    np.testing.assert_array_equal(full, 1)


def test_without_labels_nothing_changes() -> None:
    plain = Basis.of(DATA.model_copy(update={"labels": 0}))
    image, mask = subject(np.random.default_rng(0))
    np.testing.assert_array_equal(plain.analyse(image), plain.analyse(image, mask))
    assert plain.mask(plain.analyse(image)) is None


def test_drawn_labels_are_where_the_drawn_image_shows_them(model: CosineModel) -> None:
    random = np.random.default_rng(5)
    real = [subject(random) for _ in range(40)]
    drawn = [model.draw_labelled(random) for _ in range(40)]
    for label in (1, 2):
        wanted, got = (
            np.mean([(mask == label).mean() for _, mask in one]) for one in (real, drawn)
        )
        assert got == pytest.approx(wanted, rel=0.2)
    for channel, sign in ((0, -1), (1, 1)):
        inside = [
            image[channel][mask == 1].mean() - image[channel][mask == 0].mean()
            for image, mask in drawn
        ]
        assert sign * np.mean(inside) > 0.2


def test_a_patients_labels_are_within_the_clip_of_the_release() -> None:
    """Sensitivity: a map of every voxel of one label weighs no more than the clip."""
    image, _ = subject(np.random.default_rng(0))
    values = 1e3 * BASIS.analyse(image, np.ones(SIZE, np.uint8))
    for name, _ in mechanisms(BASIS):
        parts = parts_of(name, BASIS, Numbers.public(BASIS, 0), lambda _, clip: 0.1 * clip)
        own = joined(parts)
        vector = own.join({part.name: part.measure(values, None) for part in parts})
        assert np.linalg.norm(vector) <= 1.0 + 1e-9
