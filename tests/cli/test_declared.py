"""Facts of the protocol are declared: no patient's data decide them, and nobody guesses them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medvae import api
from medvae.api import datasets
from tests.cli.conftest import BY_FILE, QUICK, Clinic

SCHEME = ("--label-scheme", "47=outer,48=inner")


def session(clinic: Clinic) -> api.Session:
    return api.open(clinic.root / "vault", "clinic", identity=clinic.root / "key")


def planned(clinic: Clinic, dataset: str, *words: str) -> dict[str, Any]:
    """A plan's digest and mechanisms."""
    plan = clinic("plan", "-c", QUICK, "-d", dataset, *words).json
    return {"digest": plan["digest"], "stages": [s["name"] for s in plan["stages"]]}


def altered(scans: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """A copy of the cohort where one patient is another."""
    shutil.copytree(scans, folder)
    change(folder)
    return folder


def pair(drawn: Path, folder: Path) -> None:
    """images/ beside labels/, of what `generate` wrote."""
    for path in drawn.glob("*.nii.gz"):
        kind = "labels" if "_dseg" in path.name else "images"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / kind / path.name.replace("_dseg", ""))


def third_label(folder: Path) -> None:
    path = max((folder / "labels").iterdir())
    image = nib.load(path)
    mask = np.asarray(image.dataobj).copy()
    mask[:3, :3, :3] = 3
    nib.save(nib.Nifti1Image(mask, image.affine), path)


def no_mask(folder: Path) -> None:
    max((folder / "labels").iterdir()).unlink()


