"""Shares of grey values: measured, kept out of noise, and met by draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.config_data import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.marginals import DEVIATION, LEVELS, MOST_NOISE, Marginals, to_grey, to_scores
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.planned import MARGINALS, mechanisms, parts_of

BASIS = Basis((16, 12, 1))
PUBLIC = Numbers.public(BASIS, 0)
PART = Marginals(BASIS)
# Air is black in a third of all pixels, and what is bright is rare.
SHARES = np.array([0.33, 0.36, 0.5, 0.7, 0.8, 0.9, 0.97, 0.99])


def images(count: int) -> np.ndarray:
    """[n, 16, 12, 1] grey values of normal scores, as `SHARES` says."""
    scores = np.random.default_rng(0).normal(0.0, DEVIATION, (count, *BASIS.size))
    return to_grey(scores, SHARES)


def test_shares_are_those_of_all_pixels() -> None:
    mean = np.mean([PART.measure(BASIS.analyse(one), None) for one in images(400)], axis=0)
    found = PART.estimate(mean, 0.0, PUBLIC).marginals
    np.testing.assert_allclose(found, SHARES, atol=0.01)
    grey = np.round((images(400) + 1.0) * 127.5) / 127.5 - 1.0
    exact = [np.mean([PART.measure(BASIS.analyse(one), None) for one in grey], axis=0)]
    # A level is no grey value of 8 bits, so that no rounding of the transform moves a pixel past.
    np.testing.assert_allclose(exact[0] + 0.5, [(grey <= level).mean() for level in LEVELS])


def test_whatever_noise_makes_is_ascending_and_much_noise_changes_nothing() -> None:
    wild = np.random.default_rng(1).normal(0.0, 3.0, PART.dimension)
    found = PART.estimate(wild, MOST_NOISE, PUBLIC).marginals
    assert (np.diff(found) >= 0.0).all()
    assert found.min() > 0.0
    assert found.max() < 1.0
    grey = np.linspace(-1.0, 1.0, 201)
    assert (np.diff(to_scores(grey, found)) > 0.0).all()
    assert PART.estimate(wild, 1.01 * MOST_NOISE, PUBLIC) is PUBLIC


@pytest.mark.parametrize("wild", ["black", "white", "bright", "nan"])
def test_no_image_has_a_vector_longer_than_the_clip(wild: str) -> None:
    value = {"black": -1.0, "white": 1.0, "bright": 1e9, "nan": np.nan}[wild]
    vector = PART.measure(BASIS.analyse(np.full(BASIS.size, value)), None)
    assert np.linalg.norm(vector) == pytest.approx(PART.clip)


def test_scores_are_normal_and_go_back_to_grey_values() -> None:
    grey = images(200)
    scores = to_scores(grey, SHARES)
    np.testing.assert_allclose(to_grey(scores, SHARES), grey, atol=1e-9)
    inside = np.abs(grey) < 0.95
    normal = np.random.default_rng(0).normal(0.0, DEVIATION, grey.shape)
    np.testing.assert_allclose(scores[inside], normal[inside], atol=1e-9)
    far = to_grey(np.array([-9.0, 9.0]), SHARES)
    np.testing.assert_array_equal(far, [-1.0, 1.0])
    assert to_scores(grey, np.zeros(0)) is grey


def test_draws_have_the_shares_and_without_them_they_have_not() -> None:
    known = replace(PUBLIC, power=PUBLIC.power * DEVIATION**2 / BASIS.law.sum())
    scored = CosineModel(BASIS, replace(known, marginals=SHARES))
    black = {}
    for name, model in (("scored", scored), ("plain", CosineModel(BASIS, known))):
        random = np.random.default_rng(3)
        drawn = np.stack([model.draw(random) for _ in range(400)])
        black[name] = [(drawn <= level).mean() for level in LEVELS]
    np.testing.assert_allclose(black["scored"], SHARES, atol=0.06)
    assert black["plain"][0] < 0.02
    image = images(1)[0]
    np.testing.assert_allclose(scored.image(scored.analyse(image)), image, atol=1e-6)


def test_each_channel_has_shares_of_its_own() -> None:
    basis = Basis(BASIS.size, 2, related=True, absolute=True)
    part, public = Marginals(basis), Numbers.public(basis, 0)
    both = np.stack([images(300), -0.5 * images(300)], axis=1)
    mean = np.mean([part.measure(basis.analyse(one), None) for one in both], axis=0)
    found = part.estimate(mean, 0.0, public).marginals
    assert found.shape == (2, len(LEVELS))
    np.testing.assert_allclose(found[0], SHARES, atol=0.01)
    wanted = [(both[:, 1] <= level).mean() for level in LEVELS]
    np.testing.assert_allclose(found[1], np.clip(wanted, 0.002, 0.998), atol=0.002)
    model = CosineModel(basis, replace(public, marginals=found))
    np.testing.assert_allclose(model.image(model.analyse(both[0])), both[0], atol=1e-6)
    black = part.measure(basis.analyse(np.full((2, *BASIS.size), -1.0)), None)
    assert np.linalg.norm(black) == pytest.approx(part.clip)


def test_channels_on_public_scales_have_shares_and_contrasts_and_colours_have_none() -> None:
    kinds = {
        ("ct", ("ct", "pet"), ("ct", "pet")): True,
        ("ct", ("arterial", "venous"), ()): True,
        ("mri", ("t1", "t2"), ()): False,
        ("photo", ("red", "green", "blue"), ()): False,
        ("ct", (), ()): True,
    }
    for (modality, channels, modalities), scored in kinds.items():
        data = DataConfig(
            modality=modality,
            channels=channels,
            modalities=modalities,
            size=(16, 16, 1 if modality == "photo" else 8),
        )
        planned = mechanisms(Basis.of(data))
        assert (MARGINALS in dict(planned)) is scored, channels
        assert sum(dict(planned).values()) == pytest.approx(1.0)


def test_shares_are_a_mechanism_of_grey_images_and_of_public_scales() -> None:
    assert mechanisms(BASIS)[0][0] == MARGINALS
    assert sum(share for _, share in mechanisms(BASIS)) == pytest.approx(1.0)
    (part,) = parts_of(MARGINALS, BASIS, PUBLIC, lambda *_: 1.0)
    assert isinstance(part, Marginals)
    for other in (Basis((16, 12, 1), 3), Basis((8, 8, 4), 2, related=True)):
        assert MARGINALS not in [name for name, _ in mechanisms(other)]
