"""Neighbouring cohorts, mechanism by mechanism: what a patient moves is his or her own vector.

Whatever was released is held fixed, as adaptive composition has it. Then every mechanism of a model
must get one vector a patient, of the others the same bits whoever the one is, and the model must be
the same bits too: it knows the patients by what was released alone. A statistic that looks at all
patients, a count or an extreme beside the mechanisms, breaks one of these.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.collection import Library
from medvae.anatomy.patients import anatomy_of_patients
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates import LIBRARY
from medvae.config import RunConfig
from medvae.config_files import load_config
from medvae.grid import Gridded
from medvae.privacy import NoiseSource, StageRequest, make_plan
from medvae.progress import SILENT
from medvae.train import anatomy as anatomy_stage
from medvae.train import cosines as cosine_stage
from medvae.train.release import PlannedRelease
from tests.anatomy.cohorts import NAMES, add_people, scan

PATIENTS, ONE = 3, 1
OTHERS = [index for index in range(PATIENTS) if index != ONE]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Held(PlannedRelease):
    """Releases that are the same whatever the vectors are; the vectors are kept."""

    vectors: dict[str, Array] = field(default_factory=dict)
    limits: dict[str, tuple[float, int]] = field(default_factory=dict)

    def __call__(self, name: str, vectors: Any, *, clip: float, dimension: int) -> Array:
        assert name not in self.vectors, "one noise would hide two sums"
        self.vectors[name] = np.stack([np.asarray(one, np.float64) for one in vectors])
        self.limits[name] = clip, dimension
        random = np.random.default_rng(zlib.crc32(name.encode()))
        return np.asarray(0.1 * clip * random.normal(size=dimension) / np.sqrt(dimension))


@dataclass(frozen=True)
class Cohort:
    """Patients by index: scans of an anatomy, or pictures on the grid."""

    held: Sequence[Sequence[Any]]

    def __len__(self) -> int:
        return len(self.held)

    def scans(self, index: int) -> list[Scan]:
        return list(self.held[index])

    def volumes(self, index: int) -> list[Gridded]:
        return list(self.held[index])


Fit = Callable[[Cohort, Held], dict[str, npt.NDArray[np.generic]]]


def held(requests: Sequence[tuple[str, float, float, int]], epsilon: float = 8.0) -> Held:
    wanted = [StageRequest(*one) for one in requests]
    plan = make_plan(wanted, patients=PATIENTS, epsilon=epsilon, delta=1e-5)
    return Held(plan, NoiseSource(bytes(32), "test"))


def check(cohorts: Sequence[Cohort], requests: Any, fit: Fit) -> None:
    """Of all cohorts, which differ in patient `ONE` alone, the same but for that patient."""
    releases = [held(requests) for _ in cohorts]
    models = [fit(cohort, release) for cohort, release in zip(cohorts, releases, strict=True)]
    first = releases[0]
    names = [name for name, *_ in requests if not name.endswith(".centre")]
    assert list(first.vectors) == names, "what the plan names is all that is released"
    for release, model in zip(releases[1:], models[1:], strict=True):
        assert release.limits == first.limits
        for name, vectors in release.vectors.items():
            assert len(vectors) == PATIENTS, name
            assert np.array_equal(vectors[OTHERS], first.vectors[name][OTHERS]), name
        assert model.keys() == models[0].keys()
        for key, values in model.items():
            assert np.array_equal(values, models[0][key]), key
    moved = [name for name in names if not _same(name, releases)]
    assert moved == names, "a statistic that no patient moves is not tested here"


def _same(name: str, releases: Sequence[Held]) -> bool:
    rows = [release.vectors[name][ONE] for release in releases]
    return all(np.array_equal(row, rows[0], equal_nan=True) for row in rows)


def neighbours(patients: list[list[Any]], odd: Sequence[list[Any]]) -> list[Cohort]:
    """The cohort, that without patient `ONE`'s volumes, and those in which he or she is odd."""
    others = [[*patients[:ONE], own, *patients[ONE + 1 :]] for own in ([], *odd)]
    return [Cohort(patients), *map(Cohort, others)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("photo", ("data.size=[12, 10, 1]", "data.labels=0", "data.classes=2")),
        ("xray", ("data.size=[12, 10, 1]", "data.labels=0", "data.classes=0")),
        ("contrasts", ("data.size=[8, 8, 6]", "data.channels=[t1, t2]", "data.classes=2")),
    ],
)
def test_pictures_and_contrasts(preset: str, settings: tuple[str, ...]) -> None:
    labels = 2 if preset == "contrasts" else 0
    scheme = "{'1': a, '2': b}" if labels else "{}"
    fixed = (f"data.labels={labels}", f"data.label_scheme={scheme}")
    cfg = load_config(preset, [*settings, *fixed])
    channels, size = max(len(cfg.data.channels), 1), cfg.data.size
    shape = (channels, *size) if channels > 1 else size
    random = np.random.default_rng(3)

    def picture(values: Array, category: int | None = 1) -> Gridded:
        mask = random.integers(0, labels + 1, size).astype(np.uint8) if labels else None
        return Gridded(values.astype(np.float32), mask, category)

    patients = [[picture(random.uniform(-1, 1, shape))] for _ in range(PATIENTS)]
    odd = [
        [picture(np.full(shape, value), category)]
        for value, category in ((1.0, 0), (np.nan, 1), (np.inf, 1), (1e30, None), (-1.0, 200))
    ]
    many = [picture(random.uniform(-1, 1, shape), number % 2) for number in range(40)]

    def fit(cohort: Cohort, release: Held) -> dict[str, npt.NDArray[np.generic]]:
        return cosine_stage.fit(cfg, cohort, release, progress=SILENT).to_arrays()

    check(neighbours(patients, [*odd, many]), cosine_stage.requests(cfg), fit)


