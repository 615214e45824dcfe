"""Automatic tissues: what a public rule finds in scans without masks, and what is drawn of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.patients import anatomy_of_patients, is_default, public_maps, refusal
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates import (
    AUTOMATIC_DIGEST,
    LIBRARY,
    AutomaticTissues,
    MapMechanism,
    steps,
)
from medvae.anatomy.templates.automatic import BINS, otsu_levels
from medvae.anatomy.templates.measure import compared
from medvae.config import DataConfig, RunConfig
from medvae.errors import UsageError
from medvae.grid import normalise
from medvae.privacy import NoiseSource, StageRequest, make_plan
from medvae.progress import SILENT
from medvae.train import anatomy as stage
from medvae.train.release import PlannedRelease

SHAPE, SPACING = (40, 34, 14), (9.0, 9.0, 14.0)
CT = DataConfig.model_validate(
    {"modality": "ct", "size": SHAPE, "spacing": SPACING, "label_scheme": {}, "labels": 0}
)
MRI = DataConfig.model_validate(
    {"modality": "mri", "size": (24, 24, 16), "spacing": (4.0, 4.0, 6.0)}
    | {"label_scheme": {}, "labels": 0}
)
WIDE = MRI.model_copy(update={"spacing": (10.0, 10.0, 12.0)})
PATIENTS = 4


def chest(seed: int, *, bone: bool = True) -> tuple[Scan, dict[str, np.ndarray]]:
    """A body of fat and muscle with two lungs and a spine; and where they are."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij")
    left, front = random.uniform(-1, 1), random.uniform(-1, 1)
    wide = random.uniform(0.95, 1.05)
    x, y = x - 20 + left, y - 17 + front
    body = (x / 15.0) ** 2 + (y / 11.0) ** 2 < wide
    muscle = (x / 13.0) ** 2 + (y / 9.0) ** 2 < wide
    lungs = (((np.abs(x) - 7) / 3.6) ** 2 + (y / 5.5) ** 2 < wide) & (z > 4)
    spine = (x / 2.6) ** 2 + ((y + 5) / 2.6) ** 2 < 1
    voxels = np.full(SHAPE, -1000.0)
    voxels[body], voxels[muscle], voxels[lungs] = -100.0, 50.0, -850.0
    if bone:
        voxels[spine] = 600.0
    voxels += random.normal(0.0, 30.0, SHAPE)
    # A table below the back, and a speck of contrast agent.
    voxels[5:35, :3, :] = 100.0
    voxels[30, 17, 3] = 250.0
    image, _ = normalise(voxels, CT)
    truth = {"body": body, "muscle": muscle & ~lungs & ~spine, "lungs": lungs, "spine": spine}
    return Scan(image, np.diag([*SPACING, 1.0])), truth


