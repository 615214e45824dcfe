"""Contrasts of patients without public people: one anatomy from their maps, drawn in each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.drawing.contrasted import Variation
from medvae.anatomy.drawing.pairs import MOST_TOGETHER
from medvae.anatomy.drawing.pose import Pose
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.patients import anatomy_of_patients, public_maps
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates import FINE_MAPS, MapMechanism, ReleasedMaps, steps
from medvae.config import RunConfig
from tests.anatomy.cohorts import scan
from tests.train.test_maps import CFG, DATA, PATIENTS, Cohort, fitted

CHANNELS = ("t1", "t2")
BOTH = CFG.model_copy(
    update={"data": RunConfig.model_validate({"data": DATA | {"channels": CHANNELS}}).data}
)
BESIDE = "correlation of t1 and t2 beside the labels"
WITHIN = "correlation of t1 and t2 within labels"


def patient(seed: int) -> Scan:
    """The second contrast has the greys of the first the other way round, and noise of its own."""
    own = scan(seed)
    noise = np.random.default_rng(seed).normal(0.0, 0.03, own.image.shape)
    second = np.clip(-0.8 * own.image + noise, -1.0, 1.0).astype(np.float32)
    return replace(own, further=(second,))


class Ward(Cohort):
    def scans(self, index):
        return [patient(60 + index)]


class Plain(Cohort):
    """Patients whose scans have one channel, whatever was declared."""

    def scans(self, index):
        return [scan(60 + index)]


@pytest.fixture(scope="module")
def near() -> AnatomyModel:
    """Under as little noise as can be planned."""
    return fitted(Ward(), 50.0, cfg=BOTH)


def figure(model: AnatomyModel, name: str) -> float:
    return float(model.numbers.figures[list(model.cohort.renderer.names).index(name)])


def public_cohort() -> CohortAnatomy:
    """Of maps that say nothing."""
    public = public_maps(BOTH.data)
    maps = ReleasedMaps(dict.fromkeys(steps(public.layout), public))
    return anatomy_of_patients(BOTH.data, maps=maps)


def test_each_contrast_has_its_own_grey_values_on_one_anatomy(near):
    cohort = near.cohort
    renderer, pose = cohort.renderer, Pose(cohort.people[0], cohort.people[0])
    names, figures = list(renderer.names), renderer.public_mean.copy()
    wanted = {"t1: mean of Left-Core": 0.6, "t2: mean of Left-Core": -0.4}
    wanted |= {"t1: mean of Right-Core": -0.3, "t2: mean of Right-Core": 0.5}
    for name, grey in wanted.items():
        figures[names.index(name)] = grey
        figures[names.index(name.replace("mean", "deviation"))] = 0.05
    image, mask = renderer.draw(0, pose, cohort.grid(), figures, np.random.default_rng(0))
    assert image.shape == (2, *mask.shape)
    for name, grey in wanted.items():
        channel, label = image[int(name.startswith("t2"))], 2 + int("Right" in name)
        assert float(np.median(channel[mask == label])) == pytest.approx(grey, abs=0.4)
    np.testing.assert_allclose(
        renderer.greys(figures)[:, 1:3], [[0.6, -0.3], [-0.4, 0.5]], atol=1e-12
    )


def test_what_one_contrast_has_bright_the_other_may_have_dark(near):
    """Patients' second contrast is the first one the other way round."""
    beside = []
    for seed in range(6):
        image, mask = near.draw(np.random.default_rng(seed))
        beside.append(np.corrcoef(image[:, mask == 0])[0, 1])
    assert np.mean(beside) < -0.2
    greys = [
        figure(near, f"{channel}: mean of {side}-Core")
        for channel in CHANNELS
        for side in ("Left", "Right")
    ]
    assert greys[0] > greys[1]
    assert greys[2] < greys[3]


def test_what_goes_together_is_released(near):
    own = near.cohort.renderer.measure(patient(60), near.cohort.people[0])
    names = list(near.cohort.renderer.names)
    assert own[names.index(BESIDE)] < -0.8
    assert figure(near, BESIDE) < -0.4


@pytest.mark.parametrize("wanted", [-0.8, 0.0, 0.8])
def test_what_is_wanted_together_is_drawn_beside_and_within_labels(wanted):
    """Of maps that say nothing, so that no mean picture adds its own."""
    cohort = public_cohort()
    renderer, found = cohort.renderer, []
    figures = renderer.public_mean.copy()
    names = list(renderer.names)
    for name in (BESIDE, WITHIN):
        figures[names.index(name)] = wanted
    pose = Pose(cohort.people[0], cohort.people[0])
    for seed in range(6):
        images, mask = renderer.draw(0, pose, cohort.grid(), figures, np.random.default_rng(seed))
        again = Scan(images[0], cohort.grid().affine, mask, further=(images[1],))
        measured = renderer.measure(again, cohort.people[0])
        found.append([measured[names.index(name)] for name in (BESIDE, WITHIN)])
    np.testing.assert_allclose(np.mean(found, axis=0), wanted, atol=0.2)