def odd_patients(own: Scan) -> list[list[Scan]]:
    """Patients with several volumes, extreme ones, a mask that is full, and one label alone."""
    full = np.full_like(own.mask, 1)
    return [
        [own, replace(own, image=-own.image, category=1, site=0)],
        [replace(own, image=np.full_like(own.image, np.nan))],
        [replace(own, image=own.image * 1e6, mask=full, category=99, site=99)],
    ]


def anatomy_of(cohort: CohortAnatomy) -> Fit:
    def fit(patients: Cohort, release: Held) -> dict[str, npt.NDArray[np.generic]]:
        model = anatomy_stage.fit_anatomy(cohort, patients, release, progress=SILENT)
        return dict(model.to_arrays())

    return fit


def requests_of(cfg: RunConfig) -> list[tuple[str, float, float, int]]:
    return [
        one
        for name, share in anatomy_stage.mechanisms(cfg)
        for one in anatomy_stage.requests(name, share, cfg, PATIENTS)
    ]


def run_config(data: dict[str, Any], **anatomy: Any) -> RunConfig:
    others = {section: {"share": 0.0} for section in ("atlas", "finetune", "prior")}
    facts = {"label_scheme": NAMES, "labels": 4, "classes": 2, "sites": ["north", "south"]}
    given = {"data": facts | data, "anatomy": {"share": 1.0} | anatomy}
    return RunConfig.model_validate(given | others)


def people(count: int) -> list[list[Scan]]:
    return [
        [replace(scan(60 + index), category=index % 2, site=index % 2)] for index in range(count)
    ]


def test_an_anatomy_of_public_people(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Means, spreads, classes and sites."""
    folder = tmp_path_factory.mktemp("neighbours")
    add_people(folder / "vault", folder / "files")
    cfg, library = run_config({}), Library(folder / "vault")
    cohort = CohortAnatomy.open(library, library.entry("people"), cfg.data)
    patients = people(PATIENTS)
    check(
        neighbours(patients, odd_patients(patients[ONE][0])), requests_of(cfg), anatomy_of(cohort)
    )


@pytest.mark.parametrize(
    ("spacing", "labels"),
    [
        ((6.0, 6.0, 9.0), {}),
        ((9.0, 9.0, 14.0), {}),
        ((6.0, 6.0, 9.0), {"label_scheme": {}, "labels": 0}),
    ],
    ids=["narrow", "wide", "automatic tissues"],
)
def test_an_anatomy_of_the_patients_own_maps(
    spacing: tuple[float, float, float], labels: dict[str, Any]
) -> None:
    data = {"size": (24, 26, 16), "spacing": spacing} | labels
    cfg = run_config(data, library=LIBRARY)
    patients = people(PATIENTS)
    # Registered at each of up to five mechanisms: one neighbour, who moves all, takes long enough.
    cohorts = neighbours(patients, odd_patients(patients[ONE][0])[2:])
    check([cohorts[0], cohorts[-1]], requests_of(cfg), anatomy_of(anatomy_of_patients(cfg.data)))
