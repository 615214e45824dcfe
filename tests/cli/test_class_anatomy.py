"""A cohort with labels and classes, drawn from an entry of the library, at the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.anatomy.cohorts import NAMES, SPACING, add_people, picture
from tests.anatomy.conftest import person, write
from tests.anatomy.phantoms import MEANS
from tests.cli.conftest import QUICK, Clinic

CORES = (2, 3)
PATIENTS, EPSILON = 24, "50"
SETTINGS = ("--set", "atlas.samples=2", "--set", "atlas.steps=1", "--epsilon", EPSILON)


def bright(category: int) -> np.ndarray:
    """Grey values of the labels; patients of class 1 have brighter cores."""
    means = MEANS.copy()
    means[list(CORES)] += 0.5 * category
    return means


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Clinic:
    """A tenant with 24 patients of two classes, and a model of them; every third is of 1."""
    made = Clinic(tmp_path_factory.mktemp("classes"))
    made(
        "tenant",
        "create",
        "clinic",
        "--recovery-out",
        made.root / "spare",
        "--epsilon-limit",
        EPSILON,
    )
    add_people(made.root / "vault", made.root / "public")
    folder, rows = made.root / "hospital", [("filename", "subject", "stage")]
    for seed in range(PATIENTS):
        category = int(seed % 3 == 0)
        labels, affine = person(70 + seed, SPACING)
        image = picture(labels, seed, bright(category))
        write(folder / "images" / f"s{seed}.nii.gz", image, affine)
        write(folder / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
        rows.append((f"s{seed}.nii.gz", f"s{seed}", str(category)))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    scheme = ",".join(f"{number}={name}" for number, name in NAMES.items())
    made(
        *("ingest", folder, "-d", "d", "--modality", "mri", "--label-scheme", scheme),
        *("--class-column", "stage", "--classes", 2),
    )
    made("train", "-c", QUICK, "-d", "d", "--name", "m", *SETTINGS)
    return made


def core_greys(folder: Path, files: list[str]) -> float:
    """Mean grey value of the cores of drawn volumes."""
    means = []
    for name in files:
        image = folder / name
        if not image.name.endswith(".nii.gz") or image.name.endswith("_dseg.nii.gz"):
            continue
        mask = np.asarray(nib.load(str(image).replace(".nii.gz", "_dseg.nii.gz")).dataobj)
        means.append(np.asarray(nib.load(image).dataobj)[np.isin(mask, CORES)].mean())
    return float(np.mean(means))


def test_classes_have_a_mechanism_of_their_own(trained: Clinic) -> None:
    planned = trained("plan", "-c", QUICK, "-d", "d", *SETTINGS).json
    assert planned["anatomy"] == "people"
    assert "anatomy-classes" in {stage["name"] for stage in planned["stages"]}
    without = trained("plan", "-c", QUICK, "-d", "d", *SETTINGS, "--set", "data.classes=0").json
    assert "anatomy-classes" not in {stage["name"] for stage in without["stages"]}


def test_volumes_of_a_class_look_like_its_patients(trained: Clinic, tmp_path: Path) -> None:
    greys = []
    for category in (0, 1):
        out = tmp_path / str(category)
        drawn = trained("generate", "m", "-n", 6, "-o", out, "--seed", 1, "--class", category).json
        greys.append(core_greys(out, drawn["files"]))
        with (out / "subjects.csv").open() as file:
            assert {row["class"] for row in csv.DictReader(file)} == {str(category)}
    assert greys[1] > greys[0] + 10.0
    refused = trained("generate", "m", "-n", 1, "-o", tmp_path / "no", "--class", 2, ok=False)
    assert refused.code == 2
    assert "0..1" in refused.err


def test_a_release_names_the_class_of_each_volume(trained: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    assert trained("release", "create", "m", "-n", 6, "-o", out).json["passed"]
    with (out / "participants.tsv").open() as file:
        classes = [row["class"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(classes) == 6
    assert set(classes) <= {"0", "1"}


def test_it_is_evaluated_beside_public_people_and_audited(trained: Clinic) -> None:
    found = trained("evaluate", "m", "--against", "d", "-n", 6, "--no-downstream").json
    assert found["baselines"]
    assert "anatomy-classes" in json.dumps(trained("audit", "m", "--against", "d", "-n", 4).json)


def test_of_public_people_no_class_is_known(trained: Clinic) -> None:
    named = ("--set", "anatomy.library=people", "--set", "data.classes=2")
    refused = trained("pretrain", "-c", QUICK, "--name", "p", *named, ok=False)
    assert refused.code == 2
    assert "data.classes" in refused.err
