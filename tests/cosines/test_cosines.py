"""The cosine model's statistics: each says what it measured, is public when drowned, and clips."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from medvae.cosines.basis import Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import (
    MEANS,
    POWERS,
    SECONDS,
    BandPowers,
    ClassMeans,
    ClassSeconds,
    ClassShares,
    Part,
    quieted,
)
from medvae.cosines.planned import MOST_SECONDS, SHARES, parts_of
from medvae.cosines.shrinkage import packed, spectral, toward_zero, unpacked

BASIS = Basis((12, 10, 1), 3)
KNOWN = Numbers.public(BASIS, 2)
KEPT = BASIS.strongest(BASIS.law, 24)
PARTS: list[Part] = [
    ClassShares(2),
    BandPowers(BASIS),
    ClassMeans(BASIS, KNOWN, KEPT),
    ClassSeconds(BASIS, KNOWN, KEPT),
]


def images(count: int, seed: int = 0, power: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [n, F] of the public law times `power`, and classes that differ in their mean
    and in the sign that two coefficients have in common."""
    rng = np.random.default_rng(seed)
    category = (rng.random(count) < 0.25).astype(int)
    values = rng.standard_normal((count, len(BASIS)))
    values[:, KEPT[1]] = np.where(category, -1, 1) * values[:, KEPT[0]]
    values[:, KEPT[2]] += np.where(category, 1.0, -0.5)
    return values * np.sqrt(BASIS.law * power), category


def mean_vector(part: Part, values: np.ndarray, category: np.ndarray) -> np.ndarray:
    return np.mean([part.measure(v, int(k)) for v, k in zip(values, category, strict=True)], axis=0)


@pytest.mark.parametrize("shape", [(9, 7, 1), (3, 9, 7, 1), (4, 6, 5, 4)])
def test_the_transform_is_exact_and_keeps_the_norm(shape: tuple[int, ...]) -> None:
    basis = Basis(shape[-3:], shape[0] if len(shape) == 4 else 1)
    image = np.random.default_rng(1).normal(size=shape)
    found = basis.analyse(image)
    np.testing.assert_allclose(basis.synthesise(found), image, atol=1e-12)
    assert (found**2).sum() == pytest.approx((image**2).sum() / np.prod(shape[-3:]))


def test_bands_part_channels_and_frequencies() -> None:
    one, three = Basis((16, 16, 1)), Basis((16, 16, 1), 3)
    assert three.bands == 3 * one.bands
    assert one.widths[0] == 1
    assert one.band[0] not in one.band[1:]
    order = np.argsort(one.radius, kind="stable")
    assert (np.diff(one.band[order]) >= 0).all()
    # Grey values are in the first channel plane: equal colours have no other.
    grey = three.analyse(np.repeat(np.random.default_rng(0).normal(size=(1, 16, 16, 1)), 3, 0))
    np.testing.assert_allclose(grey[256:], 0.0, atol=1e-12)


def test_without_noise_every_part_says_what_it_measured() -> None:
    values, category = images(6000, power=3.0)
    known = KNOWN
    known = PARTS[0].estimate(mean_vector(PARTS[0], values, category), 0.0, known)
    np.testing.assert_allclose(known.shares, [0.75, 0.25], atol=0.02)
    known = PARTS[1].estimate(mean_vector(PARTS[1], values, category), 0.0, known)
    np.testing.assert_allclose(known.power / BASIS.by_band(BASIS.law), 3.0, rtol=0.25)
    means = ClassMeans(BASIS, known, KEPT)
    known = means.estimate(mean_vector(means, values, category), 0.0, known)
    for one in (0, 1):
        expected = values[category == one].mean(axis=0)[KEPT]
        np.testing.assert_allclose(known.means[one][KEPT], expected, atol=0.02)
    seconds = ClassSeconds(BASIS, known, KEPT)
    known = seconds.estimate(mean_vector(seconds, values, category), 0.0, known)
    for one in (0, 1):
        expected = np.cov(values[category == one][:, KEPT].T)
        found = known.covariance[one]
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(found / scale, expected / scale, atol=0.12)
        # The classes differ in a sign alone.
        assert np.sign(found[0, 1]) == (-1 if one else 1)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_under_much_noise_a_part_says_what_is_public(part: Part) -> None:
    rng = np.random.default_rng(3)
    found = part.estimate(rng.normal(0.0, 1e4, part.dimension), 1e4, KNOWN)
    calm = part.estimate(np.zeros(part.dimension), 1e4, KNOWN)
    np.testing.assert_allclose(found.shares, KNOWN.shares, atol=0.02)
    np.testing.assert_allclose(found.power, KNOWN.power, rtol=0.02)
    if isinstance(part, ClassSeconds):
        expected = np.diag(BASIS.law[KEPT])
        np.testing.assert_allclose(calm.covariance, np.stack([expected] * 2), atol=1e-3)