def test_a_model_that_was_read_back_draws_the_same_voxels(near):
    cohort = anatomy_of_patients(BOTH.data)
    again = AnatomyModel.read(cohort, near.to_arrays())
    for one, other in zip(
        near.draw(np.random.default_rng(5)), again.draw(np.random.default_rng(5)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_another_number_of_channels_shows_nothing_and_stops_nothing():
    assert MapMechanism.of(FINE_MAPS, public_maps(BOTH.data)).vectors(scan(60)) is None
    cohort = public_cohort()
    assert np.isnan(cohort.renderer.measure(scan(60), cohort.people[0])).all()
    model = fitted(Plain(), 8.0, cfg=BOTH)
    image, _ = model.draw(np.random.default_rng(0))
    assert image.shape[0] == 2
    assert np.isfinite(image).all()


def test_the_clip_grows_with_the_channels_as_what_patients_differ_by_does():
    one, two = (MapMechanism.of(FINE_MAPS, public_maps(cfg.data)) for cfg in (CFG, BOTH))
    for single, both in zip(one.parts, two.parts, strict=True):
        is_picture = single.name in ("image", "square")
        assert both.dimension == (2 if is_picture else 1) * single.dimension
        assert both.clip == pytest.approx(single.clip * (np.sqrt(2.0) if is_picture else 1.0))
    vectors = two.vectors(patient(60))
    assert {name: len(own) for name, own in vectors.items()} == {
        part.name: part.dimension for part in two.parts
    }


def test_mean_pictures_leave_to_the_rest_what_they_do_not_say():
    """Pictures that go together by .5 of their variance need -.5 of the rest for a sum of 0."""
    varies = Variation(np.array([[1.0, 0.5], [0.5, 1.0]]), np.eye(2) + 1.0 - np.eye(2))
    assert varies.of_rest(((0, 1),), np.array([0.0]))[0] == pytest.approx(-0.5)
    assert varies.of_rest(((0, 1),), np.array([0.25]))[0] == pytest.approx(0.0)
    assert abs(varies.of_rest(((0, 1),), np.array([-1.0]))[0]) <= MOST_TOGETHER


def test_what_is_drawn_round_mean_pictures_counts_by_what_is_seen_within_a_label():
    """Half of the power is one value a label, which is in the mean of that label."""
    labels = np.repeat(np.array([1, 2], np.uint8), 100)
    apart = np.where(labels == 1, 1.0, -1.0)
    seen = np.tile([1.0, -1.0], 100)
    drawn = (np.stack([apart + seen, apart - seen]) * np.sqrt(0.5)).astype(np.float32)
    deviations = np.array([[0.2], [0.4]], np.float32) * np.ones((2, 200), np.float32)
    varies = Variation.of(np.zeros_like(deviations), deviations, drawn, labels > 0, labels)
    np.testing.assert_allclose(varies.rest, [[0.02, 0.04], [0.04, 0.08]], rtol=1e-5)
    np.testing.assert_allclose(varies.means, 0.0, atol=1e-12)


def test_mean_pictures_that_go_together_do_not_carry_what_is_drawn_with_them():
    """Mean pictures that are opposite where nothing is wanted to go together."""
    public = public_maps(BOTH.data)
    waves = public.pictures
    one = np.random.default_rng(1).normal(size=(2, len(waves))) / waves.weights**2
    one[:, 0] = 0.0
    image = np.stack([one[0], -0.7 * one[0] + np.sqrt(1.0 - 0.7**2) * one[1]])
    image *= 0.3 / np.sqrt((image**2).sum(axis=1, keepdims=True))
    square = public.squares.analyse((waves.synthesise(image) ** 2 + 0.3**2).astype(np.float32))
    maps = replace(public, image=image, square=square)
    cohort = anatomy_of_patients(
        BOTH.data, maps=ReleasedMaps(dict.fromkeys(steps(public.layout), maps))
    )
    renderer, found = cohort.renderer, []
    pose, names = Pose(cohort.people[0], cohort.people[0]), list(cohort.renderer.names)
    for seed in range(8):
        images, mask = renderer.draw(
            0, pose, cohort.grid(), renderer.public_mean, np.random.default_rng(seed)
        )
        again = Scan(images[0], cohort.grid().affine, mask, further=(images[1],))
        measured = renderer.measure(again, cohort.people[0])
        found.append([measured[names.index(name)] for name in (BESIDE, WITHIN)])
    np.testing.assert_allclose(np.mean(found, axis=0), 0.0, atol=0.16)


def test_any_number_of_workers_gives_the_same_bits():
    one, two = (fitted(Ward(), 8.0, workers=workers, cfg=BOTH) for workers in (1, 2))
    assert PATIENTS > 2
    for name, values in one.to_arrays().items():
        np.testing.assert_array_equal(values, two.to_arrays()[name])
