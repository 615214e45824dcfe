"""A training that goes on from the tenant's own private model with new patients."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae.model import Artifact
from medvae.privacy import Mechanism, Plan, epsilon
from tests.anatomy.cohorts import NAMES, SPACING, add_people, picture
from tests.anatomy.conftest import person, write
from tests.anatomy.phantoms import MEANS
from tests.cli.conftest import QUICK, Clinic

FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1", "--small-cohort")
SCHEME = ",".join(f"{number}={name}" for number, name in NAMES.items())
MRI = ("--modality", "mri", "--label-scheme", SCHEME)
CORE = 3
FIRST, SECOND = range(10), range(8, 16)


def cohort(folder: Path, seeds: Sequence[int], core: float = 0.0) -> Path:
    """People whose right core is `core` brighter than public people's."""
    means = MEANS.copy()
    means[CORE] += core
    rows = [("filename", "subject")]
    for seed in seeds:
        labels, affine = person(70 + seed, SPACING)
        write(folder / "images" / f"s{seed}.nii.gz", picture(labels, seed, means), affine)
        write(folder / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
        rows.append((f"s{seed}.nii.gz", f"s{seed}"))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Clinic:
    """A first model, and one that goes on from it with patients of whom two are in both."""
    made = Clinic(tmp_path_factory.mktemp("continued"))
    made(
        *("tenant", "create", "clinic", "--recovery-out", made.root / "spare"),
        *("--epsilon-limit", 50),
    )
    add_people(made.root / "vault", made.root / "public")
    for name, seeds in (("d", FIRST), ("e", SECOND)):
        made(
            *("ingest", cohort(made.root / name, seeds, core=0.3), "-d", name),
            *MRI,
        )
    made("train", "-c", QUICK, "-d", "d", "--name", "first", *FEW, "--epsilon", "12")
    done = made(
        *("train", "-c", QUICK, "-d", "e", "--name", "second", *FEW, "--epsilon", "8"),
        *("--init", "first"),
    )
    assert done.json["continues"] == "first"
    return made


def plan_of(clinic: Clinic, name: str) -> Plan:
    return Plan.from_json(clinic("model", "show", name).json["facts"]["plan"])


def test_a_patient_in_both_has_lost_the_composition(trained: Clinic) -> None:
    plans = [plan_of(trained, name) for name in ("first", "second")]
    both = epsilon([one for plan in plans for one in plan.mechanisms], plans[0].delta)
    assert trained("budget").json["spent"] == pytest.approx(both, rel=1e-6)
    assert trained("budget", "-d", "e").json["spent"] == pytest.approx(both, rel=1e-6)
    # Of the eight patients of the first alone nobody was charged twice.
    assert [one["patients"] for one in trained("budget").json["events"]] == [10, 8]
    assert plans[1].constants["continues"]["name"] == "first"


@pytest.mark.parametrize(("model", "shared"), [("second", 2), ("apart", 0)])
def test_a_card_says_the_same_whether_or_not_a_patient_is_in_both(
    trained: Clinic, tmp_path: Path, model: str, shared: int
) -> None:
    patients = SECOND
    if not shared:
        patients = range(20, 28)
        folder = cohort(trained.root / "h", patients)
        trained("ingest", folder, "-d", "h", *MRI)
        asked = ("train", "-c", QUICK, "-d", "h", "--name", model, *FEW, "--epsilon", "8")
        trained(*asked, "--init", "first")
    assert len({*FIRST} & {*patients}) == shared
    out = tmp_path / "release"
    made = trained("release", "create", model, "-n", "2", "-o", out, "--seed", "1").json
    plans = [plan_of(trained, name) for name in (model, "first")]
    both = epsilon([one for plan in plans for one in plan.mechanisms], plans[0].delta)
    assert made["epsilon"] == pytest.approx(both, rel=1e-6)
    assert trained("model", "show", model).json["epsilon"] == pytest.approx(both, rel=1e-6)
    trained("model", "export", model, "-o", tmp_path / "open", "--format", "safetensors")
    stated = json.loads((tmp_path / "open" / "model.json").read_text())
    assert stated["epsilon"] == pytest.approx(both, rel=1e-6)
    privacy = json.loads((out / "card.json").read_text())["privacy"]
    assert privacy["patients"] == len(FIRST) + len(patients)
    assert f"at most {privacy['patients']} patients" in privacy["summary"]
    assert "nothing here says whether one is" in privacy["composition"]
    (earlier,) = privacy["continues"]
    assert (earlier["name"], earlier["patients"]) == ("first", 10)
    assert earlier["epsilon"] == plans[1].epsilon
    mechanisms = [
        Mechanism(**{key: value for key, value in one.items() if key != "title"})
        for one in privacy["mechanisms"]
    ]
    assert epsilon(mechanisms, plans[0].delta) == pytest.approx(both, rel=1e-6)
    assert "goes on from first" in (out / "CARD.md").read_text()
    assert trained("release", "verify", out).json["unchanged"]


def test_what_could_not_be_released_is_refused_before_it_is_paid_for(trained: Clinic) -> None:
    """Though each patient of the data set has only this training to pay for."""
    trained("ingest", cohort(trained.root / "i", range(80, 84)), "-d", "i", *MRI)
    before = trained("budget").json
    asked = ("train", "-c", QUICK, "-d", "i", "--name", "dear", *FEW, "--epsilon", "49")
    got = trained(*asked, "--init", "first", ok=False)
    assert got.code == 6
    assert "above the limit 50" in got.err
    assert got.err.strip().count("\n") == 0
    assert trained("budget").json == before


def core_grey(clinic: Clinic, name: str, out: Path) -> float:
    """Mean grey value of the core in drawn volumes."""
    clinic("generate", name, "-n", "4", "-o", out, "--seed", "3")
    means = []
    for mask in out.glob("*_dseg.nii.gz"):
        labels = np.asarray(nib.load(mask).dataobj)
        image = np.asarray(nib.load(str(mask).replace("_dseg", "")).dataobj)
        means.append(image[labels == CORE].mean())
    return float(np.mean(means))


def test_what_noise_hides_of_new_patients_is_the_earlier_models(trained: Clinic) -> None:
    """So small an epsilon says nothing: public people alone would not have the bright core."""
    folder = cohort(trained.root / "f", range(40, 46), core=0.3)
    trained("ingest", folder, "-d", "f", *MRI)
    asked = ("-c", QUICK, "-d", "f", *FEW, "--epsilon", "0.05")
    trained("train", *asked, "--name", "alone")
    trained("train", *asked, "--name", "on", "--init", "second")
    root = trained.root
    first, alone, on = (
        core_grey(trained, name, root / f"drawn-{name}") for name in ("second", "alone", "on")
    )
    assert abs(on - first) < 0.3 * abs(alone - first)
    facts = trained("model", "show", "on").json["facts"]
    assert [one["name"] for one in facts["continues"]] == ["second", "first"]


def test_a_resumed_run_has_the_same_bits(trained: Clinic) -> None:
    """Of the run's checkpoint, before the model is sealed: here, of a second process, too."""
    folder = cohort(trained.root / "g", range(60, 64))
    trained("ingest", folder, "-d", "g", *MRI)
    models = []
    from medvae.api import runs

    real = runs.finish

    def stopped(tenant, run, artifact, seconds):
        models.append(artifact.to_bytes())
        if len(models) == 1:
            raise KeyboardInterrupt
        return real(tenant, run, artifact, seconds)

    patch = pytest.MonkeyPatch()
    patch.setattr("medvae.api.runs.finish", stopped)
    asked = ("train", "-c", QUICK, "-d", "g", "--name", "cut", *FEW, "--epsilon", "8")
    try:
        assert trained(*asked, "--init", "first", ok=False).code == 130
        assert trained(*asked, "--init", "second", "--resume", ok=False).code == 2
        trained(*asked, "--resume", "--workers", "2")
    finally:
        patch.undo()
    assert models[0] == models[1]
    assert [e["patients"] for e in trained("budget", "-d", "g").json["events"]] == [4]
    assert Artifact.from_bytes(models[1]).facts["continues"][0]["name"] == "first"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--set", "data.spacing=[5, 5, 8]"), "data.spacing"),
        (("--set", "data.size=[32, 32, 32]"), "data.size"),
        (("--set", "data.labels=2"), "data.labels"),
        (("--set", "model.preset=small"), "model.preset"),
        (("--set", "anatomy.library=none"), "anatomy of public people"),
        (("--set", "data.window=[0, 900]"), "data.window"),
    ],
)
def test_what_cannot_be_continued_is_refused_in_one_sentence(
    trained: Clinic, wrong: tuple[str, ...], says: str
) -> None:
    before = trained("budget").json
    asked = ("train", "-c", QUICK, "-d", "e", "--name", "refused", *FEW, "--epsilon", "1")
    got = trained(*asked, "--init", "first", *wrong, ok=False)
    assert got.code == 2
    assert says in got.err
    assert got.err.strip().count("\n") == 0
    assert trained("budget").json == before