def test_a_vector_within_its_scales_is_not_clipped_and_a_wild_one_would_be() -> None:
    values, category = images(200)
    for part in PARTS:
        norms = [
            np.linalg.norm(part.measure(v, int(k))) for v, k in zip(values, category, strict=True)
        ]
        assert np.median(norms) <= part.clip, part.name
        # The clip is near what people need: more would be noise for nothing.
        assert np.median(norms) > 0.15 * part.clip, part.name
    wild = 1e3 * values[0]
    assert np.linalg.norm(PARTS[2].measure(wild, 1)) > 10 * PARTS[2].clip


@pytest.mark.parametrize("category", [None, 2, 15])
def test_an_image_of_no_known_class_adds_nothing_to_classes(category: int | None) -> None:
    values, _ = images(1)
    for part in (PARTS[0], PARTS[2], PARTS[3]):
        assert not part.measure(values[0], category).any()


def test_one_class_is_everybodys() -> None:
    values, _ = images(1)
    known = Numbers.public(BASIS, 0)
    assert ClassMeans(BASIS, known, KEPT).measure(values[0], None).any()
    assert ClassSeconds(BASIS, known, KEPT).measure(values[0], None).any()


def test_the_number_of_coefficients_follows_noise_and_nothing_else() -> None:
    def count(name: str, noise: float) -> int:
        parts = parts_of(name, BASIS, KNOWN, lambda _, clip: noise * clip)
        return len(parts[0].kept)  # type: ignore[attr-defined]

    for name in (MEANS, SECONDS):
        counts = [count(name, noise) for noise in (1e-9, 1e-4, 1e-3, 1e-2, 1e3)]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 3
    assert count(SECONDS, 1e-9) == MOST_SECONDS
    assert count(MEANS, 1e-9) == len(BASIS)
    assert [p.name for p in parts_of(POWERS, BASIS, Numbers.public(BASIS, 0), lambda *_: 1.0)] == [
        "powers"
    ]
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_what_means_hold_of_a_bands_power_is_no_spread() -> None:
    means = np.zeros_like(KNOWN.means)
    means[:, 0] = 0.9 * np.sqrt(BASIS.law[0])
    known = replace(KNOWN, means=means)
    assert known.spread(BASIS)[0] == pytest.approx(np.sqrt(0.19 * BASIS.law[0]))
    np.testing.assert_allclose(known.spread(BASIS)[1:], KNOWN.spread(BASIS)[1:])
    # A tenth of the power stays, whatever noise made of the means.
    wild = replace(KNOWN, means=means * 9)
    assert wild.spread(BASIS)[0] == pytest.approx(np.sqrt(0.1 * BASIS.law[0]))


def test_shrinkage_keeps_what_stands_out_of_noise() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0.0, 1.0, (60, 60))
    noise = (noise + noise.T) / 2.0
    np.testing.assert_allclose(np.diag(noise).std(), 1.0, atol=0.25)
    assert np.abs(np.linalg.eigvalsh(spectral(noise, 1.05))).max() < 2.0
    spike = np.zeros((60, 60))
    spike[0, 0] = 40.0
    assert spectral(spike + noise, 1.0)[0, 0] == pytest.approx(40.0, rel=0.1)
    np.testing.assert_array_equal(spectral(spike, 0.0).round(9), spike)
    bands = np.repeat([0, 1], 30)
    kept = toward_zero(np.concatenate([np.full(30, 0.5), np.full(30, 9.0)]), 1.0, bands)
    assert not kept[:30].any()
    assert (kept[30:] > 8.8).all()


