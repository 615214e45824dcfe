"""A cohort without public people is drawn from its own maps, under the plan's mechanisms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.parts import MEANS, SPREADS
from medvae.anatomy.patients import anatomy_of_patients, public_maps, refusal
from medvae.anatomy.templates import (
    COARSE_MAPS,
    FINE_MAPS,
    LAYOUT_MAPS,
    LIBRARY,
    PLACES_MAPS,
    SITES_MAPS,
    steps,
)
from medvae.config import DataConfig, RunConfig
from medvae.errors import UsageError
from medvae.privacy import NoiseSource, StageRequest, make_plan
from medvae.progress import SILENT
from medvae.train import anatomy as stage
from medvae.train.release import PlannedRelease
from tests.anatomy.cohorts import NAMES, scan

PATIENTS = 5
DATA = {"size": (24, 26, 16), "spacing": (6.0, 6.0, 9.0), "label_scheme": NAMES, "labels": 4}
CFG = RunConfig.model_validate(
    {
        "data": DATA,
        "anatomy": {"share": 1.0, "library": LIBRARY},
        **{section: {"share": 0.0} for section in ("atlas", "finetune", "prior")},
    }
)


class Cohort:
    """Patients; the last one has a volume that shows nothing, too."""

    def __len__(self):
        return PATIENTS

    def scans(self, index):
        own = scan(60 + index)
        empty = type(own)(own.image, own.affine, None)
        return [own, empty] if index == PATIENTS - 1 else [own]


class Nobody(Cohort):
    def scans(self, index):
        return []


def fitted(patients, epsilon: float, workers: int = 1, cfg: RunConfig = CFG) -> AnatomyModel:
    wanted = [
        StageRequest(*one)
        for name, share in stage.mechanisms(cfg)
        for one in stage.requests(name, share, cfg, PATIENTS)
    ]
    plan = make_plan(wanted, patients=PATIENTS, epsilon=epsilon, delta=1e-5)
    release = PlannedRelease(plan, NoiseSource(b"k" * 32, "test"))
    cohort = anatomy_of_patients(cfg.data)
    return stage.fit_anatomy(cohort, patients, release, workers=workers, progress=SILENT)


@pytest.fixture(scope="module")
def near() -> AnatomyModel:
    """Under as little noise as can be planned."""
    return fitted(Cohort(), 50.0)


def test_the_mechanisms_are_those_of_the_plan(near):
    assert set(near.released) == {*steps(public_maps(CFG.data).layout), MEANS, SPREADS}
    assert sum(share for _, share in stage.mechanisms(CFG)) == pytest.approx(1.0)
    assert [name for name, _ in stage.mechanisms(CFG)] == [*near.released]


def test_in_a_wide_field_of_view_labels_are_looked_for_first():
    # An edge of 160 mm is not wide yet.
    for side, wide in ((160.0, False), (160.1, True)):
        data = DATA | {"size": (10, 10, 10), "spacing": (side / 10,) * 3}
        cfg = CFG.model_copy(update={"data": DataConfig.model_validate(data)})
        names = [name for name, _ in stage.mechanisms(cfg)]
        assert (names[:3] == [LAYOUT_MAPS, PLACES_MAPS, SITES_MAPS]) == wide
        assert names[-4:] == [COARSE_MAPS, FINE_MAPS, MEANS, SPREADS]
        assert sum(share for _, share in stage.mechanisms(cfg)) == pytest.approx(1.0)


def test_with_little_noise_labels_are_as_large_as_the_patients_are(near):
    parts = np.mean(
        [[(scan(60 + i).mask == label).mean() for label in range(1, 5)] for i in range(PATIENTS)],
        axis=0,
    )
    # Volumes of a scan, and of the box, which is as large.
    scanned = np.prod(scan(60).mask.shape) * np.prod(scan(60).spacing)
    wanted = parts * scanned / np.prod(near.cohort.box.size)
    found = np.exp(near.cohort.maps.fine.volumes)
    np.testing.assert_allclose(np.log(found), np.log(wanted), atol=0.7)
    assert found[0] > found[1]
    assert found[1] > found[3]


def test_any_number_of_workers_gives_the_same_bits(near):
    again = fitted(Cohort(), 50.0, workers=3).to_arrays()
    one = near.to_arrays()
    assert set(one) == set(again)
    for name, values in one.items():
        np.testing.assert_array_equal(values, again[name])


@pytest.mark.parametrize(("epsilon", "most_mm"), [(8.0, 6.0), (1.0, 2.0)])
def test_patients_who_show_nothing_leave_noise_alone_and_the_maps_public(epsilon, most_mm):
    model = fitted(Nobody(), epsilon)
    for vector in model.released.values():
        assert vector.any()
    # The more noise, the less of it is taken for a shape: no chance power of its own counts.
    maps, public = model.cohort.maps.fine, public_maps(CFG.data)
    change_mm = (maps.distances - public.distances) * maps.layout.units[:, None]
    assert np.sqrt((change_mm**2).sum(axis=1)).max() < most_mm
    image, mask = model.draw(np.random.default_rng(0))
    assert np.isfinite(image).all()
    assert mask.max() <= 4


def test_a_model_that_was_read_back_draws_the_same_voxels(near):
    again = AnatomyModel.read(anatomy_of_patients(CFG.data), near.to_arrays())
    one, other = (model.draw_volume(np.random.default_rng(3)) for model in (near, again))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
    assert one[0].shape == CFG.data.size
    assert set(np.unique(one[1])) - {0}
    assert np.abs(one[0]).max() <= 1.0


def test_draws_differ_and_a_label_has_the_grey_values_that_are_drawn_for_it(near):
    drawn = [near.draw(np.random.default_rng(seed)) for seed in range(2)]
    assert np.abs(drawn[0][0] - drawn[1][0]).mean() > 0.05
    names = list(near.cohort.renderer.names)
    body = names.index("mean of Body")
    greys = near.numbers.figures.copy()
    greys[body] = 0.6
    bright = replace(near.numbers, figures=greys, figures_std=np.zeros_like(greys))
    image, mask = replace(near, numbers=bright).draw(np.random.default_rng(0))
    assert np.median(image[mask == 1]) == pytest.approx(0.6, abs=0.2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": (24, 26, 1)}, "two dimensions"),
        ({"spacing": None}, "data.spacing"),
        ({"channels": ("t1", "t2"), "label_scheme": None, "labels": 0}, "no labels"),
        ({"channels": ("frame01", "frame02")}, "no contrasts of MRI"),
        ({"channels": ("ct", "pet"), "modalities": ("ct", "pet"), "modality": "ct"}, "no contra"),
    ],
)
def test_a_cohort_that_cannot_have_maps_is_refused_in_a_sentence(change, words):
    data = DataConfig.model_validate(DATA | change)
    assert words in str(refusal(data))
    with pytest.raises(UsageError, match=words):
        anatomy_of_patients(data)
