"""`medvae pull` and `send` by DIMSE: a real Orthanc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from tests.cli.conftest import Clinic
from tests.ingest.ingest_makers import taken, write
from tests.pacs.conftest import Archive, needs_orthanc, orthanc
from tests.pacs.test_pull_web import person, stored, study_of
from tests.pacs.test_send import KEY, release  # noqa: F401  a signed DICOM release


@pytest.fixture(scope="module")
def people() -> list[list[Dataset]]:
    return [person(1), person(2), person(3, modality="MR")]


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, people: list[list[Dataset]]
) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(folder / "store") as running:
        for slices in people:
            running.add(slices, folder)
        yield running


@needs_orthanc
def test_studies_of_a_real_archive_are_ingested_voxel_for_voxel(
    clinic: Clinic, archive: Archive, people: list[list[Dataset]], tmp_path: Path
) -> None:
    got = clinic("pull", archive.dimse, "-d", "ct", "--modality", "ct").json
    assert (got["pulled"]["studies"], got["pulled"]["instances"]) == (2, 10)
    assert (got["subjects"], got["volumes"], got["quarantined"]) == (2, 2, [])
    wanted = [taken(write(tmp_path / str(n), person(n)))[0].volume.voxels.tobytes() for n in (1, 2)]
    assert sorted(v.tobytes() for v in stored(clinic, "ct")) == sorted(wanted)
    again = clinic("pull", archive.dimse, "-d", "ct", "--modality", "ct").json
    assert (again["version"], again["added"]) == (1, 0)
    pixels = people[0][0].PixelData
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_relative_to(tmp_path / "1"):
            assert pixels not in path.read_bytes(), path


@needs_orthanc
def test_studies_are_chosen_by_uid_patient_and_number(
    clinic: Clinic, archive: Archive, people: list[list[Dataset]]
) -> None:
    one = clinic("pull", archive.dimse, "-d", "a", "--study", study_of(people[2])).json
    assert (one["pulled"]["studies"], one["volumes"]) == (1, 1)
    one = clinic("pull", archive.dimse, "-d", "b", "--patient-id", "PAT-2").json
    assert one["pulled"]["studies"] == 1
    some = clinic("pull", archive.dimse, "-d", "c", "--limit", "2").json
    assert some["pulled"]["studies"] == 2
    assert any("more studies match" in note for note in some["notes"])
    assert clinic("pull", archive.dimse, "-d", "e", "--patient-id", "NOBODY", ok=False).code == 7
    lost = clinic("pull", archive.dimse, "-d", "e", "--study", "1.2.3", ok=False)
    assert (lost.code, "1.2.3" in lost.err) == (7, True)
    other = ("--study", study_of(people[2]), "--modality", "ct")
    wrong = clinic("pull", archive.dimse, "-d", "e", *other, ok=False)
    assert wrong.code in (3, 7), wrong.err


@needs_orthanc
def test_packed_images_come_as_they_are_stored(clinic: Clinic, tmp_path: Path) -> None:
    slices = person(4)
    wanted = taken(write(tmp_path / "plain", slices))[0].volume.voxels.tobytes()
    for data in slices:
        data.compress(RLELossless, generate_instance_uid=False)
    with orthanc(tmp_path / "store") as running:
        running.add(slices, tmp_path)
        got = clinic("pull", running.dimse, "-d", "d", "--limit", "5").json
    assert got["volumes"] == 1
    assert stored(clinic, "d")[0].tobytes() == wanted


@needs_orthanc
def test_a_release_comes_back_voxel_for_voxel(
    clinic: Clinic,
    release: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(KEY.public)
    with orthanc(tmp_path / "store") as running:
        for _ in range(2):  # to send again does no harm
            sent = clinic("send", release, running.dimse, "--public-key", key).json
            assert (sent["sent"], sent["failed"]) == (20, [])
        assert len(running.ask("/instances")) == 20
        got = clinic("pull", running.dimse, "-d", "back", "--modality", "ct").json
    assert (got["pulled"]["instances"], got["volumes"], got["quarantined"]) == (20, 2, [])
    wanted = [
        taken(release / f"SYNTH000{n}", modality="ct")[0].volume.voxels.tobytes() for n in (1, 2)
    ]
    assert sorted(v.tobytes() for v in stored(clinic, "back")) == sorted(wanted)
    assert np.ptp(stored(clinic, "back")[0]) > 0


@needs_orthanc
def test_an_archive_that_refuses_us_says_why(
    clinic: Clinic,
    release: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = {"DicomCheckCalledAet": True, "DicomAlwaysAllowStore": False}
    with orthanc(tmp_path / "store", **settings, DicomAlwaysAllowFind=False) as running:
        other = running.dimse.replace("ORTHANC", "OTHER")
        got = clinic("pull", other, "-d", "d", "--limit", "1", ok=False)
        assert (got.code, "it is not called OTHER" in got.err) == (5, True), got.err
        got = clinic("pull", running.dimse, "-d", "d", "--limit", "1", ok=False)
        assert (got.code, running.dimse in got.err) == (5, True), got.err
        got = clinic("send", release, running.dimse, ok=False)
        assert (got.code, running.dimse in got.err) == (5, True), got.err
    got = clinic("pull", running.dimse, "-d", "d", "--limit", "1", ok=False)
    assert (got.code, "nothing answers" in got.err) == (5, True), got.err