def test_what_a_class_differs_by_is_taken_as_released_and_what_all_share_is_shrunk() -> None:
    rng, count, sigma = np.random.default_rng(8), len(KEPT), 0.05
    known = replace(KNOWN, shares=np.array([0.5, 0.5]))
    part = ClassMeans(BASIS, known, KEPT)
    released = sigma * rng.standard_normal(2 * count)
    means = part.estimate(released, sigma, known).means[:, KEPT]
    scale = known.scale(BASIS)[KEPT] / part._weights
    first, second = released.reshape(2, -1)
    np.testing.assert_allclose(means[0] - means[1], 2.0 * (first - second) * scale)
    # Nothing but noise is left of the mean of all.
    assert np.abs(means.mean(axis=0) / scale).mean() < 0.7 * np.abs(first + second).mean()
    apart = ClassSeconds(BASIS, known, KEPT)
    noisy = sigma * rng.standard_normal(apart.dimension)
    exact = packed(np.diag(apart._weights**2)) / 2.0
    covariance = apart.estimate(np.tile(exact, 2) + noisy, sigma, known).covariance
    units = known.spread(BASIS)[KEPT] / apart._weights
    found = (covariance[0] - covariance[1]) / np.outer(units, units)
    wanted = unpacked(2.0 * np.subtract(*noisy.reshape(2, -1)), count)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_noise_of_a_rare_class_is_brought_down_and_no_more() -> None:
    values = np.array([3.0, -1.0])
    np.testing.assert_array_equal(quieted(values, 0.4, 0.5), values)
    np.testing.assert_array_equal(quieted(values, 0.0, 0.5), values)
    np.testing.assert_allclose(quieted(values, 5.0, 0.5), 0.01 * values)
    rare = replace(KNOWN, shares=np.array([0.99, 0.01]))
    part = ClassMeans(BASIS, rare, KEPT)
    released = 0.1 * np.random.default_rng(1).standard_normal(part.dimension)
    scale = rare.scale(BASIS)[KEPT] / part._weights
    means = part.estimate(released, 0.1, rare).means[:, KEPT] / scale
    assert np.abs(means[1]).max() < 1.0 < 0.1 * np.abs(released[len(KEPT) :] / 0.01).max()


def test_draws_have_the_released_moments_and_the_power_of_finer_bands() -> None:
    values, category = images(4000)
    known = KNOWN
    for name in (POWERS, MEANS, SECONDS):
        for part in parts_of(name, BASIS, known, lambda _, clip: 1e-9 * clip):
            known = part.estimate(mean_vector(part, values, category), 0.0, known)
    model = CosineModel(BASIS, known)
    random = np.random.default_rng(2)
    drawn = np.stack([BASIS.analyse(model.draw(random, 1)) for _ in range(2000)])
    true = values[category == 1]
    finer = np.setdiff1d(np.arange(len(BASIS)), known.kept)
    assert len(finer) > 100
    for places in (known.kept, finer):
        ratio = (drawn[:, places] ** 2).mean() / (true[:, places] ** 2).mean()
        assert ratio == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(drawn.mean(axis=0), true.mean(axis=0), atol=0.02)
    # The classes differ in the sign of what two coefficients have in common.
    other = np.stack([BASIS.analyse(model.draw(random, 0)) for _ in range(500)])
    for found, sign in ((drawn, -1), (other, 1)):
        assert np.corrcoef(found[:, KEPT[0]], found[:, KEPT[1]])[0, 1] * sign > 0.8
    picks = [model.pick(random) for _ in range(2000)]
    assert np.mean(picks) == pytest.approx(0.25, abs=0.04)


def test_a_model_file_gives_the_same_model() -> None:
    released = {POWERS: np.arange(3.0)}
    model = CosineModel(BASIS, KNOWN, released)
    again = CosineModel.read(BASIS, model.to_arrays())
    for field in fields(Numbers):
        np.testing.assert_array_equal(
            getattr(again.numbers, field.name), getattr(KNOWN, field.name)
        )
    np.testing.assert_array_equal(again.released[POWERS], released[POWERS])
    broken = model.to_arrays()
    broken.pop("power")
    with pytest.raises(KeyError, match="power"):
        CosineModel.read(BASIS, broken)
