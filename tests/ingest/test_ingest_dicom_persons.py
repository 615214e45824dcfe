"""DICOM: contradictions about who a patient is are refused or told, and nothing of them shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ingest_makers import series, voxels, write

from medvae.ingest import Ingested, Quarantined, read


def scan(folder: Path, number: int, patient: str, **more: Any) -> None:
    """A series of its own pixels, by default in a study of its own."""
    more = {"StudyInstanceUID": f"1.2.5.{number}"} | more
    slices = series(3, series=f"1.2.4.{number}", patient=patient, **more)
    for index, data in enumerate(slices):
        data.SOPInstanceUID = f"1.2.6.{number}.{index}"
        data.PixelData = voxels((6, 4), seed=10 * number + index).astype("<i2").tobytes()
    write(folder / str(number), slices)


def results(folder: Path, **options: Any) -> tuple[list[Ingested], list[Quarantined], list[str]]:
    notes: list[str] = []
    found = list(read([folder], notes=notes.append, **options))
    volumes = [one for one in found if isinstance(one, Ingested)]
    return volumes, [one for one in found if isinstance(one, Quarantined)], notes


def table(path: Path, *rows: tuple[str, str]) -> Path:
    path.write_text("filename,subject\n" + "".join(f"{name},{who}\n" for name, who in rows))
    return path


def test_a_study_of_two_patients_is_refused_and_others_are_read(tmp_path: Path) -> None:
    scan(tmp_path, 1, "0012345", StudyInstanceUID="1.2.9")
    scan(tmp_path, 2, "12345", StudyInstanceUID="1.2.9")
    scan(tmp_path, 3, "777")
    volumes, refused, _ = results(tmp_path)
    assert [v.subject for v in volumes] == ["777"]
    assert len(refused) == 2
    assert all("its study is also stored under another PatientID" in r.reason for r in refused)


def test_a_localizer_under_another_id_contests_the_study_too(tmp_path: Path) -> None:
    scan(tmp_path, 1, "A", StudyInstanceUID="1.2.9")
    scan(tmp_path, 2, "B", StudyInstanceUID="1.2.9", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volumes, refused, _ = results(tmp_path)
    assert volumes == []
    assert sum("its study" in r.reason for r in refused) == 1


def test_a_series_of_two_patients_without_a_study_is_refused(tmp_path: Path) -> None:
    scan(tmp_path, 1, "A", StudyInstanceUID="")
    scan(tmp_path, 2, "B", StudyInstanceUID="", SeriesInstanceUID="1.2.4.1")
    volumes, refused, _ = results(tmp_path)
    assert (volumes, len(refused)) == ([], 2)


@pytest.mark.parametrize("study", ["", None])
def test_an_empty_study_is_nobodys(tmp_path: Path, study: str | None) -> None:
    scan(tmp_path, 1, "A", StudyInstanceUID=study)
    scan(tmp_path, 2, "B", StudyInstanceUID=study)
    volumes, refused, _ = results(tmp_path)
    assert ({v.subject for v in volumes}, refused) == ({"A", "B"}, [])


def test_a_table_decides_and_is_told_of_the_study(tmp_path: Path) -> None:
    scan(tmp_path / "in", 1, "A", StudyInstanceUID="1.2.9")
    scan(tmp_path / "in", 2, "B", StudyInstanceUID="1.2.9")
    one = table(tmp_path / "one.csv", ("1", "X"), ("2", "X"))
    volumes, refused, notes = results(tmp_path / "in", subjects=one)
    assert ([v.subject for v in volumes], refused, notes) == (["X", "X"], [], [])
    two = table(tmp_path / "two.csv", ("1", "X"), ("2", "Y"))
    volumes, refused, notes = results(tmp_path / "in", subjects=two)
    assert ([v.subject for v in volumes], refused) == (["X", "Y"], [])
    assert notes[0].startswith("volumes of a study or series that the table gives to several")


@pytest.mark.parametrize(
    ("name", "first", "second", "told"),
    [
        ("PatientBirthDate", "19500101", "19500102", "birth dates"),
        ("PatientSex", "F", "M", "sexes"),
        ("IssuerOfPatientID", "HOSP A", "HOSP B", "issuers"),
        ("PatientName", "Doe^Jane", "Roe^Mary", "names"),
        ("PatientName", "Doe^Jane", "DOE JANE", ""),
        ("PatientName", "Doe^Jane", "Anonymous", ""),
        ("PatientSex", "F", "O", ""),
        ("PatientBirthDate", "19500101", "", ""),
        ("IssuerOfPatientID", "HOSP A", "hosp a ", ""),
    ],
)
def test_one_id_with_two_facts_is_told(
    tmp_path: Path, name: str, first: str, second: str, told: str
) -> None:
    scan(tmp_path, 1, "A", **{name: first})
    scan(tmp_path, 2, "A", **{name: second})
    volumes, refused, notes = results(tmp_path)
    assert ({v.subject for v in volumes}, refused) == ({"A"}, [])
    if told:
        (note,) = notes
        assert f"patients whose PatientID comes with several {told}: {tmp_path}" in note
    else:
        assert notes == []


@pytest.mark.parametrize("patient", ["ANONYMOUS", "0", "000", "Anon", "anonymized", "N/A", "???"])
def test_an_id_that_stands_for_nobody_is_told(tmp_path: Path, patient: str) -> None:
    scan(tmp_path, 1, patient)
    _, _, notes = results(tmp_path)
    assert [n.partition(",")[0] for n in notes] == ["patients whose PatientID stands for nobody"]


def test_an_id_that_a_spreadsheet_made_a_fraction_is_told(tmp_path: Path) -> None:
    for number, patient in enumerate(("0012345", "12345.0", "12345.5")):
        scan(tmp_path, number, patient, PatientName=f"N{number}")
    _, refused, notes = results(tmp_path)
    assert refused == []
    (note,) = notes
    assert note.startswith("patients whose PatientIDs differ in spelling only: 2, such as")


@pytest.mark.parametrize(
    "other", ["p-001", "P001", "P 001", "P-001^^^HOSP", "\uff30-\uff10\uff10\uff11"]
)
def test_ids_that_differ_in_spelling_are_told(tmp_path: Path, other: str) -> None:
    for number, patient in enumerate(("P-001", other, "P-002")):
        scan(tmp_path, number, patient, SpecificCharacterSet="ISO_IR 192")
    volumes, refused, notes = results(tmp_path)
    assert (len(volumes), refused) == (3, [])
    (note,) = notes
    assert note.startswith("patients whose PatientIDs differ in spelling only: 2, such as")


def test_ids_with_one_name_and_birth_date_are_told(tmp_path: Path) -> None:
    for number, patient in enumerate("ABC"):
        born = "19500101" if patient < "C" else "19600101"
        scan(tmp_path, number, patient, PatientBirthDate=born)
    _, _, notes = results(tmp_path)
    (note,) = notes
    assert note.startswith("patients whose PatientIDs share a name and a birth date: 2, such as")


def test_anonymous_names_with_one_birth_date_prove_nothing(tmp_path: Path) -> None:
    for number, patient in enumerate("AB"):
        scan(tmp_path, number, patient, PatientName="ANONYMOUS", PatientBirthDate="19000101")
    assert results(tmp_path)[2] == []


def test_what_is_told_shows_nothing_of_a_header(tmp_path: Path) -> None:
    for number, patient in enumerate(("SECRET-1", "secret1", "SECRET-3")):
        more = {"PatientName": "Hidden^Name", "PatientBirthDate": "19510203"}
        study = "1.2.9" if number else "1.2.8"
        scan(tmp_path, number, patient, StudyInstanceUID=study, IssuerOfPatientID="CLINIC", **more)
    _, refused, notes = results(tmp_path)
    shown = " ".join([*notes, *(r.reason for r in refused)]).lower()
    assert shown
    for secret in ("secret", "hidden", "19510203", "1.2.9", "clinic"):
        assert secret not in shown.replace(str(tmp_path).lower(), "")
