"""`medvae pull` from archives that lie, fail or fall silent in the middle of DIMSE."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from tests.cli.conftest import Clinic, Outcome
from tests.pacs.conftest import free_port
from tests.pacs.test_pull_web import person, study_of
from tests.pacs.test_tls import Authority, authority, gateway  # noqa: F401


@dataclass
class Lies:
    """An archive of one study; a test changes what it says.

    Attributes:
        asked: the study that it lists, and how many images it says that this has.
        sent: the images that it sends.
        during: called before each answer of C-GET.
    """

    port: int
    asked: list[Dataset] = field(default_factory=lambda: person(1))
    sent: list[Dataset] = field(default_factory=lambda: person(1))
    count: int | None = 5
    uid: str | None = None
    during: Callable[[Any], object] = lambda event: None

    @property
    def address(self) -> str:
        return f"LIAR@127.0.0.1:{self.port}"

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        item = Dataset()
        item.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
        item.StudyInstanceUID = study_of(self.asked) if self.uid is None else self.uid
        if item.QueryRetrieveLevel == "SERIES":
            item.SeriesInstanceUID = self.asked[0].SeriesInstanceUID
            item.Modality = "CT"
            item.NumberOfSeriesRelatedInstances = "" if self.count is None else str(self.count)
        yield 0xFF00, item

    def get(self, event: Any) -> Iterator[Any]:
        yield len(self.sent)
        for data in self.sent:
            self.during(event)
            yield 0xFF00, data
        self.during(event)


@pytest.fixture
def liar() -> Iterator[Lies]:
    lies = Lies(free_port())
    entity = AE("LIAR")
    for storage in (CTImageStorage, MRImageStorage):
        entity.add_supported_context(storage, scu_role=True, scp_role=True)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    handlers: list[Any] = [(evt.EVT_C_FIND, lies.find), (evt.EVT_C_GET, lies.get)]
    server = entity.start_server(("127.0.0.1", lies.port), block=False, evt_handlers=handlers)
    yield lies
    server.shutdown()


def refused(clinic: Clinic, address: str, code: int, words: str, *more: str) -> Outcome:
    """One sentence, and nothing was stored."""
    got = clinic("pull", address, "-d", "d", "--limit", "5", *more, ok=False)
    assert got.code == code, got.err
    assert words in got.err, got.err
    sentences = [line for line in got.err.splitlines() if not line.startswith("pull: done")]
    assert len(sentences) == 1, got.err
    assert clinic("dataset", "list").json["datasets"] == []
    assert clinic("verify").json["objects"] == 0
    links = [f.readlink() for f in Path("/proc/self/fd").iterdir() if f.is_symlink()]
    assert not any("memfd:medvae" in str(link) for link in links)
    return got


def test_the_archive_of_these_tests_can_tell_the_truth(clinic: Clinic, liar: Lies) -> None:
    assert clinic("pull", liar.address, "-d", "d", "--limit", "5").json["volumes"] == 1
    liar.count = None
    assert clinic("pull", liar.address, "-d", "e", "--limit", "5").json["volumes"] == 1


def test_half_a_study_is_refused(clinic: Clinic, liar: Lies) -> None:
    liar.sent = person(1)[:3]
    refused(clinic, liar.address, 3, "sent 3 instances of a series of which it lists 5")
    liar.sent = []
    refused(clinic, liar.address, 3, "without any instance")
    liar.sent = [*person(1)[:4], person(1)[0]]
    refused(clinic, liar.address, 3, "sent an image twice")


def test_another_study_or_patient_than_was_asked_for_is_refused(clinic: Clinic, liar: Lies) -> None:
    liar.sent = [*person(1)[:4], person(2)[4]]
    refused(clinic, liar.address, 3, "another study than was asked for")
    refused(clinic, liar.address, 3, "lists another study", "--study", "1.2.3")
    liar.sent = person(1)
    refused(clinic, liar.address, 3, "another patient than was asked for", "--patient-id", "PAT-2")


def test_images_that_it_cannot_send_are_counted(clinic: Clinic, liar: Lies) -> None:
    liar.sent = person(1)
    liar.sent[2].SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    refused(clinic, liar.address, 3, "could not send 1 of the images")


@pytest.mark.parametrize("uid", ["", "../../etc", "1.2/3", "9" * 65])
def test_a_list_that_is_none_is_refused(clinic: Clinic, liar: Lies, uid: str) -> None:
    liar.uid = uid
    refused(clinic, liar.address, 3, "no list of UIDs")


def test_nothing_that_a_peer_sends_reaches_the_terminal(clinic: Clinic, liar: Lies) -> None:
    liar.uid = "1.2/name-of-a-patient"
    given = ["--vault", clinic.root / "vault", "--identity", clinic.root / "key"]
    words = [*given, "pull", liar.address, "-d", "d", "--limit", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "medvae", *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "name-of-a-patient" not in done.stderr


def test_an_association_that_ends_in_the_middle(clinic: Clinic, liar: Lies) -> None:
    calls = 0

    def abort(event: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            event.assoc.abort()

    liar.during = abort
    refused(clinic, liar.address, 3, "ended the association in the middle of a study")


def test_more_than_there_is_room_for_ends_it(clinic: Clinic, liar: Lies) -> None:
    big = person(1)[0]
    big.Rows, big.Columns, big.PixelData = 4096, 4096, bytes(2 * 4096 * 4096)
    liar.sent = [big]
    refused(clinic, liar.address, 3, "--memory-limit", "--memory-limit", "0.004")


def test_silence_and_slowness_end_it(
    clinic: Clinic, liar: Lies, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar.during = lambda event: time.sleep(2)
    refused(clinic, liar.address, 5, "silent for 0.6 seconds", "--timeout", "0.6")
    monkeypatch.setattr("medvae.pacs.guard.LONGEST", 2)
    # Never as long as a silence, also where other processes hold the processor.
    liar.during = lambda event: time.sleep(0.5)
    began = time.monotonic()
    refused(clinic, liar.address, 5, "did not end its answer in 2 seconds", "--timeout", "1")
    assert time.monotonic() - began < 8


@contextmanager
def speaker(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """An address at which each connection is answered so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = server.accept()
                    with sock, suppress(OSError):
                        reply(sock)

        threading.Thread(target=serve, daemon=True).start()
        yield f"LIAR@127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def accept(sock: socket.socket) -> None:
    """Accept the association: its contexts, with the first transfer syntax of each."""
    head = sock.recv(6)
    length = struct.unpack(">L", head[2:])[0]
    body = b""
    while len(body) < length:
        body += sock.recv(length - len(body))
    items = b""
    at = 68
    while at < length:
        kind, size = body[at], struct.unpack(">H", body[at + 2 : at + 4])[0]
        if kind == 0x10 or kind == 0x50:
            items += body[at : at + 4 + size]
        if kind == 0x20:
            syntax = b"1.2.840.10008.1.2.1"
            part = b"\x40\0" + struct.pack(">H", len(syntax)) + syntax
            inner = bytes([body[at + 4], 0, 0, 0]) + part
            items += b"\x21\0" + struct.pack(">H", len(inner)) + inner
        at += 4 + size
    answer = body[:68] + items
    sock.sendall(b"\x02\0" + struct.pack(">L", len(answer)) + answer)


