"""Two and five hospitals, each with a vault of its own, make one model through the command line.

Each hospital's made-up people differ from public ones, and a little from those of the others: in
size, and in how dark a nucleus is. Each trains on its own patients and exports statistics; a
vault without patients joins them, of all and of all but one. Another vault that holds everybody's
scans trains the pooled model. What they have released is held against the means and deviations of
the patients as measured, without noise, of all hospitals.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import medvae
from medvae import api
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.numbers import Numbers
from medvae.api import anatomy_choice, datasets
from medvae.api.patients import SealedPatients
from medvae.cli.main import run as command_line
from medvae.model import Artifact

ROOT = Path(__file__).parent.parent
SHAPE, SPACING, SCHEME = (24, 24, 16), (6.0, 6.0, 9.0), {1: "outer", 2: "inner"}
PUBLIC, PATIENTS, QUICK_PATIENTS, EPSILON = 8, 30, 8, 8.0
# Hospitals of the two runs.
COUNTS = (2, 5)
TRAIN = (
    *("train", "-c", str(ROOT / "configs" / "quick.yaml"), "-d", "d", "--name", "m"),
    *("--small-cohort", "--epsilon", str(EPSILON)),
    *("--set", "atlas.samples=2", "--set", "atlas.steps=1"),
)


@dataclass(frozen=True)
class Measured:
    """Patients of one vault without noise: in public standard deviations around public people."""

    place: np.ndarray
    figures: np.ndarray

    @property
    def means(self) -> np.ndarray:
        return np.concatenate([self.place.mean(axis=0), self.figures.mean(axis=0)])

    @property
    def stds(self) -> np.ndarray:
        return np.concatenate([self.place.std(axis=0), self.figures.std(axis=0)])


def run(quick: bool) -> dict[str, Any]:
    """Errors of each way, for each number of hospitals."""
    patients = QUICK_PATIENTS if quick else PATIENTS
    with tempfile.TemporaryDirectory(prefix="bench-hospitals-") as folder:
        top = Path(folder)
        people(top / "public", 1000, PUBLIC, 0)
        rows = hospitals(top, COUNTS[:1] if quick else COUNTS, patients)
    return {"hospitals": rows}


def hospitals(top: Path, counts: Sequence[int], patients: int) -> list[dict[str, Any]]:
    """A row for each way of making a model of the patients of so many hospitals."""
    vaults = []
    for number in range(max(counts)):
        place = vault(top / f"h{number}", top / "public", [number], patients)
        _here(place, *TRAIN)
        _here(place, *("model", "export", "m", "-o", str(place / "given")), "--format=statistics")
        vaults.append(place)
        print(f"hospital {number} trained", flush=True)
    office = vault(top / "office", top / "public", [], patients)
    measured = [patients_of(place) for place in vaults]
    rows = []
    for count in counts:
        everybody = together(measured[:count])
        base = {"hospitals": count, "patients": count * patients}
        own = [error(numbers_of(place, "m"), everybody) for place in vaults[:count]]
        alone = {key: float(np.mean([one[key] for one in own])) for key in own[0]}
        rows.append(base | {"way": "one hospital alone (mean of all)"} | alone)
        for way, used in (("joined", count), ("joined, one dropped out", count - 1)):
            name = f"m{count}-{used}"
            began = time.perf_counter()
            files = [str(place / "given" / "statistics.safetensors") for place in vaults[:used]]
            _here(office, "model", "join", *files, "--as", name)
            seconds = time.perf_counter() - began
            found = error(numbers_of(office, name), everybody)
            rows.append(base | {"way": way, "seconds": seconds} | found)
        pooled = vault(top / f"pooled{count}", top / "public", range(count), patients)
        _here(pooled, *TRAIN)
        rows.append(base | {"way": "pooled"} | error(numbers_of(pooled, "m"), everybody))
        for row in rows[-4:]:
            print(json.dumps(row), flush=True)
    return rows


def people(folder: Path, first: int, count: int, hospital: int) -> None:
    """Images and labels: an ellipsoid with a nucleus in a body, as a hospital's people have it."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    own = np.random.default_rng([hospital, 7]).normal(0.0, 1.0, 2) if hospital else np.zeros(2)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        chance = np.random.default_rng([number, hospital])
        size = 0.06 * (hospital > 0) + 0.03 * own[0] + chance.normal(0, 0.1, 3)
        radii = np.array([0.5, 0.35, 0.4]) * np.exp(size)
        away = np.linalg.norm((grid.T - chance.normal(0, 0.06, 3)) / radii, axis=-1).T
        labels = np.where(away < 0.5, 2, np.where(away < 1, 1, 0)).astype(np.uint8)
        # Darker than what is round it, which sets the scale of an image.
        dark = 150 - 25 * (hospital > 0) + 10 * own[1] + chance.normal(0, 20)
        image = 200 + 300 * (labels > 0) - dark * (labels > 1) + chance.normal(0, 20, SHAPE)
        for kind, voxels in (("images", image.astype(np.int16)), ("labels", labels)):
            written = nib.Nifti1Image(voxels, np.diag([*SPACING, 1.0]))
            nib.save(written, folder / kind / f"p{number}.nii.gz")


