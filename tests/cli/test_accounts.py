"""A patient's account outlives the data set: a scan that was charged has no second account."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medvae import api
from medvae.api import datasets
from medvae.api.accounts import ledger
from medvae.privacy import StageRequest, make_plan
from tests.cli.conftest import BY_FILE, DECLARED, Clinic


def charge(clinic: Clinic, dataset: str) -> None:
    """Debit every patient of a data set with epsilon 6, as a training does first."""
    with api.open(clinic.root / "vault", "clinic", identity=clinic.root / "key") as session:
        tenant = session.tenant
        patients = datasets.subjects(datasets.load(tenant, dataset))
        plan = make_plan(
            [StageRequest("x", 1.0, 1.0, 1)],
            patients=len(patients),
            epsilon=6.0,
            delta=tenant.delta,
        )
        with tenant.writer():
            ledger(tenant).debit(f"run of {dataset}", plan, patients, f"{dataset}@1")


def renamed(scans: Path, folder: Path) -> Path:
    """The same images under other names, without a table."""
    folder.mkdir()
    for number, source in enumerate(sorted((scans / "images").iterdir())):
        shutil.copy(source, folder / f"other-{number}.nii.gz")
    return folder


def table(folder: Path, prefix: str) -> Path:
    """A table that gives each image of a folder a patient of its own."""
    rows = [f"{path.name},{prefix}{path.stem}" for path in sorted(folder.glob("*.nii.gz"))]
    path = folder / "subjects.csv"
    path.write_text("\n".join(["filename,subject", *rows]) + "\n")
    return path


def test_files_that_were_charged_are_known_again_under_other_names(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    clinic("ingest", scans / "images", "-d", "d", *BY_FILE)
    charge(clinic, "d")
    spent = clinic("budget", "-d", "d").json["spent"]
    clinic("dataset", "delete", "d", "--yes")
    clinic("ingest", renamed(scans, tmp_path / "moved"), "-d", "e", *BY_FILE)
    assert clinic("budget", "-d", "e").json["spent"] == pytest.approx(spent)
    assert spent > 5.9


def test_scans_that_were_charged_are_nobody_elses_after_a_deletion(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    charge(clinic, "d")
    clinic("dataset", "delete", "d", "--yes")
    moved = renamed(scans, tmp_path / "moved")
    for words in (BY_FILE, ("--modality", "mri", "--subjects", table(moved, "new"))):
        refused = clinic("ingest", moved, "-d", "e", *words, ok=False)
        assert refused.code == 3
        assert "charged" in refused.err
        # Every file was read, and none was taken.
        assert "ingest: done" not in refused.err
    # Under the name that was charged they are welcome, to the same account.
    assert "ingest: done" in clinic("ingest", scans, "-d", "d", *DECLARED).err
    assert clinic("budget", "-d", "d").json["spent"] > 5.9


def test_a_patient_who_was_erased_has_no_second_account_either(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    charge(clinic, "d")
    clinic("subject", "erase", "CANARY-PATIENT-5", "--yes")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(scans / "images" / "CANARY-FILE-5-0.nii.gz", moved / "x.nii.gz")
    refused = clinic("ingest", moved, "-d", "e", *BY_FILE, ok=False)
    assert refused.code == 3
    assert "charged" in refused.err


@pytest.mark.parametrize("deleted", [False, True])
def test_an_export_comes_back_to_the_accounts_that_it_came_from(
    clinic: Clinic, scans: Path, tmp_path: Path, deleted: bool
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    charge(clinic, "d")
    clinic("dataset", "export", "d", "-o", tmp_path / "out")
    if deleted:
        clinic("dataset", "delete", "d", "--yes")
    again = clinic("ingest", tmp_path / "out", "-d", "e", "--modality", "mri").json
    assert (again["subjects"], again["volumes"], again["quarantined"]) == (10, 12, [])
    assert clinic("budget", "-d", "e").json["spent"] > 5.9


def test_scans_that_nobody_was_charged_for_are_forgotten(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    clinic("dataset", "delete", "d", "--yes")
    clinic("ingest", renamed(scans, tmp_path / "moved"), "-d", "e", *BY_FILE)
    assert clinic("dataset", "show", "e").json["subjects"] == 12
