"""A DICOM study is of one patient, also where its series are ingested one after another."""

from __future__ import annotations

from pathlib import Path

import pytest

import medvae
from medvae.api import datasets
from tests.cli.conftest import Clinic
from tests.ingest.ingest_makers import series, voxels, write

STUDY = "1.2.840.99.7731"


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Three discs: two series of one study under two ids, and another study of the second."""
    for number, (patient, study) in enumerate(
        (("0012345", STUDY), ("12345", STUDY), ("12345", "1.2.840.99.2"))
    ):
        slices = series(
            4,
            (24, 20),
            modality="MR",
            patient=patient,
            series=f"1.2.4.{number}",
            StudyInstanceUID=study,
        )
        for index, data in enumerate(slices):
            data.PixelData = voxels((24, 20), seed=10 * number + index).astype("<i2").tobytes()
        write(tmp_path / f"disc{number}", slices)
    return tmp_path


def test_a_study_of_two_patients_is_refused_in_a_later_ingest(clinic: Clinic, discs: Path) -> None:
    clinic("ingest", discs / "disc0", "-d", "a")
    for dataset, where in (("a", "data set a"), ("b", "data set a")):
        for more in ((), ("--dry-run",)):
            later = clinic("ingest", discs / "disc1", "-d", dataset, *more, ok=False)
            assert later.code == 3
            (refused,) = later.json["quarantined"]
            assert f"its study is stored in {where} as another patient's" in refused["reason"]
    # The rest of that patient is taken, and the same series again is no contradiction.
    found = clinic("ingest", discs / "disc1", discs / "disc2", "-d", "a", ok=False).json
    assert (found["volumes"], found["subjects"], len(found["quarantined"])) == (2, 2, 1)
    again = clinic("ingest", discs / "disc0", "-d", "a").json
    assert (again["added"], again["quarantined"]) == (0, [])


def test_a_table_says_whose_a_study_is(clinic: Clinic, discs: Path) -> None:
    names = sorted(path.name for path in (discs / "disc1").iterdir())
    for who, notes in (("0012345", 0), ("another", 1)):
        rows = "".join(f"{name},{who}\n" for name in names)
        (discs / "table.csv").write_text(f"filename,subject\n{rows}")
        clinic("ingest", discs / "disc0", "-d", who)
        options = ("-d", who, "--subjects", discs / "table.csv")
        found = clinic("ingest", discs / "disc1", *options).json
        assert found["subjects"] == 1 + notes
        told = [note for note in found["notes"] if "is stored as another patient's" in note]
        assert len(told) == notes
        clinic("dataset", "delete", who, "--yes")


def test_the_study_is_kept_as_a_keyed_digest_alone(clinic: Clinic, discs: Path) -> None:
    clinic("ingest", discs / "disc0", "-d", "a")
    clinic("ingest", discs / "disc2", "-d", "a")
    session = medvae.open(clinic.root / "vault", "clinic", identity=clinic.root / "key")
    manifest = datasets.load(session.tenant, "a")
    one, other = (entry["study"] for entry in manifest["volumes"])
    assert one != other
    assert len(one) == len(other) > 20
    assert STUDY not in str(manifest)
