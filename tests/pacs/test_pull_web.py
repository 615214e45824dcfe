"""`medvae pull` by DICOMweb: a real Orthanc, and servers that fail in every way."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medvae import ingest as stage
from medvae.vault import Tenant
from medvae.volume import Volume
from tests.cli.conftest import Clinic, Outcome
from tests.ingest.ingest_makers import series, taken, write
from tests.pacs.conftest import Archive, Liar, Lies, needs_orthanc, orthanc

BOUNDARY = "a-boundary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
JSON = "application/dicom+json"


def person(number: int, **more: Any) -> list[Dataset]:
    """A CT of one patient, in a study of its own."""
    slices = series(5, patient=f"PAT-{number}", series=f"1.2.3.{number}", **more)
    pixels = np.random.default_rng(number).integers(0, 1000, (5, 6, 4)).astype("<i2")
    for data, image in zip(slices, pixels, strict=True):
        data.PixelData = image.tobytes()
    return slices


def study_of(slices: list[Dataset]) -> str:
    return str(slices[0].StudyInstanceUID)


def encoded(data: Dataset) -> bytes:
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


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


def stored(clinic: Clinic, dataset: str) -> list[np.ndarray]:
    """The voxels of a data set, straight out of the vault."""
    from medvae import api

    tenant: Tenant = api.open(clinic.root / "vault", identity=clinic.root / "key").tenant
    from medvae.api import datasets

    entries = datasets.load(tenant, dataset)["volumes"]
    return [Volume.from_bytes(tenant.get("volume", e["object"])).voxels for e in entries]


@needs_orthanc
def test_studies_of_a_real_archive_are_ingested_voxel_for_voxel(
    clinic: Clinic, archive: Archive, people: list[list[Dataset]], tmp_path: Path
) -> None:
    got = clinic("pull", archive.web, "-d", "ct", "--modality", "ct").json
    assert got["pulled"]["studies"] == 2
    assert got["pulled"]["instances"] == 10
    assert (got["subjects"], got["volumes"], got["quarantined"]) == (2, 2, [])
    wanted = [taken(write(tmp_path / str(n), person(n)))[0].volume.voxels.tobytes() for n in (1, 2)]
    assert sorted(v.tobytes() for v in stored(clinic, "ct")) == sorted(wanted)
    again = clinic("pull", archive.web, "-d", "ct", "--modality", "CT").json
    assert (again["version"], again["added"]) == (1, 0)
    events = [e for e in clinic("log").json["events"] if e["event"] == "pull"]
    assert [e["outcome"] for e in events] == ["success", "success"]


@needs_orthanc
def test_studies_are_chosen_by_uid_patient_day_and_number(
    clinic: Clinic, archive: Archive, people: list[list[Dataset]]
) -> None:
    one = clinic("pull", archive.web, "-d", "a", "--study", study_of(people[2])).json
    assert (one["pulled"]["studies"], one["volumes"]) == (1, 1)
    one = clinic("pull", archive.web, "-d", "b", "--patient-id", "PAT-2").json
    assert one["pulled"]["studies"] == 1
    some = clinic("pull", archive.web, "-d", "c", "--limit", "2").json
    assert some["pulled"]["studies"] == 2
    assert any("more studies match" in note for note in some["notes"])
    assert clinic("pull", archive.web, "-d", "e", "--patient-id", "NOBODY", ok=False).code == 7
    lost = clinic("pull", archive.web, "-d", "e", "--study", "1.2.3", ok=False)
    assert (lost.code, "1.2.3" in lost.err) == (7, True)


@needs_orthanc
def test_nothing_of_a_patient_reaches_a_disk(
    clinic: Clinic, archive: Archive, people: list[list[Dataset]], tmp_path: Path
) -> None:
    clinic("pull", archive.web, "-d", "ct", "--modality", "ct")
    pixels = people[0][0].PixelData
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        assert b"PAT-1" not in data, path
        assert pixels not in data, path


@needs_orthanc
def test_a_wrong_password_is_refused_and_a_right_one_taken(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"ada": "secret-word"}}
    with orthanc(tmp_path / "store", **users) as running:
        asked = ("pull", running.web, "-d", "d", "--limit", "1")
        assert clinic(*asked, ok=False).code == 5
        monkeypatch.setenv("MEDVAE_PACS_USER", "ada")
        monkeypatch.setenv("MEDVAE_PACS_PASSWORD", "wrong-word")
        wrong = clinic(*asked, ok=False)
        assert (wrong.code, "status 401" in wrong.err, "wrong-word" in wrong.err) == (
            5,
            True,
            False,
        )
        monkeypatch.setenv("MEDVAE_PACS_PASSWORD", "secret-word")
        assert clinic(*asked, ok=False).code == 7  # let in, and nothing is there


# What follows is a server that lies.


def listing(slices: list[Dataset], count: int | None = None) -> bytes:
    item: dict[str, Any] = {"0020000D": {"vr": "UI", "Value": [study_of(slices)]}}
    if count is not None:
        item["00201208"] = {"vr": "IS", "Value": [count]}
    return json.dumps([item]).encode()


def multipart(
    slices: list[Dataset], end: bytes = b"--\r\n", kind: str = "application/dicom"
) -> bytes:
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    mark = f"--{BOUNDARY}".encode()
    body = b"".join(mark + b"\r\n" + head + encoded(one) + b"\r\n" for one in slices)
    return body + mark + end


def lie(liar: Lies, instances: list[Dataset], sent: bytes, **how: Any) -> None:
    """List the study of `instances` once, and answer its fetching by `sent`."""
    kind = how.pop("kind", MULTIPART)
    found = listing(instances, how.pop("count", len(instances)))

    def search(request: Liar) -> None:
        request.answer(JSON, found if "offset=0" in request.path else b"[]")

    liar.replies["/web/studies"] = search
    liar.replies[f"/web/studies/{study_of(instances)}"] = lambda r: r.answer(kind, sent, **how)


def refused(clinic: Clinic, liar: Lies, code: int, words: str, *more: str) -> Outcome:
    """One sentence, and nothing was stored."""
    got = clinic("pull", liar.web, "-d", "d", "--limit", "5", *more, ok=False)
    assert got.code == code, got.err
    assert words in got.err, got.err
    sentences = [line for line in got.err.splitlines() if not line.startswith("pull: done")]
    assert len(sentences) == 1
    assert clinic("dataset", "list").json["datasets"] == []
    assert clinic("verify").json["objects"] == 0
    return got


def test_the_server_of_these_tests_can_tell_the_truth(clinic: Clinic, liar: Lies) -> None:
    lie(liar, person(1), multipart(person(1)))
    assert clinic("pull", liar.web, "-d", "d", "--limit", "5").json["volumes"] == 1


def test_half_a_study_is_refused(clinic: Clinic, liar: Lies) -> None:
    half = person(1)[:3]
    lie(liar, person(1), multipart(half))
    refused(clinic, liar, 3, "sent 3 instances of a study of which it lists 5")
    # Without a count, the end of the message is missing.
    whole = multipart(person(1))
    for cut in (0, 20, len(whole) // 2, len(whole) - 4):
        lie(liar, person(1), whole[:cut], count=None)
        refused(clinic, liar, 3, "ends in the middle of a study")
    lie(liar, person(1), whole[: len(whole) // 2], length=len(whole))
    refused(clinic, liar, 3, "cut its answer off")


def test_another_study_or_patient_than_was_asked_for_is_refused(clinic: Clinic, liar: Lies) -> None:
    mixed = [*person(1)[:4], person(2)[4]]
    lie(liar, person(1), multipart(mixed))
    refused(clinic, liar, 3, "another study than was asked for")
    lie(liar, person(1), multipart(person(1)))
    refused(clinic, liar, 3, "lists another study", "--study", "1.2.3")
    refused(clinic, liar, 3, "another patient than was asked for", "--patient-id", "PAT-2")


def test_what_is_no_study_is_refused(clinic: Clinic, liar: Lies) -> None:
    whole = multipart(person(1))
    lie(liar, person(1), whole, kind="text/html")
    refused(clinic, liar, 3, "not multipart/related")
    lie(liar, person(1), multipart(person(1), kind="text/html"))
    refused(clinic, liar, 3, "text/html and not application/dicom")
    lie(liar, person(1), multipart([]))
    refused(clinic, liar, 3, "without any instance")
    for status, code in ((500, 5), (401, 5), (403, 5), (302, 5), (404, 7)):
        lie(liar, person(1), b"", status=status)
        refused(clinic, liar, code, "")


@pytest.mark.parametrize(
    "found",
    [
        b"no json",
        b"{}1",
        b'["a"]',
        b"[" * 100_000,
        b'[{"0020000D": {"Value": ["../../etc"]}}]',
        b'[{"0020000D": {"Value": ["1.2/3?x=1"]}}]',
        b'[{"0020000D": {"Value": []}}]',
    ],
)
def test_a_list_that_is_none_is_refused(clinic: Clinic, liar: Lies, found: bytes) -> None:
    liar.replies["/web/studies"] = lambda r: r.answer(JSON, found)
    refused(clinic, liar, 3, "no list of studies")
    assert all(path.startswith("/web/studies?") for path, _ in liar.asked)


def endless(request: Liar) -> None:
    request.send_response(200)
    request.send_header("Content-Type", MULTIPART)
    request.end_headers()
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    request.wfile.write(head)
    while True:
        request.wfile.write(bytes(1 << 20))


def test_an_endless_instance_ends_at_the_limit(clinic: Clinic, liar: Lies) -> None:
    lie(liar, person(1), b"")
    liar.replies[f"/web/studies/{study_of(person(1))}"] = endless
    refused(clinic, liar, 3, "--memory-limit", "--memory-limit", "0.02")


def test_an_endless_list_ends_at_the_limit(
    clinic: Clinic, liar: Lies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medvae.pacs.web.MOST_LISTED", 1 << 20)

    def forever(request: Liar) -> None:
        request.send_response(200)
        request.send_header("Content-Type", JSON)
        request.end_headers()
        while True:
            request.wfile.write(b" " * (1 << 16))

    liar.replies["/web/studies"] = forever
    refused(clinic, liar, 3, "longer than")


def test_a_silent_and_a_slow_server_are_left(
    clinic: Clinic, liar: Lies, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(liar, person(1), b"")
    fetched = f"/web/studies/{study_of(person(1))}"
    liar.replies[fetched] = lambda r: time.sleep(3)
    refused(clinic, liar, 5, "silent for 0.5 seconds", "--timeout", "0.5")
    monkeypatch.setattr("medvae.pacs.http.LONGEST", 2)

    def dribble(request: Liar) -> None:
        request.send_response(200)
        request.send_header("Content-Type", MULTIPART)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b"a")
            time.sleep(0.1)

    liar.replies[fetched] = dribble
    began = time.monotonic()
    refused(clinic, liar, 5, "did not end its answer in 1 seconds", "--timeout", "0.5")
    assert time.monotonic() - began < 6


def test_what_is_wrong_in_the_second_study_keeps_the_first_out(clinic: Clinic, liar: Lies) -> None:
    items = json.loads(listing(person(1))) + json.loads(listing(person(2)))
    first = json.dumps(items).encode()
    liar.replies["/web/studies"] = lambda r: r.answer(
        JSON, first if "offset=0" in r.path else b"[]"
    )
    for slices, sent in ((person(1), person(1)), (person(2), person(3))):
        body = multipart(sent)
        liar.replies[f"/web/studies/{study_of(slices)}"] = lambda r, b=body: r.answer(MULTIPART, b)
    refused(clinic, liar, 3, "another study")


def test_an_archive_that_is_down_is_named(clinic: Clinic) -> None:
    down = clinic("pull", "http://127.0.0.1:1/dicom-web", "-d", "d", "--limit", "1", ok=False)
    assert (down.code, "nothing answers at http://127.0.0.1:1/dicom-web" in down.err) == (5, True)
    nowhere = clinic("pull", "https://no-such-host.invalid/x", "-d", "d", "--limit", "1", ok=False)
    assert (nowhere.code, "no machine of the name" in nowhere.err) == (5, True)


def test_credentials_go_to_the_named_archive_alone(
    clinic: Clinic, liar: Lies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDVAE_PACS_TOKEN", "the-token")
    lie(liar, person(1), b"")

    def elsewhere(request: Liar) -> None:
        request.send_response(307)
        request.send_header("Location", "/stolen")
        request.send_header("Content-Length", "0")
        request.end_headers()

    liar.replies["/web/studies"] = elsewhere
    refused(clinic, liar, 5, "no redirect is followed")
    assert [path.partition("?")[0] for path, _ in liar.asked] == ["/web/studies"]
    assert liar.asked[0][1]["Authorization"] == "Bearer the-token"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("http://pacs.example/web",), "in the clear"),
        (("https://ada:gulliver@pacs.example/web",), "MEDVAE_PACS_USER"),
        (("ftp://pacs.example/web",), "no address"),
        (("PACS@host:99999",), "port"),
        (("http://127.0.0.1:1/web", "--ca", "x"), "https://"),
        (("https://127.0.0.1:1/web", "--plaintext"), "asks for it"),
        (("http://127.0.0.1:1/web", "--date", "2020"), "YYYYMMDD"),
        (("http://127.0.0.1:1/web", "--study", "1.2/3"), "UID"),
        (("http://127.0.0.1:1/web", "--patient-id", "*"), "PatientID"),
        (("http://127.0.0.1:1/web", "--modality", "us"), "ct, mri, pet"),
        (("http://127.0.0.1:1/web", "--limit", "0"), "--limit"),
        (("http://127.0.0.1:1/web", "--timeout", "0"), "--timeout"),
        (("http://127.0.0.1:1/web", "--memory-limit", "0"), "--memory-limit"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anybody_is_asked(
    clinic: Clinic, words: tuple[str, ...], what: str
) -> None:
    more = () if "--limit" in words else ("--limit", "1")
    got = clinic("pull", *words, "-d", "d", *more, ok=False)
    assert (got.code, what in got.err) == (2, True), got.err
    assert "gulliver" not in got.err


def test_everything_that_an_archive_has_is_never_fetched(clinic: Clinic) -> None:
    got = clinic("pull", "http://127.0.0.1:1/web", "-d", "d", ok=False)
    assert (got.code, "--study" in got.err) == (2, True)


def test_memory_is_given_back(clinic: Clinic, liar: Lies) -> None:
    def held() -> int:
        links = [f.readlink() for f in Path("/proc/self/fd").iterdir() if f.is_symlink()]
        return sum("memfd:medvae" in str(link) for link in links)

    lie(liar, person(1), multipart(person(1)))
    clinic("pull", liar.web, "-d", "d", "--limit", "5")
    lie(liar, person(1), multipart(person(1)[:2]))
    clinic("pull", liar.web, "-d", "d", "--limit", "5", ok=False)
    assert held() == 0


def test_only_what_was_received_is_a_source(tmp_path: Path) -> None:
    assert stage.Received("a", 3, (), "1.2").label == "a"
