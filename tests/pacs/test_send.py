"""`medvae send`: a release into a real Orthanc and back, and archives that take a part of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medvae.release import approval, create
from tests.cli.conftest import Clinic
from tests.ingest.ingest_makers import taken
from tests.pacs.conftest import Archive, Liar, Lies, needs_orthanc, orthanc
from tests.pacs.test_pull_web import stored
from tests.release.made import CT, Key, facts, synthetic

JSON = "application/dicom+json"
KEY = Key()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic CT as a signed DICOM release: 20 files."""
    return create(
        volumes=synthetic(2, CT),
        out=tmp_path_factory.mktemp("send") / "release",
        facts=facts(CT),
        sign=KEY.sign,
        public_key=KEY.public,
        fmt="dicom",
    ).path


@needs_orthanc
def test_a_release_comes_back_from_a_real_archive_voxel_for_voxel(
    clinic: Clinic, archive: Archive, release: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(KEY.public)
    for _ in range(2):  # to send again does no harm
        sent = clinic("send", release, archive.web, "--public-key", key).json
        assert (sent["sent"], sent["failed"]) == (20, [])
    assert len(archive.ask("/instances")) == 20
    got = clinic("pull", archive.web, "-d", "back", "--modality", "ct").json
    assert (got["pulled"]["instances"], got["volumes"], got["quarantined"]) == (20, 2, [])
    wanted = [
        taken(release / f"SYNTH000{n}", modality="ct")[0].volume.voxels.tobytes() for n in (1, 2)
    ]
    assert sorted(v.tobytes() for v in stored(clinic, "back")) == sorted(wanted)
    assert np.ptp(stored(clinic, "back")[0]) > 0


def spoil(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_only_a_release_that_is_as_it_was_signed_is_sent(
    clinic: Clinic, liar: Lies, release: Path, tmp_path: Path
) -> None:
    def refused(folder: Path, code: int, words: str, *more: str | Path) -> None:
        got = clinic("send", folder, liar.web, *more, ok=False)
        assert (got.code, words in got.err) == (code, True), got.err
        assert liar.asked == []

    changed = shutil.copytree(release, tmp_path / "changed")
    one = changed / "SYNTH0001" / "IM00001.dcm"
    spoil(one)
    refused(changed, 4, "SYNTH0001/IM00001.dcm")
    added = shutil.copytree(release, tmp_path / "added")
    shutil.copy(one, added / "SYNTH0001" / "patient.dcm")
    refused(added, 4, "patient.dcm")
    unsigned = shutil.copytree(release / "SYNTH0001", tmp_path / "plain")
    refused(unsigned, 4, "no release")
    (tmp_path / "other.pem").write_bytes(Key(2).public)
    refused(release, 4, "not", "--public-key", tmp_path / "other.pem")
    refused(tmp_path / "none", 7, "no release folder")
    nifti = create(
        volumes=synthetic(1, CT),
        out=tmp_path / "nifti",
        facts=facts(CT),
        sign=KEY.sign,
        public_key=KEY.public,
    ).path
    refused(nifti, 2, "--format dicom")
    waiting = create(
        volumes=synthetic(1, CT),
        out=tmp_path / "waiting",
        facts=facts(CT),
        sign=KEY.sign,
        public_key=KEY.public,
        fmt="dicom",
        approvals=approval.require(KEY.public, [Key(3).public]),
    ).path
    refused(waiting, 4, "is not sent: the release awaits approval")


def answer_of(request: Liar, refuse: int, status: int = 200) -> None:
    """Say that all files were stored but the first `refuse`."""
    body = request.rfile.read(int(request.headers["Content-Length"]))
    boundary = request.headers["Content-Type"].rpartition("boundary=")[2].encode()
    parts = body.split(b"--" + boundary)[1:-1]
    uids = [
        str(
            pydicom.dcmread(
                pydicom.filebase.DicomBytesIO(part.partition(b"\r\n\r\n")[2])
            ).SOPInstanceUID
        )
        for part in parts
    ]
    assert len(uids) == 20

    def item(uid: str, **more: object) -> dict[str, object]:
        return {"00081155": {"vr": "UI", "Value": [uid]}, **more}

    reason = {"00081197": {"vr": "US", "Value": [0xA700]}}
    told = {
        "00081199": {"vr": "SQ", "Value": [item(uid) for uid in uids[refuse:]]},
        "00081198": {"vr": "SQ", "Value": [item(uid, **reason) for uid in uids[:refuse]]},
    }
    request.answer(JSON, json.dumps(told).encode(), status)


def test_files_that_an_archive_does_not_take_are_listed(
    clinic: Clinic, liar: Lies, release: Path
) -> None:
    for refuse, status in ((0, 200), (3, 202), (20, 409)):
        liar.replies["/web/studies"] = lambda r, n=refuse, s=status: answer_of(r, n, s)
        got = clinic("send", release, liar.web, ok=False)
        assert got.code == (5 if refuse else 0)
        assert got.json["sent"] == 20 - refuse
        assert len(got.json["failed"]) == refuse
        assert all("no room (status A700)" in one["reason"] for one in got.json["failed"])


def test_silence_about_a_file_is_no_success(clinic: Clinic, liar: Lies, release: Path) -> None:
    def say(body: bytes) -> None:
        def reply(request: Liar) -> None:
            request.rfile.read(int(request.headers["Content-Length"]))
            request.answer(JSON, body)

        liar.replies["/web/studies"] = reply

    say(b"{}")
    got = clinic("send", release, liar.web, ok=False)
    assert (got.code, got.json["sent"], len(got.json["failed"])) == (5, 0, 20)
    for wrong in (b"", b"[1]", b"nonsense", b'{"00081199": {"Value": [{}]}}'):
        say(wrong)
        got = clinic("send", release, liar.web, ok=False)
        assert (got.code, "does not say what it has stored" in got.err) == (3, True), wrong


def test_an_archive_that_fails_between_two_messages(
    clinic: Clinic, liar: Lies, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medvae.api.sending.BATCH_BYTES", 1)
    count = 0

    def reply(request: Liar) -> None:
        nonlocal count
        count += 1
        body = request.rfile.read(int(request.headers["Content-Length"]))
        data = pydicom.filebase.DicomBytesIO(body.partition(b"\r\n\r\n")[2])
        uid = str(pydicom.dcmread(data, stop_before_pixels=True).SOPInstanceUID)
        told = {"00081199": {"Value": [{"00081155": {"Value": [uid]}}]}}
        request.answer(JSON, json.dumps(told).encode(), 200 if count < 8 else 503)

    liar.replies["/web/studies"] = reply
    got = clinic("send", release, liar.web, ok=False)
    assert (got.code, got.json["sent"], len(got.json["failed"])) == (5, 7, 13)
    assert "status 503" in got.json["failed"][0]["reason"]


def test_a_file_that_is_changed_after_the_check_is_not_sent(
    clinic: Clinic, liar: Lies, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(release, tmp_path / "release")
    from medvae.release import check

    real = check.check_files

    def and_then_change(*given: object) -> object:
        found = real(*given)  # type: ignore[arg-type]
        spoil(folder / "SYNTH0001" / "IM00001.dcm")
        return found

    monkeypatch.setattr(check, "check_files", and_then_change)
    got = clinic("send", folder, liar.web, ok=False)
    assert (got.code, "changed while it was being sent" in got.err, liar.asked) == (4, True, [])


@needs_orthanc
def test_an_archive_that_refuses_us_is_one_sentence(
    clinic: Clinic, release: Path, tmp_path: Path
) -> None:
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"ada": "secret-word"}}
    with orthanc(tmp_path / "store", **users) as running:
        got = clinic("send", release, running.web, ok=False)
        assert (got.code, "status 401" in got.err) == (5, True)
    down = clinic("send", release, running.web, ok=False)
    assert (down.code, "nothing answers" in down.err) == (5, True)