def command(sock: socket.socket, data: bytes, flags: int = 3) -> None:
    """Send a command, whatever it holds."""
    value = struct.pack(">LBB", len(data) + 2, 1, flags) + data
    sock.sendall(b"\x04\0" + struct.pack(">L", len(value)) + value)


def after_accepting(act: Callable[[socket.socket], object]) -> Callable[[socket.socket], None]:
    def reply(sock: socket.socket) -> None:
        accept(sock)
        act(sock)
        sock.recv(1 << 16)
        time.sleep(1)

    return reply


def endless_command(sock: socket.socket) -> None:
    while True:
        command(sock, bytes(1 << 16), flags=1)


def endless_data(sock: socket.socket) -> None:
    while True:
        command(sock, bytes(1 << 16), flags=0)


SPEECH = "does not speak DICOM as it should"
BEFORE = "before there was an association"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (lambda sock: None, 5, BEFORE),
        (lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 5, BEFORE),
        (lambda sock: sock.sendall(b"\x02\0\xff\xff\xff\xff" + bytes(99)), 3, SPEECH),
        (lambda sock: sock.sendall(b"\x02\0\0\0\0\x10" + bytes(16)), 5, "does not do what we ask"),
        (lambda sock: time.sleep(3), 5, "silent for 1 seconds"),
        (after_accepting(lambda sock: sock.sendall(b"\x04\0\xff\xff\xff\xff")), 3, SPEECH),
        (after_accepting(lambda sock: command(sock, b"")), 3, SPEECH),
        (after_accepting(lambda sock: command(sock, b"\0" * 40)), 3, SPEECH),
        (after_accepting(lambda sock: command(sock, b"\xff" * 40)), 3, SPEECH),
        (after_accepting(endless_command), 3, SPEECH),
        (after_accepting(endless_data), 3, "sends more than the 16777216 bytes"),
    ],
)
def test_what_is_no_dicom_is_one_sentence(
    clinic: Clinic,
    reply: Callable[[socket.socket], None],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medvae.pacs.guard.MOST_LISTED", 1 << 24)
    began = time.monotonic()
    with speaker(reply) as address:
        refused(clinic, address, code, words, "--timeout", "1")
    assert time.monotonic() - began < 20


def test_an_archive_that_is_down_or_in_the_clear_is_named(clinic: Clinic) -> None:
    refused(clinic, "PACS@127.0.0.1:1", 5, "nothing answers at PACS@127.0.0.1:1")
    refused(clinic, "PACS@no-such-host.invalid:104", 5, "no machine of the name")
    refused(clinic, "PACS@127.0.0.1:1", 2, "application entity title", "--aet", "a" * 17)


def test_tls_proves_the_archive(
    clinic: Clinic,
    liar: Lies,
    authority: Authority,  # noqa: F811
    tmp_path: Path,
) -> None:
    with gateway(liar.port, *authority.sign("archive"), None) as port:
        address = f"LIAR@127.0.0.1:{port}"
        other = Authority.new(tmp_path / "other")
        refused(clinic, address, 5, "cannot be verified", "--ca", str(other.file))
        refused(clinic, address, 5, BEFORE, "--timeout", "2")
        asked = ("pull", address, "-d", "d", "--limit", "5", "--ca", authority.file)
        assert clinic(*asked).json["volumes"] == 1


def test_tls_is_asked_of_one_that_has_none(
    clinic: Clinic,
    liar: Lies,
    authority: Authority,  # noqa: F811
) -> None:
    refused(clinic, liar.address, 5, "no TLS", "--ca", str(authority.file), "--timeout", "2")


def test_without_the_extra_it_says_how_to_get_it(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    refused(clinic, "PACS@127.0.0.1:1", 2, 'pip install "medvae-private[pacs]"')
