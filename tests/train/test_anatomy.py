"""The private stage of the anatomy model: same numbers for any workers, public under much noise."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.collection import Library
from medvae.anatomy.continued import Continued
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.parts import (
    BY_SITE,
    CLASSES,
    MEANS,
    SPREADS,
    Measured,
    mean_parts,
    site_parts,
)
from medvae.config import DataConfig, RunConfig
from medvae.privacy import NoiseSource, StageRequest, joint, make_plan
from medvae.progress import SILENT
from medvae.train import anatomy as stage
from medvae.train.release import PlannedRelease
from tests.anatomy.cohorts import NAMES, add_people, scan

PATIENTS = 6
CFG = RunConfig.model_validate(
    {
        "data": {"label_scheme": NAMES, "labels": 4},
        "anatomy": {"share": 1.0},
        **{section: {"share": 0.0} for section in ("atlas", "finetune", "prior")},
    }
)


class Cohort:
    """Patients with a darker picture; the last one has a volume that shows nothing, too."""

    def __init__(self, patients=PATIENTS):
        self.patients = patients

    def __len__(self):
        return self.patients

    def scans(self, index):
        own = scan(40 + index, contrast=0.6)
        empty = type(own)(own.image, own.affine, None)
        return [own, empty] if index == self.patients - 1 else [own]


class Once:
    """A cohort's anatomy that measures each patient once for all tests."""

    def __init__(self, cohort):
        self._cohort, self._found = cohort, {}

    def __getattr__(self, name):
        return getattr(self._cohort, name)

    def measure(self, own):
        key = (own.image.tobytes(), own.mask is None)
        if key not in self._found:
            self._found[key] = self._cohort.measure(own)
        return self._found[key]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    vault = tmp_path_factory.mktemp("stage")
    add_people(vault / "vault", vault / "files")
    data = DataConfig(label_scheme=NAMES, labels=4)
    library = Library(vault / "vault")
    return Once(CohortAnatomy.open(library, library.entry("people"), data))


def released(
    epsilon: float, key: bytes = b"k" * 32, patients: int = PATIENTS, cfg: RunConfig = CFG
) -> PlannedRelease:
    wanted = [
        StageRequest(*one)
        for name, share in stage.mechanisms(cfg)
        for one in stage.requests(name, share, cfg, patients)
    ]
    plan = make_plan(wanted, patients=patients, epsilon=epsilon, delta=1e-5)
    return PlannedRelease(plan, NoiseSource(key, "test"))


def fitted(cohort, epsilon):
    return stage.fit_anatomy(cohort, Cohort(), released(epsilon), progress=SILENT)


def test_any_number_of_workers_gives_the_same_bits(cohort):
    one, two = (
        stage.fit_anatomy(
            cohort._cohort, Cohort(3), released(8.0, patients=3), workers=workers, progress=SILENT
        ).to_arrays()
        for workers in (1, 3)
    )
    assert set(one) == set(two)
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_the_mechanisms_are_those_of_the_plan(cohort):
    model = fitted(cohort, 8.0)
    assert set(model.released) == {MEANS, SPREADS}
    assert sum(share for _, share in stage.mechanisms(CFG)) == pytest.approx(1.0)


def test_little_noise_finds_the_patients_greys_and_much_noise_leaves_public_ones(cohort):
    names = list(cohort.renderer.names)
    core = names.index("mean of Right-Core")
    public = cohort.numbers.figures[core]
    truth = np.mean([cohort.measure(scan(40 + i, 0.6)).figures[core] for i in range(PATIENTS)])
    assert truth > public + 0.1
    near = fitted(cohort, 50.0).numbers
    # Sigma is a hundred times what people differ by: nearly nothing of it is believed.
    far = fitted(cohort, 0.05).numbers
    assert abs(near.figures[core] - truth) < 0.5 * (truth - public)
    assert np.abs(far.shape).max() < 0.1
    np.testing.assert_allclose(far.place, cohort.numbers.place, atol=0.5)
    np.testing.assert_allclose(far.figures, cohort.numbers.figures, atol=0.1)


def test_a_patient_without_a_readable_volume_adds_nothing(cohort):
    class Nobody(Cohort):
        def scans(self, index):
            return []

    model = stage.fit_anatomy(cohort, Nobody(), released(8.0), progress=SILENT)
    for vector in model.released.values():
        # Noise alone.
        assert vector.any()
    assert np.isfinite(model.numbers.figures).all()


def test_the_numbers_are_stored_and_read_back(cohort):
    model = fitted(cohort, 8.0)
    again = type(model).read(cohort, model.to_arrays())
    np.testing.assert_array_equal(again.numbers.shape, model.numbers.shape)
    np.testing.assert_array_equal(again.released[MEANS], model.released[MEANS])


