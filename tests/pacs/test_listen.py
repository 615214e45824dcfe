"""`medvae listen`: a real Orthanc and dcmtk send to it, and senders that fail or mean harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.cli.conftest import Clinic, Outcome
from tests.ingest.ingest_makers import taken, write
from tests.pacs.conftest import free_port, needs_orthanc, orthanc
from tests.pacs.test_pull_web import person, stored
from tests.pacs.test_tls import Authority, authority  # noqa: F401

SETTLED = ("--settle", "0.3")
# So that a sender that fails does not make a test wait for ever.
LIMIT = ("--seconds", "20")


def answers(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(300):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    raise AssertionError("nobody listens")


def listened(
    clinic: Clinic, act: Callable[[int], object], *words: str | Path, port: int = 0
) -> Outcome:
    """Run `medvae listen` while `act` sends to its port."""
    port = port or free_port()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            answers(port)
            act(port)
        except BaseException as error:
            failed.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    thread.start()
    got = clinic("listen", "-d", "d", "--port", str(port), *SETTLED, *LIMIT, *words, ok=False)
    thread.join(20)
    assert not failed, traceback.format_exception(failed[0])
    return got


def associate(port: int, aet: str = "SENDER", called: str = "MEDVAE", tls: Any = None) -> Any:
    entity = AE(aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(Verification)
    return entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls)


def send(port: int, images: list[Dataset], **how: Any) -> list[int]:
    """Send images in one association, and release it."""
    assoc = associate(port, **how)
    assert assoc.is_established
    found = [assoc.send_c_store(one).Status for one in images]
    assoc.release()
    return found


def nothing_stored(clinic: Clinic) -> None:
    assert clinic("dataset", "list").json["datasets"] == []
    assert clinic("verify").json["objects"] == 0
    links = [f.readlink() for f in Path("/proc/self/fd").iterdir() if f.is_symlink()]
    assert not any("memfd:medvae" in str(link) for link in links)


@needs_orthanc
def test_a_real_archive_sends_studies_voxel_for_voxel(clinic: Clinic, tmp_path: Path) -> None:
    port = free_port()
    known = {"us": ["MEDVAE", "127.0.0.1", port]}
    with orthanc(tmp_path / "store", DicomModalities=known) as archive:
        for number in (1, 2):
            archive.add(person(number), tmp_path)
        names = archive.ask("/studies")

        def act(_: int) -> None:
            archive.ask("/modalities/us/echo", b"{}")
            archive.ask("/modalities/us/store", json.dumps(names).encode())

        got = listened(clinic, act, "--studies", "2", port=port).json
    assert got["received"]["studies"] == 2
    assert got["received"]["instances"] == 10
    assert (got["subjects"], got["volumes"], got["quarantined"]) == (2, 2, [])
    wanted = [taken(write(tmp_path / str(n), person(n)))[0].volume.voxels.tobytes() for n in (1, 2)]
    assert sorted(v.tobytes() for v in stored(clinic, "d")) == sorted(wanted)
    assert [e["outcome"] for e in clinic("log").json["events"] if e["event"] == "listen"] == [
        "success"
    ]


@pytest.mark.skipif(not shutil.which("storescu"), reason="dcmtk is missing")
def test_dcmtk_is_answered(clinic: Clinic, tmp_path: Path) -> None:
    folder = write(tmp_path / "scan", person(1))

    def act(port: int) -> None:
        to = ["-aec", "MEDVAE", "127.0.0.1", str(port)]
        subprocess.run(["echoscu", *to], check=True, timeout=20)
        files = sorted(map(str, Path(folder).rglob("*.dcm")))
        subprocess.run(["storescu", *to, *files], check=True, timeout=20)

    got = listened(clinic, act, "--studies", "1")
    assert got.json["received"]["instances"] == 5
    assert got.json["volumes"] == 1


def test_images_in_associations_of_their_own_are_one_study(clinic: Clinic) -> None:
    def act(port: int) -> None:
        for one in person(1):
            assert send(port, [one]) == [0]
        assert send(port, person(1)[:2]) == [0, 0]  # sent again: kept once

    got = listened(clinic, act, "--studies", "1").json
    assert (got["received"]["studies"], got["received"]["instances"]) == (1, 5)
    assert (got["volumes"], got["notes"][:0]) == (1, [])


def cut(port: int, images: list[Dataset]) -> None:
    assoc = associate(port)
    for one in images:
        assert assoc.send_c_store(one).Status == 0
    assoc.abort()


def test_a_study_that_is_cut_off_is_left_out_and_taken_when_sent_again(clinic: Clinic) -> None:
    def half(port: int) -> None:
        send(port, person(2))
        cut(port, person(1)[:3])

    got = listened(clinic, half, "--seconds", "4").json
    assert (got["received"]["studies"], got["volumes"]) == (1, 1)
    assert any("did not come whole and was left out" in note for note in got["notes"])

    def again(port: int) -> None:
        cut(port, person(1)[:3])
        send(port, person(1))

    got = listened(clinic, again, "--studies", "1").json
    assert (got["received"]["instances"], got["volumes"]) == (5, 2)


def test_nothing_whole_is_nothing_stored(clinic: Clinic) -> None:
    got = listened(clinic, lambda port: cut(port, person(1)), "--seconds", "3")
    assert (got.code, "no study came whole, and 1 in part" in got.err) == (3, True), got.err
    nothing_stored(clinic)
    got = clinic("listen", "-d", "d", "--port", "0", "--seconds", "0.2", ok=False)
    assert (got.code, "no study came whole:" in got.err) == (3, True), got.err


def test_ctrl_c_keeps_what_has_come_whole(clinic: Clinic) -> None:
    def act(port: int) -> None:
        send(port, person(1))
        open_one = associate(port)
        assert open_one.send_c_store(person(2)[0]).Status == 0
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    got = listened(clinic, act)
    assert (got.code, got.json["received"]["studies"], got.json["volumes"]) == (0, 1, 1)
    assert any("left out" in note for note in got.json["notes"])

    def early(port: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    got = listened(clinic, early)
    assert (got.code, "no study came whole" in got.err) == (3, True)


def test_only_those_who_may_are_heard(clinic: Clinic) -> None:
    def act(port: int) -> None:
        for how in ({"aet": "STRANGER"}, {"called": "OTHER"}):
            assert associate(port, **how).is_rejected
        send(port, person(1))

    got = listened(clinic, act, "--allow", "SENDER", "--studies", "1").json
    assert got["received"]["studies"] == 1


def test_what_is_too_large_ends_its_association(clinic: Clinic) -> None:
    big = person(1)[0]
    big.Rows, big.Columns, big.PixelData = 4096, 4096, bytes(2 * 4096 * 4096)

    def act(port: int) -> None:
        assoc = associate(port)
        assert assoc.send_c_store(big).get("Status") != 0
        # The others are still served.
        send(port, person(2))

    got = listened(clinic, act, "--studies", "1", "--memory-limit", "0.02").json
    assert (got["received"]["studies"], got["volumes"]) == (1, 1)


def patient(port: int) -> Any:
    """An association, as soon as those before it are gone."""
    for _ in range(50):
        assoc = associate(port)
        if assoc.is_established:
            return assoc
        time.sleep(0.2)
    raise AssertionError("nobody is let in")


def test_senders_beyond_the_limit_are_turned_away(clinic: Clinic) -> None:
    def act(port: int) -> None:
        first = patient(port)
        assert not associate(port).is_established
        first.release()
        second = patient(port)
        assert [second.send_c_store(one).Status for one in person(1)] == [0] * 5
        second.release()

    assert listened(clinic, act, "--associations", "1", "--studies", "1").json["volumes"] == 1


def test_an_image_of_no_study_is_refused(clinic: Clinic) -> None:
    wrong = person(1)
    del wrong[0].StudyInstanceUID
    wrong[1].StudyInstanceUID = "../../etc"

    def act(port: int) -> None:
        assert send(port, wrong[:2]) == [0xC000, 0xC000]
        send(port, person(2))

    got = listened(clinic, act, "--studies", "1").json
    assert got["received"]["instances"] == 5
    assert any("2 images were refused" in note for note in got["notes"])


def shout(port: int, data: bytes, pause: float = 0) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock, suppress(OSError):
        sock.sendall(data)
        time.sleep(pause)
        sock.recv(1000)


def test_noise_and_silence_disturb_nobody(clinic: Clinic) -> None:
    def act(port: int) -> None:
        shout(port, b"GET / HTTP/1.1\r\n\r\n")
        shout(port, b"\x01\0\xff\xff\xff\xff" + bytes(100))
        shout(port, b"\x01\0" + struct.pack(">L", 68) + bytes(68))
        shout(port, b"\x04\0" + struct.pack(">L", 6) + bytes(6))
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        time.sleep(1.5)  # longer than they may be silent: they have been cut off
        send(port, person(1))
        for sock in silent:
            sock.close()

    got = listened(clinic, act, "--studies", "1", "--timeout", "0.8", "--associations", "2")
    assert got.code == 0, got.err
    assert (got.json["received"]["studies"], got.json["volumes"]) == (1, 1)


def test_tls_proves_both_sides(
    clinic: Clinic,
    authority: Authority,  # noqa: F811
    tmp_path: Path,
) -> None:
    certificate, key = authority.sign("listener")
    ours, our_key = authority.sign("sender")
    other, other_key = Authority.new(tmp_path / "other").sign("stranger")

    def context(*files: Path) -> tuple[ssl.SSLContext, str]:
        made = ssl.create_default_context(cafile=authority.file)
        if files:
            made.load_cert_chain(*files)
        return made, "127.0.0.1"

    def act(port: int) -> None:
        assert not associate(port).is_established
        assert not associate(port, tls=context()).is_established
        assert not associate(port, tls=context(other, other_key)).is_established
        send(port, person(1), tls=context(ours, our_key))

    words = ("--cert", certificate, "--key", key, "--ca", authority.file, "--timeout", "3")
    got = listened(clinic, act, *words, "--studies", "1")
    assert got.code == 0, got.err
    assert got.json["volumes"] == 1


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("--bind", "0.0.0.0"), 2, "in the clear"),
        (("--bind", "192.0.2.1", "--plaintext"), 5, "cannot be listened at"),
        (("--ca", "x"), 2, "--cert and --key go together"),
        (("--cert", "x", "--key", "y"), 5, "is not a file"),
        (("--cert", "x", "--plaintext"), 2, "--plaintext goes without TLS"),
        (("--port", "70000"), 2, "--port"),
        (("--studies", "0"), 2, "--studies"),
        (("--seconds", "0"), 2, "--seconds"),
        (("--associations", "0"), 2, "--associations"),
        (("--aet", "much too long a title"), 2, "application entity title"),
        (("--allow", "a\\b"), 2, "application entity title"),
        (("--memory-limit", "0"), 2, "--memory-limit"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(
    clinic: Clinic, words: tuple[str, ...], code: int, what: str
) -> None:
    port = () if "--port" in words else ("--port", "0")
    got = clinic("listen", "-d", "d", *port, "--seconds", "1", *words, ok=False)
    assert (got.code, what in got.err, len(got.err.splitlines())) == (code, True, 1), got.err


def test_a_port_that_is_taken_is_named(clinic: Clinic) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        got = clinic("listen", "-d", "d", "--port", port, "--seconds", "1", ok=False)
    assert (got.code, f"127.0.0.1:{port} cannot be listened at" in got.err) == (5, True), got.err


def test_nothing_of_a_patient_reaches_a_disk(clinic: Clinic, tmp_path: Path) -> None:
    listened(clinic, lambda port: send(port, person(1)), "--studies", "1")
    pixels = person(1)[0].PixelData
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"PAT-1" not in path.read_bytes(), path
            assert pixels not in path.read_bytes(), path