@pytest.mark.parametrize("change", [third_label, no_mask])
def test_one_patients_masks_change_nothing_that_is_public(
    clinic: Clinic, scans: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    words = ("--modality", "mri", "--label-scheme", "1=outer,2=inner")
    other = altered(scans, tmp_path / "other", change)
    with_patient = clinic("ingest", other, "-d", "one", *words).json
    clinic("ingest", scans, "-d", "two", *words)
    assert len(with_patient["notes"]) == 1
    assert planned(clinic, "one") == planned(clinic, "two")


def test_undeclared_labels_and_classes_are_asked_for(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    rows = list(csv.DictReader((scans / "subjects.csv").open()))
    table = tmp_path / "table.csv"
    lines = [f"{row['filename']},{row['subject']},0" for row in rows]
    table.write_text("\n".join(["filename,subject,grade", *lines]))
    words = ("--modality", "mri", "--subjects", table, "--class-column", "grade")
    taken = clinic("ingest", scans, "-d", "d", *words).json
    assert any("no label scheme is declared" in note for note in taken["notes"])
    assert any("no classes are declared" in note for note in taken["notes"])
    for command in ("plan", "train"):
        name = ("--name", "m") if command == "train" else ()
        for less, says in (
            ((), "medvae dataset declare d --label-scheme"),
            (("--set", "data.labels=0"), "medvae dataset declare d --classes"),
        ):
            refused = clinic(command, "-c", QUICK, "-d", "d", *name, *less, ok=False)
            assert refused.code == 2
            assert says in refused.err
            assert len(refused.err.strip().splitlines()) == 1
    none = planned(clinic, "d", "--set", "data.labels=0", "--set", "data.classes=0")
    assert "atlas-classes" not in none["stages"]
    clinic("dataset", "declare", "d", "--label-scheme", "1=outer,2=inner", "--classes", "0")
    assert set(none["stages"]) < set(planned(clinic, "d")["stages"])
    assert clinic("budget").json["spent"] == 0


def test_declaring_makes_a_version_of_the_same_objects(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", "--modality", "mri")
    objects = len(session(clinic).tenant.ids("volume"))
    made = clinic("dataset", "declare", "d", "--label-scheme", "1=outer,2=inner").json
    assert (made["version"], made["labels"], made["unit"]) == (2, 2, "patient")
    again = clinic("dataset", "declare", "d", "--label-scheme", "1=outer,2=inner").json
    assert again["version"] == 2
    assert len(session(clinic).tenant.ids("volume")) == objects
    # Either version can be deleted without the volumes of the other.
    assert clinic("dataset", "delete", "d@1", "--yes").json["volumes"] == 0
    assert clinic("verify", "--read-data").json["damaged"] == []
    assert clinic("dataset", "delete", "d", "--yes").json["volumes"] == objects
    # What was declared stays declared when more volumes come.
    clinic("ingest", scans, "-d", "e", "--modality", "mri", "--classes", "2", *SCHEME)
    clinic("ingest", scans, "-d", "e", "--modality", "mri", "--label-scheme", "none")
    declared = clinic("dataset", "show", "e").json["declared"]
    assert declared == {"label_scheme": {}, "classes": 2, "sites": None}


def test_masks_are_written_in_the_declared_numbers(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    def renumber(folder: Path) -> None:
        for path in (folder / "labels").iterdir():
            image = nib.load(path)
            mask = np.asarray(image.dataobj)
            table = np.array([0, 47, 48], np.uint8)
            nib.save(nib.Nifti1Image(table[mask], image.affine), path)

    other = altered(scans, tmp_path / "other", renumber)
    taken = clinic("ingest", other, "-d", "d", "--modality", "mri", *SCHEME).json
    assert taken["notes"] == []
    clinic("train", "-c", QUICK, "-d", "d", "--name", "m")
    made = clinic("generate", "m", "-n", "2", "-o", tmp_path / "drawn").json
    masks = [np.asarray(nib.load(f).dataobj) for f in made["files"] if "dseg" in f]
    assert set(np.unique(masks)) == {0, 47, 48}
    out = tmp_path / "release"
    clinic("release", "create", "m", "-n", "3", "-o", out)
    card = json.loads((out / "card.json").read_text())
    assert card["data"]["labels"] == {"47": "outer", "48": "inner"}
    assert card["configuration"]["data"]["label_scheme"] == {"47": "outer", "48": "inner"}
    assert card["configuration"]["privacy"]["unit"] == "patient"
    lookup = (out / "derivatives" / "labels" / "dseg.tsv").read_text()
    assert lookup.splitlines()[2:] == ["47\touter", "48\tinner"]
    written = [nib.load(path) for path in out.rglob("*_dseg.nii.gz")]
    assert {int(v) for image in written for v in np.unique(image.dataobj)} == {0, 47, 48}
    for what in ("m", tmp_path / "paired"):
        if what != "m":
            pair(tmp_path / "drawn", what)
        metrics = clinic("evaluate", what, "--against", "d", "-n", "2").json["metrics"]
        assert len(metrics["segmentation_dice"]["labels"]) == 2


def test_files_without_a_patient_need_a_word(clinic: Clinic, scans: Path, tmp_path: Path) -> None:
    images = scans / "images"
    refused = clinic("ingest", images, "-d", "d", "--modality", "mri", ok=False)
    assert refused.code == 2
    assert "--subjects" in refused.err
    assert "--files-are-patients" in refused.err
    assert session(clinic).tenant.ids("volume") == []
    taken = clinic("ingest", images, "-d", "d", *BY_FILE).json
    assert taken["unit"] == "file"
    refused = clinic("dataset", "declare", "d", "--subjects-are-patients", ok=False)
    assert refused.code == 2
    refused = clinic("plan", "-c", QUICK, "-d", "d", "--set", "privacy.unit=patient", ok=False)
    assert refused.code == 2
    assert clinic("plan", "-c", QUICK, "-d", "d").json["patients"] == 12


def test_one_file_without_a_patient_makes_the_unit_the_file(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    assert clinic("ingest", scans, "-d", "d", "--modality", "mri").json["unit"] == "patient"
    image = np.random.default_rng(0).normal(500, 100, (16, 24, 16)).astype(np.int16)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "stray.nii.gz")
    both = ("ingest", scans, tmp_path / "stray.nii.gz", "-d", "d", "--modality", "mri")
    assert clinic(*both, ok=False).code == 2
    assert clinic(*both, "--files-are-patients").json["unit"] == "file"


def test_a_version_without_a_record_of_its_unit_is_not_trained_on(
    clinic: Clinic, scans: Path
) -> None:
    clinic("ingest", scans, "-d", "d", "--modality", "mri")
    old = session(clinic)
    manifest = datasets.load(old.tenant, "d")
    for entry in manifest["volumes"]:
        del entry["own_subject"], entry["label_values"]
        entry["labels"] = 2
    del manifest["declared"], manifest["unit"]
    with old.tenant.writer():
        datasets.store(old.tenant, manifest | {"name": "old"})
    del old
    shown = clinic("dataset", "show", "old").json
    assert (shown["unit"], shown["labels"], shown["subjects"]) == (None, 0, 10)
    refused = clinic("train", "-c", QUICK, "-d", "old", "--name", "m", "--set", "data.labels=0",
                     ok=False)  # fmt: skip
    assert refused.code == 2
    assert "medvae dataset declare old" in refused.err
    refused = clinic("dataset", "declare", "old", "--label-scheme", "1=a,2=b", ok=False)
    assert refused.code == 2
    for word, unit in (("--subjects-are-patients", "patient"), ("--files-are-patients", "file")):
        made = clinic("dataset", "declare", "old@1", "--label-scheme", "1=a,2=b", word).json
        assert (made["unit"], made["labels"]) == (unit, 2)
        assert clinic("plan", "-c", QUICK, "-d", "old").json["stages"]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yaml", "1: outer\n2: inner\n"),
        (".json", '{"2": "inner", "1": "outer", "0": "background"}'),
        (".csv", "value,name\n1,outer\n2,inner\n"),
        (".tsv", "index\tname\tcolour\n0\tbackground\tx\n1\touter\ty\n2\tinner\tz\n"),
    ],
)
def test_a_label_scheme_is_read_from_a_file(
    clinic: Clinic, scans: Path, tmp_path: Path, suffix: str, text: str
) -> None:
    path = tmp_path / f"scheme{suffix}"
    path.write_text(text)
    taken = clinic("ingest", scans, "-d", "d", "--modality", "mri", "--label-scheme", path).json
    scheme = {"1": "outer", "2": "inner"}
    assert taken["declared"] == {"label_scheme": scheme, "classes": None, "sites": None}


@pytest.mark.parametrize(
    "scheme",
    ["1", "1=", "=a", "x=a", "-1=a", "256=a", "1=a,1=b", "1=a,2=a", "1.5=a", "no/such/file", ""],
)
def test_what_is_no_label_scheme_is_refused(clinic: Clinic, scans: Path, scheme: str) -> None:
    words = ("ingest", scans, "-d", "d", "--modality", "mri", f"--label-scheme={scheme}")
    refused = clinic(*words, ok=False)
    assert refused.code == 2
    assert "--label-scheme" in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert clinic("dataset", "list").json["datasets"] == []


def test_more_labels_than_a_model_learns_are_refused_in_a_sentence(
    clinic: Clinic, scans: Path
) -> None:
    scheme = ",".join(f"{n}=organ {n}" for n in range(1, 118))
    clinic("ingest", scans, "-d", "d", "--modality", "mri", "--label-scheme", scheme)
    refused = clinic("plan", "-c", QUICK, "-d", "d", ok=False)
    assert refused.code == 2
    assert "at most 32" in refused.err
    first = clinic("plan", "-c", QUICK, "-d", "d", "--set", "data.labels=2").json
    named = ("--set", "data.label_scheme={1: organ 1, 2: organ 2}")
    assert clinic("plan", "-c", QUICK, "-d", "d", *named).json["digest"] == first["digest"]
    for refusal in ("data.labels=33", "data.label_scheme={300: x}", "data.label_scheme={1: ''}"):
        assert clinic("plan", "-c", QUICK, "-d", "d", "--set", refusal, ok=False).code == 2
    assert clinic("ingest", scans, "-d", "d", "--classes", "17", ok=False).code == 2


def test_a_crop_to_labels_that_a_volume_lacks_is_refused_before_anything_is_spent(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    clinic("ingest", scans, "-d", "whole", *BY_FILE, "--label-scheme", "1=outer,2=inner")
    crop = ("--set", "data.crop=labels")
    clinic("plan", "-c", QUICK, "-d", "whole", *crop)
    folder = altered(scans, tmp_path / "lacking", no_mask)
    clinic("ingest", folder, "-d", "lacking", *BY_FILE, "--label-scheme", "1=outer,2=inner")
    refused = clinic("plan", "-c", QUICK, "-d", "lacking", *crop, ok=False)
    assert refused.code == 2
    assert "show none of them" in refused.err
