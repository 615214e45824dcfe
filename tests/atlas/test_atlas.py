"""Samples of a released atlas, and its storage."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from medvae.atlas import Atlas, boundary_profile, fit, formats, hounsfield, intensity, public
from medvae.atlas.basis import cosines
from medvae.atlas.classes import Classes
from medvae.atlas.displacement import prior_std, warp
from medvae.atlas.registration import registrar
from medvae.config import RunConfig
from medvae.errors import IntegrityError
from medvae.grid import Gridded
from tests.atlas.cohorts import SIZE, Cohort, Recorder, anatomy, cohort, config, jacobian


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def test_noiseless_atlas_shows_the_cohorts_anatomy(fitted):
    atlas, _ = fitted
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    mask = atlas.mask_from_template(atlas.basis.synthesise(atlas.centre))
    assert _dice(mask == 1, typical.mask == 1) > 0.85
    assert _dice(mask == 2, typical.mask == 2) > 0.85
    assert np.corrcoef(atlas.template[0].ravel(), typical.image.ravel())[0, 1] > 0.9
    assert np.corrcoef(atlas.mean_image().ravel(), typical.image.ravel())[0, 1] > 0.8


def test_samples_are_coherent_pairs_and_differ(fitted):
    atlas, _ = fitted
    pairs = list(atlas.pairs(8, seed=1))
    for image, mask in pairs:
        assert image.dtype == np.float32
        assert mask.dtype == np.uint8
        assert image.shape == mask.shape == SIZE
        assert np.isfinite(image).all()
        assert np.abs(image).max() <= 1.0
        assert set(np.unique(mask)) == {0, 1, 2}
        inside = [image[mask == label].mean() for label in (0, 1, 2)]
        assert inside[1] > inside[0] > inside[2]
    assert np.std([(mask == 1).sum() for _, mask in pairs]) > 0
    centres = np.array([np.argwhere(mask == 1).mean(axis=0) for _, mask in pairs])
    assert centres.std(axis=0).max() > 0.1


def test_sample_depends_on_seed_and_index_alone(fitted):
    atlas, _ = fitted
    first = list(atlas.pairs(3, seed=7))
    again = list(atlas.pairs(2, seed=7))
    other = next(iter(atlas.pairs(1, seed=8)))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=False))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=False))
    assert not np.array_equal(first[0][0], other[0])
    assert not np.array_equal(first[0][0], first[1][0])


def test_fitting_twice_gives_the_same_atlas(fitted):
    atlas, _ = fitted
    repeated = fit(cohort(), Recorder(divisor=6), config())
    for name, values in atlas.to_tensors().items():
        assert np.array_equal(values, repeated.to_tensors()[name]), name


def test_round_trip_through_tensors(fitted):
    atlas, _ = fitted
    stored = atlas.to_tensors()
    back = Atlas.from_tensors(stored)
    assert all(np.array_equal(stored[name], back.to_tensors()[name]) for name in stored)
    here, there = next(iter(back.pairs(1, 3))), next(iter(Atlas.from_tensors(stored).pairs(1, 3)))
    assert np.array_equal(here[0], there[0])


def test_a_stored_profile_of_fewer_directions_keeps_its_values(fitted):
    atlas, _ = fitted
    stored = atlas.to_tensors()
    first = stored["profile"][:, : boundary_profile.FIRST_DIMENSION]
    back = Atlas.from_tensors(stored | {"profile": first})
    assert np.array_equal(back.profile[:, : boundary_profile.FIRST_DIMENSION], first)
    assert not back.profile[:, boundary_profile.FIRST_DIMENSION :].any()


def facts(version: int) -> np.ndarray:
    """The stored format version."""
    return np.frombuffer(json.dumps({"format": version}).encode(), np.uint8)


FIRST = {"facts": facts(1)}


def test_grey_values_of_format_1_are_migrated_to_nearly_the_same_curves(fitted):
    grey = np.array([0.1, 0.08, -0.02, 0.01, 0.0, 0.0], np.float32)
    grey_std = np.array([0.06, 0.03, 0.02, 0.01, 0.0, 0.0], np.float32)
    stored = fitted[0].to_tensors() | {"grey": grey, "grey_deviation": grey_std} | FIRST
    back = Atlas.from_tensors(stored)
    waves = cosines(intensity.LEVELS, intensity.COUNT)
    before = intensity.BASE + waves @ grey
    assert np.abs(intensity.curve(back.grey) - before)[4:-4].max() < 0.03
    # Samples of format 1, in coefficients of the current format.
    samples = grey + grey_std * np.random.default_rng(0).standard_normal((20_000, 6))
    migrated = (samples @ waves.T) @ intensity.WAVES / intensity.LEVELS
    assert np.allclose(migrated.mean(axis=0), back.grey, atol=0.002)
    assert np.allclose(migrated.std(axis=0), back.grey_std, rtol=0.03, atol=1e-4)


def test_shifts_of_classes_are_migrated_too(fitted):
    atlas = fitted[0]
    grey = np.array([[0.05, 0.02, 0.0, 0.01, 0.0, 0.0], [-0.05, 0.0, 0.03, 0.0, 0.0, 0.0]])
    count = len(grey)
    classes = Classes(
        np.full(count, 0.5),
        np.zeros((count, *atlas.shape)),
        np.zeros((count, 3, len(atlas.basis))),
        grey,
    )
    stored = dataclasses.replace(atlas, classes=classes).to_tensors()
    assert np.allclose(Atlas.from_tensors(stored).classes.grey, grey)
    back = Atlas.from_tensors(stored | FIRST)
    assert np.allclose(back.classes.grey, intensity.from_cosines(grey))
    with pytest.raises(IntegrityError, match="grey"):
        Atlas.from_tensors(stored | FIRST | {"classes.grey": np.zeros((2, 5), np.float32)})


def test_absolute_grey_values_need_no_migration(fitted):
    grey = np.linspace(-0.1, 0.1, hounsfield.COUNT)
    ct = dataclasses.replace(
        fitted[0], grey_centre=0.2, texture_std=np.ones(fitted[0].shape), grey=grey
    )
    assert np.allclose(Atlas.from_tensors(ct.to_tensors() | FIRST).grey, grey)


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t.pop("centre"),
        lambda t: t.pop("facts"),
        lambda t: t.update(facts=facts(formats.CURRENT + 1)),
        lambda t: t.update(facts=np.frombuffer(b'{"format": Infinity}', np.uint8)),
        lambda t: t.update(grey=np.full(6, np.nan, np.float32)),
        lambda t: t.update(centre=np.zeros((3, 2), np.float32)),
        lambda t: t.update(template=np.zeros(5, np.float32)),
        lambda t: t.update(facing=np.float32(1.0)),
        lambda t: t.update(facing=np.zeros((2, 4), np.float32)),
        lambda t: t.pop("profile"),
        lambda t: t.update(middle=np.zeros(1, np.float32)),
        lambda t: t.update(middle=np.zeros(2, np.float32), spread=np.ones(SIZE, np.float32)),
        lambda t: t.update(middle=np.full(1, np.nan), spread=np.ones(SIZE, np.float32)),
    ],
)
def test_damaged_tensors_are_refused(fitted, damage):
    tensors = fitted[0].to_tensors()
    damage(tensors)
    with pytest.raises(IntegrityError, match="stored atlas"):
        Atlas.from_tensors(tensors)


def test_to_template_aligns_and_from_template_restores(fitted):
    atlas, _ = fitted
    patient = anatomy(np.random.default_rng(77), shift=2.0)
    flat, field = atlas.to_template(patient)
    template = atlas.mean_image()
    before = np.abs(patient.image - template).mean()
    assert np.abs(flat - template).mean() < 0.75 * before
    assert _dice(atlas.mask_from_template(field) == 1, patient.mask == 1) > 0.8
    restored = atlas.from_template(flat, field)
    inner = (slice(3, -3),) * 3
    assert (
        np.abs(restored - patient.image)[inner].mean()
        < 0.35 * np.abs(flat - patient.image)[inner].mean()
    )


def test_sampled_fields_hardly_fold(fitted):
    atlas, _ = fitted
    folded = [
        (jacobian(atlas.sample_field(np.random.default_rng(seed))) <= 0).mean()
        for seed in range(20)
    ]
    assert np.mean(folded) < 0.005


def test_without_masks_images_come_alone():
    patients = cohort(masked=False)
    atlas = fit(patients, Recorder(divisor=6), config(labels=0))
    image, mask = next(iter(atlas.pairs(1, 0)))
    assert mask is None
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    assert np.corrcoef(atlas.mean_image().ravel(), typical.image.ravel())[0, 1] > 0.85
    assert image.shape == SIZE


def _blank(value: float, label: int | None) -> Gridded:
    mask = None if label is None else np.full(SIZE, label, np.uint8)
    return Gridded(np.full(SIZE, value, np.float32), mask)


@pytest.mark.parametrize(
    "odd",
    [
        _blank(0.0, 0),
        _blank(-1.0, None),
        _blank(np.nan, 1),
        _blank(np.inf, 9),
        Gridded(np.where(np.indices(SIZE)[0] > 9, np.nan, 0.5).astype(np.float32), None),
    ],
    ids=["constant", "no-mask", "nan-all-label", "inf-unknown-label", "half-nan"],
)
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_degenerate_volumes_leave_finite_atlases(odd, noise):
    patients = Cohort([[odd], [anatomy(np.random.default_rng(1))]])
    atlas = fit(patients, Recorder(divisor=2, noise=noise), config())
    assert all(np.isfinite(values).all() for values in atlas.to_tensors().values())
    for image, mask in atlas.pairs(2, 0):
        assert np.isfinite(image).all()
        assert mask.max() <= 2
    flat, field = atlas.to_template(odd)
    assert np.isfinite(flat).all()
    assert np.isfinite(field).all()


def test_one_patient_under_strong_noise_still_gives_an_atlas():
    atlas = fit(
        Cohort([[anatomy(np.random.default_rng(1))]]), Recorder(1, noise=100.0), config(2, 0.1)
    )
    image, _ = next(iter(atlas.pairs(1, 0)))
    assert np.isfinite(image).all()


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_public_template_gives_fine_structure_that_matches_the_labels(noise):
    head = public.mni152((1.0, 1.0, 1.0))
    size = (24, 32, 24)
    corner = (60, 92, 48)
    crop = head[tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))]
    points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"))
    inside = ((points / 0.5) ** 2).sum(axis=0) < 1
    rng = np.random.default_rng(0)
    basis = registrar(size).basis
    std = 0.5 * prior_std(basis)
    patients = []
    for _ in range(10):
        field = basis.synthesise(std * rng.standard_normal((3, len(basis))))
        image = 2 * warp(crop, field) / crop.max() - 1 + rng.normal(0, 0.05, size)
        mask = warp(inside.astype(float), field, order=0).astype(np.uint8)
        patients.append([Gridded(np.clip(image, -1, 1).astype(np.float32), mask)])
    cfg = config(labels=1).model_dump()
    cfg["data"]["size"], cfg["atlas"]["public"] = size, "mni152"
    atlas = fit(Cohort(patients), Recorder(10, noise=noise), RunConfig.model_validate(cfg))
    assert np.corrcoef(atlas.template[0].ravel(), crop.ravel())[0, 1] > 0.75
    mask = atlas.mask_from_template(atlas.basis.synthesise(atlas.centre))
    assert _dice(mask == 1, inside) > 0.8
