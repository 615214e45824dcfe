"""Drawing of mean maps: each draw has the grey values that are wanted of it."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.drawing.layers import QUANTILES, Layers
from medvae.anatomy.drawing.pose import Pose
from medvae.anatomy.drawing.templates import TemplateRenderer
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.patients import anatomy_of_patients, public_maps
from medvae.anatomy.templates import ReleasedMaps, steps
from medvae.config import DataConfig

DATA = DataConfig.model_validate(
    {
        "modality": "mri",
        "size": (24, 24, 16),
        "spacing": (2.0, 2.0, 3.0),
        "labels": 2,
        "label_scheme": {"1": "shell", "2": "core"},
    }
)


@pytest.fixture(scope="module")
def cohort() -> CohortAnatomy:
    public = public_maps(DATA)
    maps = ReleasedMaps(dict.fromkeys(steps(public.layout), public))
    return anatomy_of_patients(DATA, maps=maps)


def medians(cohort: CohortAnatomy, renderer: TemplateRenderer) -> np.ndarray:
    """[8] median of what is not labelled in eight draws of the same figures."""
    pose, figures = Pose(cohort.people[0], cohort.people[0]), renderer.public_mean
    draws = (
        renderer.draw(0, pose, cohort.grid(), figures, np.random.default_rng(seed))
        for seed in range(8)
    )
    return np.array([np.median(image[mask == 0]) for image, mask in draws])


def test_a_draw_has_the_grey_values_that_are_wanted_whatever_its_cells_are(cohort):
    renderer = cohort.renderer
    wanted = Layers.of(renderer.public_mean, 2).quantiles[QUANTILES.index(0.5)]
    drawn = medians(cohort, renderer)
    assert np.abs(drawn - wanted).max() < 0.05
    # Earlier versions let cells that are brighter as a whole stay so.
    assert medians(cohort, renderer.with_one_reference()).std() > 3.0 * drawn.std()


def test_a_model_of_an_earlier_version_draws_as_it_did(cohort):
    arrays = AnatomyModel(cohort, cohort.numbers).to_arrays()
    assert arrays["measures_draws"] == 1.0
    del arrays["measures_draws"]
    older = AnatomyModel.read(cohort, arrays)
    assert older.to_arrays()["measures_draws"] == 0.0
    again = AnatomyModel.read(cohort, older.to_arrays())
    first, second = (model.draw(np.random.default_rng(4))[0] for model in (older, again))
    np.testing.assert_array_equal(first, second)
    today = AnatomyModel(cohort, cohort.numbers).draw(np.random.default_rng(4))[0]
    assert not np.array_equal(today, first)
