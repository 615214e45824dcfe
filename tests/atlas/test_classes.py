"""Classes of volumes: shares and shifts, sensitivity to one patient, and samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.atlas import Atlas, fit, mechanisms
from medvae.atlas.budget import CLASSES, TEXTURE_VARIANCE
from medvae.atlas.classes import CLIP, ClassCode, simplex
from medvae.atlas.registration import registrar
from medvae.atlas.texture_variance import CLIP as TEXTURE_CLIP
from medvae.config import RunConfig
from medvae.errors import IntegrityError
from medvae.grid import Gridded
from tests.atlas.cohorts import SIZE, Cohort, Recorder, anatomy, config

COUNT = 12


def _config(classes: int = 2, epsilon: float = 40.0, modality: str = "mri") -> RunConfig:
    base = config(labels=0, epsilon=epsilon)
    update = {"classes": classes, "modality": modality}
    return base.model_copy(update={"data": base.data.model_copy(update=update)})


def _patient(rng: np.random.Generator, class_id: int | None) -> Gridded:
    """Class 1 has a bright ball in one corner."""
    volume = anatomy(rng, masked=False)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij"))
    ball = ((voxels - 5) ** 2).sum(axis=0) < 16
    image = np.where(ball, 0.9, volume.image) if class_id == 1 else volume.image
    return Gridded(image.astype(np.float32), None, class_id)


def _cohort(without: int | None = None) -> Cohort:
    """A third of class 1; the second patient has one volume of each class and one of none."""
    rng = np.random.default_rng(3)
    patients = [[_patient(rng, int(i % 3 == 0))] for i in range(COUNT)]
    patients[1] = [_patient(rng, 0), _patient(rng, 1), _patient(rng, None)]
    if without is not None:
        patients[without] = []
    return Cohort(patients)


@pytest.fixture(scope="module")
def classed() -> tuple[Atlas, Recorder]:
    recorder = Recorder(divisor=COUNT)
    return fit(_cohort(), recorder, _config()), recorder


def test_without_classes_the_plan_and_the_result_are_as_before(fitted):
    for epsilon in (0.5, 8.0):
        plain = mechanisms(_config(0, epsilon), False, 80)
        assert mechanisms(_config(-1, epsilon), False, 80) == plain
        planned = mechanisms(_config(2, epsilon), False, 80)
        assert sum(share for _, share in planned) == pytest.approx(1.0)
        assert [name for name, _ in planned if name != CLASSES] == [name for name, _ in plain]
        assert planned.count((CLASSES, dict(planned)[CLASSES])) == 1
    assert not any(name.startswith("classes") for name in fitted[0].to_tensors())
    # The random stream is not advanced.
    rng, fresh = np.random.default_rng(1), np.random.default_rng(1)
    assert fitted[0].classes.pick(rng) is None
    assert rng.random() == fresh.random()


def test_removing_a_patient_changes_the_noisy_mean_by_at_most_the_clip_over_n(classed):
    _, recorder = classed
    for without in (0, 1, 2):
        neighbour = Recorder(divisor=COUNT)
        neighbour.frozen = recorder.results
        fit(_cohort(without), neighbour, _config())
        change = np.linalg.norm(recorder.results[CLASSES] - neighbour.results[CLASSES])
        assert 0 < change <= CLIP / COUNT * (1 + 1e-9)


def test_no_volume_is_too_large_for_the_clip_and_its_count_is_exact():
    basis = registrar(SIZE).basis
    code = ClassCode.plan(SIZE, basis, 3, 0.01)
    rng = np.random.default_rng(0)
    for scale in (0.0, 0.1, 1e3, np.inf):
        parts = [scale * rng.normal(size=shape) for shape in (SIZE, (3, len(basis)), 6)]
        with np.errstate(invalid="ignore"):
            vector = code.encode(1, *parts)
        assert np.linalg.norm(vector) <= CLIP * (1 + 1e-9)
        rows = vector.reshape(3, -1)
        assert rows[1, 0] == code.encode(1, *(np.zeros_like(p) for p in parts)).reshape(3, -1)[1, 0]
        assert not rows[[0, 2]].any()
    for class_id in (None, 3, -1):
        assert not code.encode(class_id, *parts).any()


def test_shares_and_shifts_are_those_of_the_classes(classed):
    atlas, _ = classed
    # Patient 1 counts as a third of a patient in each class; the last third has no class.
    assert atlas.classes.share == pytest.approx(simplex(np.array([7 + 1 / 3, 4 + 1 / 3]) / COUNT))
    ball = np.s_[3:8, 3:8, 3:8]
    assert atlas.class_contrast(1)[ball].mean() > 0.1
    assert atlas.class_contrast(0)[ball].mean() < -0.02
    assert not atlas.class_contrast(None).any()
    brightness = {
        k: np.mean([atlas.sample(np.random.default_rng(i), k).image[ball].mean() for i in range(8)])
        for k in (0, 1)
    }
    assert brightness[1] > brightness[0] + 0.2


def test_classes_are_sampled_by_their_shares(classed):
    atlas, _ = classed
    rng = np.random.default_rng(0)
    picks = [atlas.classes.pick(rng) for _ in range(2000)]
    assert np.mean(picks) == pytest.approx(atlas.classes.share[1], abs=0.04)


def test_strong_noise_leaves_no_shifts():
    code = ClassCode.plan(SIZE, registrar(SIZE).basis, 2, 10.0)
    rng = np.random.default_rng(0)
    classes = code.decode(10.0 * rng.standard_normal(code.dimension), 10.0)
    assert classes.share.sum() == pytest.approx(1.0)
    assert (classes.share >= 0).all()
    assert not classes.image.any()
    assert not classes.deformation.any()


def test_the_simplex_projection_is_the_nearest_point():
    assert simplex(np.array([0.2, 0.8])) == pytest.approx([0.2, 0.8])
    assert simplex(np.array([-0.5, 1.7])) == pytest.approx([0.0, 1.0])
    assert simplex(np.array([0.6, 0.6])) == pytest.approx([0.5, 0.5])


def test_tensors_round_trip_and_inconsistent_ones_are_refused(classed):
    atlas, _ = classed
    tensors = atlas.to_tensors()
    again = Atlas.from_tensors(tensors)
    for name, values in tensors.items():
        assert np.array_equal(values, again.to_tensors()[name]), name
    images = [again.sample(np.random.default_rng(4), 1).image for _ in range(2)]
    assert np.array_equal(*images)
    for name in ("classes.image", "classes.share"):
        with pytest.raises(IntegrityError):
            Atlas.from_tensors({**tensors, name: tensors[name][:1]})
        with pytest.raises(IntegrityError):
            Atlas.from_tensors({k: v for k, v in tensors.items() if k != name})


def test_ct_keeps_its_units():
    """Patients have two materials in any amounts: every sample has the same two grey values."""
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    patients = []
    for _ in range(COUNT):
        inside = (points**2).sum(axis=0) < rng.uniform(0.15, 0.5)
        noise = rng.normal(0, 0.02, SIZE)
        patients.append([Gridded((np.where(inside, 0.04, -0.85) + noise).astype(np.float32), None)])
    atlas = fit(Cohort(patients), Recorder(divisor=COUNT), _config(0, modality="ct"))
    stored = Atlas.from_tensors(atlas.to_tensors())
    assert stored.grey_centre == pytest.approx(atlas.grey_centre)
    for image, _ in atlas.pairs(6, seed=0):
        lung = np.abs(image + 0.85) < 0.1
        body = np.abs(image - 0.04) < 0.1
        assert (lung | body).mean() > 0.8
        assert body.any()
    relative = replace(atlas, grey_centre=None, texture_std=np.zeros(0), grey=np.zeros(6))
    image = relative.sample(np.random.default_rng(0)).image
    assert ((np.abs(image + 0.85) < 0.1) | (np.abs(image - 0.04) < 0.1)).mean() < 0.8


def _walls(without: int | None = None) -> Cohort:
    """A body in the centre of every patient, and a wall along one side of half of them."""
    rng = np.random.default_rng(1)
    points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    body = (points**2).sum(axis=0) < 0.2
    patients = []
    for number in range(COUNT):
        solid = body | ((points[0] > 0.6) if number % 2 else False)
        image = np.where(solid, 0.04, -0.85) + rng.normal(0, 0.02, SIZE)
        patients.append([] if number == without else [Gridded(image.astype(np.float32), None)])
    return Cohort(patients)


def test_ct_texture_varies_where_patients_differ_with_bounded_sensitivity():
    recorder = Recorder(divisor=COUNT)
    cfg = _config(0, modality="ct")
    atlas = fit(_walls(), recorder, cfg)
    assert atlas.texture_std[-3:].mean() > 1.5 * atlas.texture_std[8:12, 10:14, 8:12].mean()
    neighbour = Recorder(divisor=COUNT)
    neighbour.frozen = recorder.results
    fit(_walls(1), neighbour, cfg)
    change = np.linalg.norm(
        recorder.results[TEXTURE_VARIANCE] - neighbour.results[TEXTURE_VARIANCE]
    )
    assert 0 < change <= TEXTURE_CLIP / COUNT * (1 + 1e-9)
    # MRI has no texture variance map.
    assert TEXTURE_VARIANCE not in dict(mechanisms(_config(2), False, 80))
    planned = mechanisms(_config(2, modality="ct"), False, 80)
    assert sum(share for _, share in planned) == pytest.approx(1.0)
    assert {TEXTURE_VARIANCE, CLASSES} <= set(dict(planned))
