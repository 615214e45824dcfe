"""Classes of volumes: what is released of them, what one patient can move, what is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.atlas import Atlas, fit, mechanisms
from medvae.atlas.classes import CLIP, ClassCode, simplex
from medvae.atlas.shares import CLASSES, SPREAD
from medvae.atlas.spread import CLIP as SPREAD_CLIP
from medvae.atlas.study import registrar
from medvae.config import RunConfig
from medvae.errors import IntegrityError
from medvae.grid import Gridded
from tests.atlas.cohorts import SIZE, Cohort, Recorder, anatomy, config

COUNT = 12


def _config(classes: int = 2, epsilon: float = 40.0, modality: str = "mri") -> RunConfig:
    base = config(labels=0, epsilon=epsilon)
    update = {"classes": classes, "modality": modality}
    return base.model_copy(update={"data": base.data.model_copy(update=update)})


def _patient(rng: np.random.Generator, category: int | None) -> Gridded:
    """Class 1 has a bright ball in one corner."""
    volume = anatomy(rng, masked=False)
    place = np.stack(np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij"))
    ball = ((place - 5) ** 2).sum(axis=0) < 16
    image = np.where(ball, 0.9, volume.image) if category == 1 else volume.image
    return Gridded(image.astype(np.float32), None, category)


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
    release = Recorder(divisor=COUNT)
    return fit(_cohort(), release, _config()), release


def test_without_classes_the_plan_and_the_result_are_as_before(fitted):
    for epsilon in (0.5, 8.0):
        plain = mechanisms(_config(0, epsilon), False, 80)
        assert mechanisms(_config(-1, epsilon), False, 80) == plain
        planned = mechanisms(_config(2, epsilon), False, 80)
        assert sum(share for _, share in planned) == pytest.approx(1.0)
        assert [name for name, _ in planned if name != CLASSES] == [name for name, _ in plain]
        assert planned.count((CLASSES, dict(planned)[CLASSES])) == 1
    assert not any(name.startswith("classes") for name in fitted[0].to_tensors())
    # Nothing more is drawn: the stream of a generator is where it was.
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    assert fitted[0].classes.pick(one) is None
    assert one.random() == two.random()


def test_removing_a_patient_moves_the_release_by_at_most_the_clip_over_n(classed):
    _, release = classed
    for without in (0, 1, 2):
        neighbour = Recorder(divisor=COUNT)
        neighbour.frozen = release.results
        fit(_cohort(without), neighbour, _config())
        moved = np.linalg.norm(release.results[CLASSES] - neighbour.results[CLASSES])
        assert 0 < moved <= CLIP / COUNT * (1 + 1e-9)


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
    for category in (None, 3, -1):
        assert not code.encode(category, *parts).any()


def test_shares_and_shifts_are_those_of_the_classes(classed):
    atlas, _ = classed
    # Patient 1 counts a third of a patient in each class; one third of him says nothing.
    assert atlas.classes.share == pytest.approx(simplex(np.array([7 + 1 / 3, 4 + 1 / 3]) / COUNT))
    ball = np.s_[3:8, 3:8, 3:8]
    assert atlas.contrast(1)[ball].mean() > 0.1
    assert atlas.contrast(0)[ball].mean() < -0.02
    assert not atlas.contrast(None).any()
    drawn = {
        k: np.mean([atlas.draw(np.random.default_rng(i), k)[0][ball].mean() for i in range(8)])
        for k in (0, 1)
    }
    assert drawn[1] > drawn[0] + 0.2


def test_classes_are_drawn_as_often_as_released(classed):
    atlas, _ = classed
    rng = np.random.default_rng(0)
    picks = [atlas.classes.pick(rng) for _ in range(2000)]
    assert np.mean(picks) == pytest.approx(atlas.classes.share[1], abs=0.04)


def test_much_noise_says_nothing_of_classes():
    code = ClassCode.plan(SIZE, registrar(SIZE).basis, 2, 10.0)
    rng = np.random.default_rng(0)
    found = code.decode(10.0 * rng.standard_normal(code.dimension), 10.0)
    assert found.share.sum() == pytest.approx(1.0)
    assert (found.share >= 0).all()
    assert not found.image.any()
    assert not found.motion.any()


def test_the_simplex_projection_is_the_nearest_point():
    assert simplex(np.array([0.2, 0.8])) == pytest.approx([0.2, 0.8])
    assert simplex(np.array([-0.5, 1.7])) == pytest.approx([0.0, 1.0])
    assert simplex(np.array([0.6, 0.6])) == pytest.approx([0.5, 0.5])


def test_tensors_round_trip_and_misfits_are_refused(classed):
    atlas, _ = classed
    tensors = atlas.to_tensors()
    again = Atlas.from_tensors(tensors)
    for name, values in tensors.items():
        assert np.array_equal(values, again.to_tensors()[name]), name
    one, two = (a.draw(np.random.default_rng(4), 1)[0] for a in (again, again))
    assert np.array_equal(one, two)
    for name in ("classes.image", "classes.share"):
        with pytest.raises(IntegrityError):
            Atlas.from_tensors({**tensors, name: tensors[name][:1]})
        with pytest.raises(IntegrityError):
            Atlas.from_tensors({k: v for k, v in tensors.items() if k != name})


def test_ct_keeps_its_units():
    """Two materials in any amounts: every sample is made of the same two grey values."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    patients = []
    for _ in range(COUNT):
        inside = (place**2).sum(axis=0) < rng.uniform(0.15, 0.5)
        noise = rng.normal(0, 0.02, SIZE)
        patients.append([Gridded((np.where(inside, 0.04, -0.85) + noise).astype(np.float32), None)])
    release = Recorder(divisor=COUNT)
    atlas = fit(Cohort(patients), release, _config(0, modality="ct"))
    assert Atlas.from_tensors(atlas.to_tensors()).middle == pytest.approx(atlas.middle)
    for image, _ in atlas.sample(6, seed=0):
        lung = np.abs(image + 0.85) < 0.1
        body = np.abs(image - 0.04) < 0.1
        assert (lung | body).mean() > 0.8
        assert body.any()
    bare = replace(atlas, middle=np.zeros(0), spread=np.zeros(0), grey=np.zeros(6))
    image = bare.draw(np.random.default_rng(0))[0]
    assert ((np.abs(image + 0.85) < 0.1) | (np.abs(image - 0.04) < 0.1)).mean() < 0.8


