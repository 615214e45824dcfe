"""`medvae pull --move`: a real Orthanc sends to us by C-MOVE, and archives that do it wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.cli.conftest import Clinic, Outcome
from tests.ingest.ingest_makers import taken, write
from tests.pacs.conftest import free_port, needs_orthanc, orthanc
from tests.pacs.test_dimse_faults import Lies as Searched
from tests.pacs.test_dimse_faults import refused
from tests.pacs.test_pull_web import person, stored
from tests.pacs.test_tls import Authority, authority, gateway  # noqa: F401


@needs_orthanc
def test_a_real_archive_moves_studies_to_us_voxel_for_voxel(clinic: Clinic, tmp_path: Path) -> None:
    port = free_port()
    us = {"AET": "MEDVAE", "Host": "127.0.0.1", "Port": port, "AllowGet": False}
    people = [person(1), person(2), person(3, modality="MR")]
    # It answers no C-GET, which is what C-MOVE is for.
    with orthanc(
        tmp_path / "store", DicomModalities={"us": us}, DicomAlwaysAllowGet=False
    ) as running:
        for slices in people:
            running.add(slices, tmp_path)
        words = ("pull", running.dimse, "-d", "d", "--modality", "ct")
        got = clinic(*words, ok=False)
        assert (got.code, "--move" in got.err) == (5, True), got.err
        got = clinic(*words, "--move", port).json
        again = clinic(*words, "--move", port).json
    assert (got["pulled"]["studies"], got["pulled"]["instances"]) == (2, 10)
    assert (got["subjects"], got["volumes"], got["quarantined"]) == (2, 2, [])
    assert (again["version"], again["added"]) == (1, 0)
    wanted = [taken(write(tmp_path / str(n), person(n)))[0].volume.voxels.tobytes() for n in (1, 2)]
    assert sorted(v.tobytes() for v in stored(clinic, "d")) == sorted(wanted)
    pixels = people[0][0].PixelData
    for path in (clinic.root).rglob("*"):
        if path.is_file() and not {"store", "1"} & set(path.relative_to(tmp_path).parts):
            assert path.suffix == ".dcm" or pixels not in path.read_bytes(), path


@needs_orthanc
def test_a_real_archive_that_does_not_know_us_says_so(clinic: Clinic, tmp_path: Path) -> None:
    closed, port = free_port(), free_port()
    known = {"shut": ["SHUT", "127.0.0.1", closed]}
    with orthanc(tmp_path / "store", DicomModalities=known) as running:
        running.add(person(1), tmp_path)
        move = ("--move", str(port))
        refused(clinic, running.dimse, 5, f"does not send to MEDVAE at port {port}", *move)
        refused(clinic, running.dimse, 5, f"SHUT at port {port}", *move, "--aet", "SHUT")


@dataclass
class Moves(Searched):
    """An archive of one study, which sends it where it is told to; a test changes what it does.

    Attributes:
        to: the port that it sends to.
        status: that of its only answer, instead of sending.
        tls: how it sends.
    """

    to: int = 0
    status: int = 0x0000
    tls: Any = None

    def move(self, event: Any) -> Iterator[Any]:
        """Answers to C-MOVE; what is sent goes by an association of its own."""
        if self.status:
            yield None, None
            return
        yield "127.0.0.1", self.to, {"tls_args": self.tls} if self.tls else {}
        yield len(self.sent)
        for data in self.sent:
            self.during(event)
            yield 0xFF00, data
        self.during(event)


@pytest.fixture
def liar() -> Iterator[Moves]:
    lies = Moves(free_port(), to=free_port())
    entity = AE("LIAR")
    entity.add_requested_context(CTImageStorage)
    entity.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    handlers: list[Any] = [(evt.EVT_C_FIND, lies.find), (evt.EVT_C_MOVE, lies.move)]
    server = entity.start_server(("127.0.0.1", lies.port), block=False, evt_handlers=handlers)
    yield lies
    server.shutdown()


def wrong(clinic: Clinic, liar: Moves, code: int, words: str, *more: str) -> Outcome:
    """One sentence, nothing stored, and nobody listens any more."""
    got = refused(clinic, liar.address, code, words, "--move", str(liar.to), *more)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", liar.to), 1)
    return got


def test_the_archive_of_these_tests_can_tell_the_truth(clinic: Clinic, liar: Moves) -> None:
    words = ("pull", liar.address, "--limit", "5", "--move", liar.to)
    assert clinic(*words, "-d", "d").json["volumes"] == 1
    liar.count = None
    assert clinic(*words, "-d", "e").json["volumes"] == 1


def test_one_that_answers_no_c_get_is_named_with_the_way_out(clinic: Clinic, liar: Moves) -> None:
    refused(clinic, liar.address, 5, "does not answer C-GET: have its administrator allow")


def test_half_a_study_is_refused(clinic: Clinic, liar: Moves) -> None:
    liar.sent = person(1)[:3]
    wrong(clinic, liar, 3, "sent 3 instances of a series of which it lists 5")
    liar.sent = []
    wrong(clinic, liar, 3, f"nothing came to MEDVAE at port {liar.to}")
    liar.sent = [*person(1)[:4], person(1)[0]]
    wrong(clinic, liar, 3, "sent an image twice")


def test_nothing_arrives_where_it_is_told_another_port(clinic: Clinic, liar: Moves) -> None:
    other = free_port()
    got = ("--move", str(other))
    refused(clinic, liar.address, 5, f"does not send to MEDVAE at port {other}", *got)


def test_another_study_or_patient_than_was_asked_for_is_refused(
    clinic: Clinic, liar: Moves
) -> None:
    liar.sent = [*person(1)[:4], person(2)[4]]
    wrong(clinic, liar, 3, "another study than was asked for")
    liar.count = 4
    wrong(clinic, liar, 3, "another study than was asked for")
    liar.sent, liar.count = person(1), 5
    wrong(clinic, liar, 3, "another patient than was asked for", "--patient-id", "PAT-2")


def test_a_destination_that_is_unknown_is_named(clinic: Clinic, liar: Moves) -> None:
    liar.status = 0xA801
    got = wrong(clinic, liar, 5, f"does not send to MEDVAE at port {liar.to}")
    assert "have its administrator enter that title" in got.err


def stray(port: int, images: list[Dataset]) -> None:
    """Somebody else sends to the port."""
    entity = AE("STRANGER")
    entity.add_requested_context(CTImageStorage)
    assoc = entity.associate("127.0.0.1", port, ae_title="MEDVAE")
    if assoc.is_established:
        with suppress(RuntimeError, ValueError):
            for image in images:
                assoc.send_c_store(image)
        assoc.abort()


def test_what_somebody_else_sends_is_never_stored(clinic: Clinic, liar: Moves) -> None:
    once = threading.Event()

    def during(event: Any) -> None:
        if not once.is_set():
            once.set()
            stray(liar.to, person(2))

    liar.during = during
    wrong(clinic, liar, 3, "another sender to port")


def test_it_is_not_silent_while_it_sends(clinic: Clinic, liar: Moves) -> None:
    liar.during = lambda event: time.sleep(2)
    wrong(clinic, liar, 5, "silent for 0.6 seconds", "--timeout", "0.6")


def test_more_than_there_is_room_for_ends_it(clinic: Clinic, liar: Moves) -> None:
    big = person(1)[0]
    big.Rows, big.Columns, big.PixelData = 4096, 4096, bytes(2 * 4096 * 4096)
    liar.sent = [big]
    wrong(clinic, liar, 3, "--memory-limit", "--memory-limit", "0.004")


def test_tls_proves_all_three(
    clinic: Clinic,
    liar: Moves,
    authority: Authority,  # noqa: F811
    tmp_path: Path,
) -> None:
    import ssl

    ours, key = authority.sign("ours")
    proof = ("--client-cert", ours, "--client-key", key)
    with gateway(liar.port, *authority.sign("archive"), None) as port:
        address = f"LIAR@127.0.0.1:{port}"
        words = ("pull", address, "-d", "d", "--limit", "5", "--move", liar.to)
        words = (*words, "--ca", authority.file)
        refused(clinic, address, 2, "--client-cert", *map(str, words[4:]))
        # It sends without TLS, or by a certificate of nobody's: nothing comes.
        other = Authority.new(tmp_path / "other")
        for files in ((), other.sign("stranger"), authority.sign("sender")):
            if files:
                context = ssl.create_default_context(cafile=authority.file)
                context.load_cert_chain(*files)
                liar.tls = (context, "127.0.0.1")
            got = clinic(*words, *proof, "--timeout", "5", ok=False)
            right = files and files[0].parent == authority.folder
            assert got.code == (0 if right else 5), got.err
    assert got.json["volumes"] == 1


@pytest.mark.parametrize(
    ("peer", "words", "code", "what"),
    [
        ("https://127.0.0.1:1/x", (), 2, "--move is for an archive that speaks DIMSE"),
        ("PACS@127.0.0.1:1", ("--move", "0"), 2, "--move must be a port from 1 to 65535"),
        ("PACS@192.0.2.7:1", ("--plaintext",), 2, "cannot send to 127.0.0.1: give --bind"),
        ("PACS@127.0.0.1:1", ("--bind", "0.0.0.0"), 2, "--client-cert and --client-key"),
        ("PACS@127.0.0.1:1", ("--bind", "192.0.2.1", "--plaintext"), 5, "another --move"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(
    clinic: Clinic, peer: str, words: tuple[str, ...], code: int, what: str
) -> None:
    move = () if "--move" in words else ("--move", str(free_port()))
    refused(clinic, peer, code, what, *move, *words)