def ball(seed: int) -> tuple[Scan, np.ndarray, np.ndarray]:
    """A bright core in a grey ball on a dark ground, of any unit; shell and core."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) for n in MRI.size], indexing="ij")
    away = ((x - 12) / 8.0) ** 2 + ((y - 12) / 8.0) ** 2 + ((z - 8) / 5.5) ** 2
    core = ((x - 9) / 3.5) ** 2 + ((y - 12) / 3.5) ** 2 + ((z - 8) / 2.6) ** 2 < 1
    shell = (away < random.uniform(0.9, 1.1)) & ~core
    voxels = 100.0 + 300.0 * shell + 800.0 * core + random.normal(0.0, 20.0, MRI.size)
    image, _ = normalise(voxels * random.uniform(0.1, 10.0), MRI)
    return Scan(image, np.diag([*(MRI.spacing or ()), 1.0])), shell, core


class Cohort:
    """Scans without masks, one a patient; the last has a volume that shows nothing, too."""

    def __init__(self, scans: list[Scan]) -> None:
        self.own = scans

    def __len__(self) -> int:
        return len(self.own)

    def scans(self, index: int) -> list[Scan]:
        own = self.own[index]
        flat = replace(own, image=np.full_like(own.image, -1.0))
        return [own, flat] if index == len(self) - 1 else [own]


class Noiseless(PlannedRelease):
    """Means of clipped vectors as they are: noise hides nothing of few patients."""

    def __call__(
        self, name: str, vectors: Iterable[Array], *, clip: float, dimension: int
    ) -> Array:
        total = np.zeros(dimension)
        for vector in vectors:
            total += vector * min(1.0, clip / max(float(np.linalg.norm(vector)), 1e-12))
        return total / self.plan.patients

    def sigma(self, name: str, clip: float) -> float:
        return 0.0


def fitted(
    data: DataConfig,
    patients: Cohort,
    workers: int = 1,
    kind: type[PlannedRelease] = PlannedRelease,
) -> AnatomyModel:
    shares = {section: {"share": 0.0} for section in ("atlas", "finetune", "prior")}
    anatomy = {"share": 1.0, "library": LIBRARY}
    cfg = RunConfig.model_validate({"data": data.model_dump(), "anatomy": anatomy} | shares)
    wanted = [
        StageRequest(*one)
        for name, share in stage.mechanisms(cfg)
        for one in stage.requests(name, share, cfg, len(patients))
    ]
    plan = make_plan(wanted, patients=len(patients), epsilon=50.0, delta=1e-5)
    release = kind(plan, NoiseSource(b"k" * 32, "test"))
    return stage.fit_anatomy(
        anatomy_of_patients(data), patients, release, workers=workers, progress=SILENT
    )


@pytest.fixture(scope="module")
def chests() -> AnatomyModel:
    """Of four bodies; one of them without any bone."""
    scans = [chest(seed, bone=seed > 0)[0] for seed in range(PATIENTS)]
    return fitted(CT, Cohort(scans), kind=Noiseless)


@pytest.fixture(scope="module")
def balls() -> AnatomyModel:
    return fitted(MRI, Cohort([ball(seed)[0] for seed in range(PATIENTS)]), kind=Noiseless)


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (mask & other).sum() / (mask.sum() + other.sum()))


def labels(rule: AutomaticTissues, scan: Scan) -> np.ndarray:
    mask = rule.labelled(scan).mask
    assert mask is not None
    return mask


def test_levels_are_those_of_the_largest_variance_between_classes() -> None:
    random = np.random.default_rng(1)
    image = np.clip(
        np.concatenate([random.normal(m, 0.15, 400) for m in (-0.6, -0.1, 0.5)]), -1.0, 1.0
    ).astype(np.float32)
    edges = np.linspace(-1.0, 1.0, BINS + 1)
    counts, _ = np.histogram(image, edges)
    middles = (edges[:-1] + edges[1:]) / 2.0

    def between(cuts: Sequence[int]) -> float:
        parts = zip((0, *cuts), (*cuts, BINS), strict=True)
        sums = [(counts[a:b].sum(), (counts * middles)[a:b].sum()) for a, b in parts]
        return float(sum(moment**2 / mass for mass, moment in sums if mass))

    best = max(itertools.combinations(range(1, BINS), 2), key=between)
    found = otsu_levels(image, 3)
    cuts = [round((float(level) + 1.0) / 2.0 * BINS) for level in found]
    assert between(cuts) == pytest.approx(between(best))


def test_an_image_with_fewer_grey_values_than_classes_has_no_levels() -> None:
    assert not len(otsu_levels(np.zeros((4, 4, 4), np.float32), 2))


def test_hounsfield_units_say_what_soft_tissue_and_bone_are() -> None:
    scan, truth = chest(1)
    rule = AutomaticTissues.of(CT)
    mask = labels(rule, scan)
    assert rule.names == ("soft tissue", "bone")
    assert dice(mask == 1, truth["muscle"]) > 0.9
    assert dice(mask == 2, truth["spine"]) > 0.9
    # A speck is no bone, and nothing outside of the body is labelled.
    assert mask[30, 17, 3] != 2
    assert not mask[~truth["body"]].any()


@pytest.mark.parametrize(
    ("window", "names"),
    [
        ((-1000.0, 1000.0), ("soft tissue", "bone")),
        ((-160.0, 240.0), ("soft tissue", "bone")),
        ((-160.0, 180.0), ("soft tissue",)),
        ((-1000.0, -200.0), ()),
    ],
)
def test_what_the_window_does_not_show_is_no_label(
    window: tuple[float, float], names: tuple[str, ...]
) -> None:
    data = CT.model_copy(update={"window": window})
    assert AutomaticTissues.of(data).names == names
    why = refusal(data)
    if names:
        assert why is None
    else:
        assert why is not None
        assert "data.window" in why
        with pytest.raises(UsageError, match=r"data\.window"):
            anatomy_of_patients(data)


def test_a_scan_of_relative_units_has_classes_of_its_own_grey_values() -> None:
    for seed in range(3):
        scan, shell, core = ball(seed)
        mask = labels(AutomaticTissues.of(MRI), scan)
        assert dice(mask == 1, shell) > 0.85
        assert dice(mask == 2, core) > 0.85


def test_each_tissue_is_mapped_with_all_that_are_brighter() -> None:
    scan, shell, core = ball(0)
    public = public_maps(MRI)
    subject = compared(public.labelled(scan), public)
    assert subject is not None
    outer, inner = (channel < 0 for channel in subject.channels)
    assert dice(outer, shell | core) > 0.9
    assert outer[core].mean() > 0.9
    assert dice(inner, core) > 0.85


def test_in_a_wide_field_of_view_air_is_one_class_more() -> None:
    assert AutomaticTissues.of(WIDE).names == ("dark", *AutomaticTissues.of(MRI).names)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, True),
        ({"spacing": (3.3, 3.3, 4.95)}, False),
        ({"spacing": None}, False),
        ({"size": (24, 24, 1)}, False),
        ({"modality": "ct"}, False),
        ({"modality": "ct", "spacing": (8.0, 8.0, 12.0)}, True),
        ({"modality": "pet", "window": (0.0, 20.0)}, False),
        ({"modality": "ct", "label_scheme": {"1": "liver"}, "labels": 1}, True),
    ],
)
def test_declared_facts_alone_say_whether_they_are_the_default(
    change: dict[str, object], wanted: bool
) -> None:
    # An edge of 84 mm, or one of 79.2.
    data = MRI.model_dump() | {"size": (24, 24, 16), "spacing": (3.5, 3.5, 5.25)} | change
    assert is_default(DataConfig.model_validate(data)) == wanted


def test_a_scan_that_shows_nothing_counts_as_none_whatever_the_mechanism() -> None:
    scan, *_ = ball(0)
    public = public_maps(MRI)
    for name in steps(public.layout):
        mechanism = MapMechanism.of(name, public)
        assert mechanism.vectors(scan) is not None
        assert mechanism.vectors(replace(scan, image=np.full_like(scan.image, 0.3))) is None


def test_drawn_bodies_have_gas_bone_and_soft_tissue_where_patients_have_them(
    chests: AnatomyModel,
) -> None:
    _, truth = chest(0)
    draws = [chests.draw(np.random.default_rng(seed)) for seed in range(6)]
    mean = np.mean([image for image, _ in draws], axis=0)
    hounsfield = 1000.0 * mean
    outside = ~truth["body"]
    assert np.median(hounsfield[outside]) < -950.0
    assert np.median(hounsfield[truth["lungs"]]) < -500.0
    assert np.median(hounsfield[truth["spine"]]) > 200.0
    assert abs(np.median(hounsfield[truth["muscle"]])) < 150.0
    # No tissue is a label of the drawn mask.
    assert not any(mask.any() for _, mask in draws)
    assert np.abs(draws[0][0] - draws[1][0]).mean() > 0.01


def test_drawn_scans_of_relative_units_are_dark_grey_and_bright_where_patients_are(
    balls: AnatomyModel,
) -> None:
    _, shell, core = ball(0)
    images = [balls.draw(np.random.default_rng(seed))[0] for seed in range(8)]
    mean = np.mean(images, axis=0)
    dark = mean[~shell & ~core].mean()
    assert mean[core].mean() > mean[shell].mean() + 0.2
    assert mean[shell].mean() > dark + 0.2


def test_any_number_of_workers_gives_the_same_bits() -> None:
    patients = Cohort([ball(seed)[0] for seed in range(3)])
    first, second = (fitted(MRI, patients, workers).to_arrays() for workers in (1, 3))
    assert set(first) == set(second)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_a_model_that_was_read_back_draws_the_same_voxels(chests: AnatomyModel) -> None:
    again = AnatomyModel.read(anatomy_of_patients(CT), chests.to_arrays())
    assert again.cohort.digest == AUTOMATIC_DIGEST
    first, second = (one.draw(np.random.default_rng(3))[0] for one in (chests, again))
    np.testing.assert_array_equal(first, second)
    assert stage.provenance(again.cohort)["kind"] == "tissues"