def vault(place: Path, public: Path, of: Sequence[int], patients: int) -> Path:
    """A vault with the library of public people and the patients of some hospitals."""
    place.mkdir()
    _here(place, "tenant", "create", place.name, "--recovery-out", str(place / "spare"))
    api.add_anatomy(
        *(public, "people"),
        licence="free",
        source="made up",
        label_scheme=SCHEME,
        vault=place / "vault",
    )
    for hospital in of:
        people(place / "scans", hospital * 1000, patients, hospital + 1)
    if of:
        scheme = ",".join(f"{number}={name}" for number, name in SCHEME.items())
        given = ("--labels", str(place / "scans" / "labels"), "--label-scheme", scheme)
        declared = ("-d", "d", "--modality", "mri", "--files-are-patients")
        _here(place, "ingest", str(place / "scans" / "images"), *given, *declared)
    return place


def _here(place: Path, *words: str) -> None:
    where = ("--vault", str(place / "vault"), "--identity", str(place / "key"), "-q", "--json")
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        found = command_line([*words, *where])
    if found != 0:
        raise SystemExit(f"medvae {words[0]} ended with exit code {found}: {said.getvalue()}")


def opened(place: Path, name: str) -> AnatomyModel:
    """The anatomy model `name` of a vault."""
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    artifact = Artifact.from_bytes(tenant.get_named("model", name))
    cohort = anatomy_choice.of_model(tenant, artifact)
    tenant.close()
    assert cohort is not None
    arrays = {key: values.numpy() for key, values in artifact.part("anatomy").items()}
    return AnatomyModel.read(cohort, arrays)


def numbers_of(place: Path, name: str) -> Measured:
    """Released means and deviations: two made-up patients who have them."""
    model = opened(place, name)
    public, numbers = model.cohort.numbers, model.numbers
    return Measured(*(_pair(kind, public, numbers) for kind in ("place", "figures")))


def _pair(kind: str, public: Numbers, numbers: Numbers) -> np.ndarray:
    unit = getattr(public, f"{kind}_std")
    mean = (getattr(numbers, kind) - getattr(public, kind)) / unit
    std = getattr(numbers, f"{kind}_std") / unit
    return np.stack([mean - std, mean + std])


def patients_of(place: Path) -> Measured:
    """The patients of a vault's data set as its training measures them."""
    model = opened(place, "m")
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    patients = SealedPatients(tenant, datasets.load(tenant, "d"), model.cohort.data)
    public, found = model.cohort.numbers, []
    for index in range(len(patients)):
        found += [model.cohort.measure(scan) for scan in patients.scans(index)]
    tenant.close()
    seen = [one for one in found if one is not None]
    figures = np.array([(one.figures - public.figures) / public.figures_std for one in seen])
    return Measured(
        np.array([(one.place - public.place) / public.place_std for one in seen]),
        np.where(np.isfinite(figures), figures, 0.0),
    )


def together(measured: Sequence[Measured]) -> Measured:
    return Measured(
        np.concatenate([one.place for one in measured]),
        np.concatenate([one.figures for one in measured]),
    )


def error(found: Measured, truth: Measured) -> dict[str, float]:
    """Root mean square errors in public standard deviations."""
    mean, std = found.means - truth.means, found.stds - truth.stds
    return {"mean": float(np.sqrt((mean**2).mean())), "std": float(np.sqrt((std**2).mean()))}


def targets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A joint model is nearer to all patients than a hospital's own, and pooled ones nearer yet."""
    judged = []
    for count in sorted({row["hospitals"] for row in found["hospitals"]}):
        rows = {row["way"]: row for row in found["hospitals"] if row["hospitals"] == count}
        alone = rows["one hospital alone (mean of all)"]["mean"]
        ratio = rows["joined"]["mean"] / alone
        judged.append(
            {
                "name": f"error of means of {count} hospitals joined / of one alone",
                "value": ratio,
                "target": "< 1",
                "met": ratio < 1.0,
            }
        )
    return judged