def test_patches_have_the_networks_size(cohort):
    model = fitted(cohort, 8.0)
    for size in ((8, 16, 8), (48, 8, 8)):
        data = CFG.data.model_copy(update={"size": size})
        atlas = CFG.atlas.model_copy(update={"samples": 2})
        found = stage.patches(model, CFG.model_copy(update={"data": data, "atlas": atlas}))
        assert [patch.shape for patch in found] == [size, size]
        assert np.abs(found[0]).max() <= 1.0


def test_patches_of_a_large_grid_are_windows_of_few_volumes(cohort, monkeypatch):
    model = fitted(cohort, 8.0)
    monkeypatch.setattr(stage, "LARGEST_WINDOW", 8)
    drawn = []
    monkeypatch.setattr(
        type(model),
        "draw_volume",
        lambda self, random, **of: drawn.append(1) or (np.zeros((16, 16, 8), "f4"), None, None),
    )
    data = CFG.data.model_copy(update={"size": (16, 16, 8)})
    atlas = CFG.atlas.model_copy(update={"samples": 9})
    found = stage.patches(model, CFG.model_copy(update={"data": data, "atlas": atlas}))
    assert [patch.shape for patch in found] == [(8, 8, 8)] * 9
    assert len(drawn) == 3


SITES = CFG.model_copy(update={"data": CFG.data.model_copy(update={"sites": ("a", "b")})})


def test_shares_of_the_budget_sum_to_1_with_sites_and_classes():
    both = SITES.model_copy(update={"data": SITES.data.model_copy(update={"classes": 2})})
    shares = dict(stage.mechanisms(both))
    assert list(shares) == [MEANS, SPREADS, CLASSES, BY_SITE]
    assert sum(shares.values()) == pytest.approx(1.0)
    # Little of the noise is asked for twice: the mean by site is known to be near that of all.
    assert len(stage.requests(BY_SITE, 0.2, SITES, 100)) == 1


@pytest.mark.parametrize("site", [0, 1, 7, -1, None])
@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, np.nan, 5.0])
def test_no_patient_moves_the_sums_of_sites_by_more_than_the_clip(cohort, site, value):
    public = cohort.numbers
    usual = [
        [Measured(public.place, public.shape, public.figures + 0.1 * number, None, number % 2)]
        for number in range(PATIENTS - 1)
    ]
    figures = np.full(len(public.figures), value)
    hostile = [Measured(public.place, public.shape, figures, 3, site)]
    parts = site_parts(public, 2)
    joined = joint.joined(parts)

    def sums(last):
        model = stage.AnatomyModel(cohort, public, {})
        release = released(8.0, cfg=SITES)
        found = stage._release(BY_SITE, parts, [*usual, last], release, model)
        return found.released[BY_SITE] * PATIENTS

    moved = np.linalg.norm(sums(hostile) - sums([]))
    assert moved <= joined.clip * (1.0 + 1e-9)
    if value == 5.0 and site in (0, 1):
        assert moved > 0.1 * joined.clip


def test_vectors_of_new_patients_are_measured_around_the_earlier_model(cohort):
    """And read back so, for an audit: around public people they would be others."""
    continued = Continued(fitted(cohort, 50.0).numbers, 0.5, cohort.bands)
    release = released(50.0, key=b"c" * 32)
    model = stage.fit_anatomy(cohort, Cohort(), release, progress=SILENT, earlier=continued)
    again = AnatomyModel.read(cohort, model.to_arrays())
    np.testing.assert_array_equal(again.centre.figures, continued.numbers.figures)
    assert noise_of(model, again.centre, cohort, release) == pytest.approx(1.0, abs=0.3)
    assert noise_of(model, cohort.numbers, cohort, release) > 1.5


def noise_of(model, centre, cohort, release):
    """What the released means differ by from vectors round `centre`, relative to the noise."""
    rest = sum(part.dimension for part in mean_parts(centre, cohort.bands, None))
    noisy = model.released[MEANS]
    parts = mean_parts(centre, cohort.bands, (len(noisy) - rest) // 3)
    joined, clipped = joint.joined(parts), []
    for index in range(PATIENTS):
        found = [cohort.measure(one) for one in Cohort().scans(index)]
        shown = [one for one in found if one is not None]
        vector = stage._vector(parts, joined, shown, centre)
        clipped.append(vector * min(1.0, joined.clip / np.linalg.norm(vector)))
    sigma = release.sigma(MEANS, joined.clip)
    return np.linalg.norm(noisy - np.mean(clipped, axis=0)) / (sigma * np.sqrt(len(noisy)))
