"""How large the cohort's labels are: measured beside the anatomy, and drawn as measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.collection import Library
from medvae.anatomy.drawing import OutputGrid, Pose, volumes
from medvae.anatomy.drawing.contrasts import greys
from medvae.anatomy.drawing.expected import ALIKE
from medvae.anatomy.drawing.shading import EARLIER_STD, EARLIER_WITHIN_STD, STD
from medvae.anatomy.drawing.tissues import textbook
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts import EARLIER_SHAPE_SHARE, SHAPE_SHARE
from medvae.api import add_anatomy
from medvae.config import DataConfig
from medvae.errors import IntegrityError
from tests.anatomy.cohorts import SCHEME as BODIES
from tests.anatomy.test_classes import (
    COHORT,
    aligned,
    drawn,
    figure,
    group,
    people,
    renderer,
    scan,
)

__all__ = ["aligned", "group", "people", "renderer"]
VENTRICLES, WHITE = (f"volume of label {number}" for number in COHORT)


def test_ratios_are_logarithms_within_reach_and_small_labels_tell_nothing():
    have = np.array([2000.0, 1000.0, 299.0, 1000.0, 1e6])
    expected = np.array([1000.0, 2000.0, 1000.0, 299.0, 1000.0])
    found = volumes.log_ratios(have, expected)
    np.testing.assert_allclose(found[:2], [np.log(2.0), -np.log(2.0)])
    assert np.isnan(found[2:4]).all()
    assert found[4] == volumes.MOST


@pytest.mark.parametrize("wanted", [[260.0, 120.0], [150.0, 240.0], [190.0, 170.0]])
def test_biases_bring_every_label_to_its_size(wanted):
    pure = np.array([500.0, 100.0, 80.0])
    # Memberships near borders as they are: between two labels each, of all values.
    part = torch.linspace(0.001, 0.999, 100)
    none = torch.zeros(100)
    near = torch.cat(
        [torch.stack(rows, 1) for rows in ([part, 1 - part, none], [none, part, 1 - part])]
        + [torch.stack([part, none, 1 - part], 1)]
    )
    factors = torch.from_numpy(np.exp(volumes.biases(pure, near, np.array(wanted)))).float()
    assert factors[0] == 1.0
    found = volumes.biased(near, factors)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1.0, atol=1e-5)
    np.testing.assert_allclose(pure[1:] + found.sum(dim=0).numpy()[1:], wanted, rtol=0.02)


def test_a_label_that_nothing_is_said_of_stays_as_it_is():
    pure, near = np.array([5.0, 0.0, 3.0]), torch.tensor([[0.5, 0.0, 0.5]])
    for wanted in ([0.0, np.nan], [7.0, -1.0]):
        assert not volumes.biases(pure, near, np.array(wanted)).any()


def test_what_no_border_can_give_is_given_as_far_as_it_goes():
    pure, near = np.array([50.0, 10.0]), torch.tensor([[0.5, 0.5]] * 10)
    found = volumes.biases(pure, near, np.array([1e6]))
    assert np.isfinite(found).all()
    assert volumes.biased(near, torch.from_numpy(np.exp(found)).float())[0, 1] > 0.99


def test_a_protocol_that_draws_labels_larger_is_measured(renderer, group):
    patient = scan(1.0)
    plain = renderer.measure(patient, group.alignments[1])
    # The same person by another protocol: ventricles reach two voxels further down.
    wider = patient.mask.copy()
    ventricle = patient.mask == 1
    for step in (1, 2):
        wider[np.roll(ventricle, -step, axis=2) & (patient.mask == 2)] = 1
    told = renderer.measure(replace(patient, mask=wider), group.alignments[1])
    for name, number in ((VENTRICLES, 1), (WHITE, 2)):
        assert abs(figure(renderer, plain, name)) < 0.1
        grown = np.log((wider == number).sum() / (patient.mask == number).sum())
        change = figure(renderer, told, name) - figure(renderer, plain, name)
        assert change == pytest.approx(grown, abs=0.02)


def test_without_a_mask_no_volume_is_told(renderer, group):
    told = renderer.measure(scan(1.0, masked=False), group.alignments[1])
    assert np.isnan(figure(renderer, told, VENTRICLES))


@pytest.mark.parametrize("ratio", [-0.25, 0.25])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.5, 1.5, 5.0)])
def test_labels_are_drawn_as_large_as_wanted_and_the_picture_with_them(
    renderer, group, ratio, spacing
):
    looks = renderer.public_mean.copy()
    names = list(renderer.names)
    before, mask = drawn(renderer, group, spacing, figures=looks)
    looks[names.index(VENTRICLES)] = ratio
    image, changed = drawn(renderer, group, spacing, figures=looks)
    grown = np.log((changed == 1).sum() / (mask == 1).sum())
    assert grown == pytest.approx(ratio, abs=0.08)
    # What has changed hands has the grey value of whom it belongs to now.
    moved = (changed == 1) & (mask == 2) if ratio > 0 else (changed == 2) & (mask == 1)
    assert moved.any()
    assert (image[moved].mean() < before[moved].mean()) == (ratio > 0)


def test_what_is_drawn_is_measured_again(renderer, group):
    looks = renderer.public_mean.copy()
    looks[list(renderer.names).index(VENTRICLES)] = 0.2
    image, mask = drawn(renderer, group, (2.0, 2.0, 2.0), figures=looks)
    grid = OutputGrid.of((75, 75, 75), (2.0, 2.0, 2.0))
    again = renderer.measure(
        replace(scan(1.0), image=image, affine=grid.affine, mask=mask), group.alignments[1]
    )
    assert figure(renderer, again, VENTRICLES) == pytest.approx(0.2, abs=0.08)


def test_given_labels_have_the_size_that_they_have(renderer, group):
    looks = renderer.public_mean.copy()
    _, plain = drawn(renderer, group, (2.0, 2.0, 2.0), figures=renderer.of_given_labels(looks))
    looks[list(renderer.names).index(VENTRICLES)] = 0.5
    given = renderer.of_given_labels(looks)
    np.testing.assert_array_equal(given[: -len(COHORT)], looks[: -len(COHORT)])
    _, mask = drawn(renderer, group, (2.0, 2.0, 2.0), figures=given)
    np.testing.assert_array_equal(mask, plain)


def test_older_numbers_draw_people_as_large_as_they_are(renderer, group):
    """A model from before volumes were measured draws what it drew."""
    older = renderer.without_volumes()
    assert list(older.names) == list(renderer.names)[: -len(COHORT)]
    assert not any(name.startswith("volume") for name in older.names)
    patient = scan(1.0)
    assert older.measure(patient, group.alignments[1]).shape == older.public_mean.shape
    grid = OutputGrid.of((40, 40, 40), (3.0, 3.0, 3.0))
    pose = Pose(group.alignments[1], group.alignments[1])
    _, mask = older.draw(1, pose, grid, older.public_mean, np.random.default_rng(0))
    known = (patient.mask == 1).sum() * 8.0
    assert (mask == 1).sum() * 27.0 == pytest.approx(known, rel=0.1)


@pytest.fixture(scope="module")
def library(tmp_path_factory, label_maps) -> Library:
    vault = tmp_path_factory.mktemp("volumes") / "vault"
    add_anatomy(
        label_maps, "bodies", licence="CC0", source="made up", label_scheme=BODIES, vault=vault
    )
    return Library(vault)


def opened(library: Library, **options) -> CohortAnatomy:
    data = DataConfig.model_validate(
        {
            "modality": "mri",
            "size": (32, 32, 24),
            "spacing": (6.0, 6.0, 9.0),
            "label_scheme": {"1": "core"},
            "labels": 1,
        }
    )
    declared = {"core": ["Left-Core", "Right-Core"]}
    return CohortAnatomy.open(library, library.entry("bodies"), data, declared, **options)


@pytest.fixture(scope="module")
def cohort(library) -> CohortAnatomy:
    return opened(library)


def test_a_model_of_an_earlier_version_opens_and_draws(cohort):
    """Its figures end before the volumes; whoever reads it measures and compares the same ones."""
    older = len(cohort.numbers.figures) - 1
    arrays = AnatomyModel(cohort, cohort.numbers).to_arrays()
    for name in ("figures", "figures_std", "figures_within"):
        arrays[name] = arrays[name][:older]
    today = {"shape_share", "shading_std", "knows_contrast", "greys_apart"}
    for name in today | {"figures_error", "figures_noise"}:
        del arrays[name]
    model = AnatomyModel.read(cohort, arrays)
    # Audits divide what it released by the shares that it was released with.
    assert model.shape_share == model.to_arrays()["shape_share"] == EARLIER_SHAPE_SHARE
    assert len(model.cohort.numbers.figures) == len(model.cohort.renderer.names) == older
    # And by the units that its patients were measured in.
    lobes = np.array([name.startswith("shading") for name in model.cohort.renderer.names])
    assert (model.cohort.numbers.figures_std[lobes] == EARLIER_STD).all()
    assert (model.cohort.numbers.figures_within[lobes] == EARLIER_WITHIN_STD).all()
    assert model.to_arrays()["shading_std"] == EARLIER_STD
    # Nor did it know of contrasts, by which grey values go together.
    older_renderer = model.cohort.renderer
    known, _ = textbook(older_renderer.components.names)
    assert older_renderer.related is None
    assert model.greys_apart == 0
    assert not len(model.cohort.numbers.figures_error)
    np.testing.assert_array_equal(
        older_renderer.correlation_of(model.numbers), older_renderer.public_correlation
    )
    assert model.to_arrays()["knows_contrast"] == 0.0
    for figures in (older_renderer.public_mean, model.cohort.numbers.figures):
        np.testing.assert_array_equal(figures[: len(known)], known)
    np.testing.assert_array_equal(np.unique(older_renderer.public_correlation), [0.0, ALIKE, 1.0])
    image, mask = model.draw(np.random.default_rng(0))
    assert np.isfinite(image).all()
    assert (mask == 1).any()
    again = AnatomyModel.read(cohort, AnatomyModel(cohort, cohort.numbers).to_arrays())
    assert len(again.cohort.renderer.names) == older + 1
    assert again.shape_share == SHAPE_SHARE
    assert again.cohort.renderer.shading_std == STD
    assert again.to_arrays()["knows_contrast"] == 1.0
    assert again.cohort.renderer.related is not None
    with pytest.raises(IntegrityError, match="no version"):
        AnatomyModel.read(cohort, again.to_arrays() | {"shading_std": np.array(0.2)})


def test_the_contrast_says_what_greys_to_expect(library, cohort):
    of_t2 = opened(library, contrasts=["t2"])
    names = cohort.renderer.components.names
    for made, contrast in ((cohort, "t1"), (of_t2, "t2")):
        expected = greys(names, contrast).mean
        np.testing.assert_array_equal(made.numbers.figures[: len(names)], expected)
        np.testing.assert_array_equal(made.renderer.tissue_means, expected)
    assert (of_t2.numbers.figures != cohort.numbers.figures).any()


def test_a_file_keeps_that_nothing_was_released(cohort):
    """In finite numbers, which a model file holds alone."""
    numbers = cohort.numbers
    assert np.isinf(numbers.figures_noise).all()
    arrays = numbers.to_arrays()
    assert all(np.isfinite(values).all() for values in arrays.values())
    again = Numbers.from_arrays(arrays)
    np.testing.assert_array_equal(again.figures_noise, numbers.figures_noise)
    known = numbers.with_error(numbers.figures_error, 0.25)
    again = Numbers.from_arrays(known.to_arrays())
    np.testing.assert_array_equal(again.figures_noise, known.figures_noise)


def test_numbers_of_another_anatomy_are_refused(cohort):
    arrays = AnatomyModel(cohort, cohort.numbers).to_arrays()
    for name in ("figures", "figures_std", "figures_within"):
        arrays[name] = arrays[name][:3]
    with pytest.raises(IntegrityError, match="not those of its anatomy"):
        AnatomyModel.read(cohort, arrays)
