"""A class from the column of a table to the column of a release, by the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import DECLARED, QUICK, Clinic


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Clinic:
    """A tenant with a model of two classes, learnt from a table with one bad row."""
    made = Clinic(tmp_path_factory.mktemp("graded"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    rows = list(csv.DictReader((scans / "subjects.csv").open()))
    table = made.root / "graded.csv"
    lines = [f"{r['filename']},{r['subject']},{i % 2}" for i, r in enumerate(rows)]
    lines[-1] = lines[-1][:-1] + "CANARY-GRADE"
    table.write_text("\n".join(["filename,subject,Grade", *lines]) + "\n")
    given = ("--subjects", table, *DECLARED)
    graded = ("-d", "graded", "--class-column", "Grade", "--classes", "2")
    taken = made("ingest", scans, *given, *graded).json
    assert (taken["volumes"], len(taken["quarantined"])) == (11, 1)
    assert "no class" in taken["quarantined"][0]["reason"]
    assert "CANARY-GRADE" not in taken["quarantined"][0]["reason"]
    made("ingest", scans, "-d", "plain", *given)
    made("train", "-c", QUICK, "-d", "graded", "--name", "first")
    return made


def test_the_data_set_declares_its_classes(graded: Clinic) -> None:
    assert graded("dataset", "show", "graded").json["classes"] == 2
    assert graded("dataset", "show", "plain").json["classes"] == 0
    stages = [
        [s["name"] for s in graded("plan", "-c", QUICK, "-d", d).json["stages"]]
        for d in ("graded", "plain")
    ]
    assert "atlas-classes" in stages[0]
    assert "atlas-classes" not in stages[1]
    off = graded("plan", "-c", QUICK, "-d", "graded", "--set", "data.classes=0").json
    assert "atlas-classes" not in [s["name"] for s in off["stages"]]


@pytest.mark.parametrize(("dataset", "count"), [("plain", 2), ("graded", 1), ("graded", 3)])
def test_any_declared_number_of_classes_is_planned_for(
    graded: Clinic, dataset: str, count: int
) -> None:
    """Whether the patients' classes fit may not show: it would tell of one patient's class."""
    words = ("plan", "-c", QUICK, "-d", dataset, "--set", f"data.classes={count}")
    assert "atlas-classes" in [stage["name"] for stage in graded(*words).json["stages"]]


def test_generate_names_the_class_of_each_volume(graded: Clinic, tmp_path: Path) -> None:
    made = graded("generate", "first", "-n", "3", "-o", tmp_path / "one", "--class", "1").json
    assert made["files"][-1].endswith("subjects.csv")
    rows = list(csv.DictReader((tmp_path / "one" / "subjects.csv").open()))
    assert [row["class"] for row in rows] == ["1", "1", "1"]
    assert all((tmp_path / "one" / row["filename"]).is_file() for row in rows)
    # What was written can be read as a data set with classes.
    again = ("ingest", tmp_path / "one", "-d", "again", "--class-column", "class")
    assert graded(*again, "--modality", "mri").json["volumes"] == 3
    graded("generate", "first", "-n", "1", "-o", tmp_path / "d", "--format", "dicom")
    (row,) = csv.DictReader((tmp_path / "d" / "subjects.csv").open())
    assert (tmp_path / "d" / row["filename"]).is_dir()
    refused = graded(
        "generate", "first", "-n", "1", "-o", tmp_path / "two", "--class", "2", ok=False
    )
    assert refused.code == 2
    assert "--class must be in 0..1" in refused.err


def test_a_release_says_the_class_and_can_be_evaluated(graded: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    graded("release", "create", "first", "-n", "8", "-o", out, "--seed", "3")
    rows = list(csv.DictReader((out / "participants.tsv").open(), delimiter="\t"))
    # Of ten patients the noise may leave one class alone.
    assert {row["class"] for row in rows} <= {"0", "1"}
    assert len(rows) == 8
    card = json.loads((out / "card.json").read_text())
    assert "atlas-classes" in [m["name"] for m in card["privacy"]["mechanisms"]]
    assert "column class" in card["data"]["classes"]
    assert graded("release", "verify", out).json["unchanged"]
    for what in ("first", out):
        words = ("evaluate", what, "--against", "graded", "-n", "8", "--no-downstream")
        assert "classification_auc" not in graded(*words).json["metrics"]
    one = tmp_path / "ones"
    graded("release", "create", "first", "-n", "2", "-o", one, "--class", "0")
    rows = list(csv.DictReader((one / "participants.tsv").open(), delimiter="\t"))
    assert [row["class"] for row in rows] == ["0", "0"]


def test_a_folder_with_classes_is_classified(graded: Clinic, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    graded("generate", "first", "-n", "3", "-o", folder, "--class", "0")
    graded("generate", "first", "-n", "3", "-o", tmp_path / "ones", "--class", "1")
    table = (folder / "subjects.csv").read_text()
    for number in (1, 2, 3):
        name = f"synth{number:04d}"
        for path in sorted((tmp_path / "ones").glob(f"{name}*.nii.gz")):
            path.rename(folder / path.name.replace("synth", "other"))
        table += f"other{number:04d}.nii.gz,other{number:04d},1\n"
    (folder / "subjects.csv").write_text(table)
    for mask in folder.glob("*_dseg.nii.gz"):
        mask.unlink()
    metrics = graded("evaluate", folder, "--against", "graded").json["metrics"]
    figure = metrics["classification_auc"]
    assert 0 <= figure["value"] <= 1
    assert figure["extractor"] == "medvae-shells-1"