def _walls(without: int | None = None) -> Cohort:
    """A body in the middle of every patient, and a wall along one side of half of them."""
    rng = np.random.default_rng(1)
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    body = (place**2).sum(axis=0) < 0.2
    patients = []
    for number in range(COUNT):
        solid = body | ((place[0] > 0.6) if number % 2 else False)
        image = np.where(solid, 0.04, -0.85) + rng.normal(0, 0.02, SIZE)
        patients.append([] if number == without else [Gridded(image.astype(np.float32), None)])
    return Cohort(patients)


def test_ct_varies_where_patients_differ_and_a_patient_moves_that_little():
    release = Recorder(divisor=COUNT)
    cfg = _config(0, modality="ct")
    atlas = fit(_walls(), release, cfg)
    assert atlas.spread[-3:].mean() > 1.5 * atlas.spread[8:12, 10:14, 8:12].mean()
    neighbour = Recorder(divisor=COUNT)
    neighbour.frozen = release.results
    fit(_walls(1), neighbour, cfg)
    moved = np.linalg.norm(release.results[SPREAD] - neighbour.results[SPREAD])
    assert 0 < moved <= SPREAD_CLIP / COUNT * (1 + 1e-9)
    # Magnetic resonance is not asked for it.
    assert SPREAD not in dict(mechanisms(_config(2), False, 80))
    planned = mechanisms(_config(2, modality="ct"), False, 80)
    assert sum(share for _, share in planned) == pytest.approx(1.0)
    assert {SPREAD, CLASSES} <= set(dict(planned))
