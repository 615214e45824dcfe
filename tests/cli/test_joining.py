"""Who may join a training from another machine, and who is dropped: real TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from medvae.api import far_link, invitations, joining, relay, working
from medvae.api.invitations import Invitation
from medvae.api.joining import Asked, Joining
from medvae.errors import AccessError, IntegrityError, UsageError
from medvae.privacy.turns import SharedCount
from medvae.vault.certificates import issue
from tests.cli.joiners import HOUR, Heard, come, invitation, joined, of, quiet, tls, with_


def plain(found: Invitation, seconds: float) -> None:
    with socket.create_connection((found.host, found.port)) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        sock.settimeout(seconds)
        while sock.recv(100):
            pass


def silent(found: Invitation, seconds: float) -> None:
    """A byte now and then, as if a handshake were to come."""
    with socket.create_connection((found.host, found.port)) as sock:
        for byte in b"\x16\x03\x01\x02\x00" * 100:
            sock.sendall(bytes([byte]))
            time.sleep(seconds / 5)


def old(found: Invitation, seconds: float) -> None:
    context = with_(found.certificate, found.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    tls(found, context)


def nobody(found: Invitation, seconds: float) -> None:
    tls(found, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def foreign(found: Invitation, seconds: float) -> None:
    other = issue(HOUR)
    tls(found, with_(other.client.decode(), other.client_key.decode()))


def dumb(found: Invitation, seconds: float) -> None:
    """The right certificate, and no word."""
    context = invitations.client_context(found)
    with (
        socket.create_connection((found.host, found.port)) as sock,
        context.wrap_socket(sock) as secure,
    ):
        secure.settimeout(4 * seconds)
        assert secure.recv(100) == b""


def talkative(found: Invitation, seconds: float) -> None:
    """The right certificate, and a record longer than there are."""
    context = invitations.client_context(found)
    with (
        socket.create_connection((found.host, found.port)) as sock,
        context.wrap_socket(sock) as secure,
    ):
        secure.sendall(struct.pack("<cI", relay.HELLO, 1 << 31))
        assert secure.recv(100) == b""


@pytest.mark.parametrize(
    "stranger", [plain, silent, old, nobody, foreign, dumb, talkative], ids=lambda one: one.__name__
)
def test_a_stranger_is_dropped_and_ends_nothing(tmp_path, monkeypatch, stranger) -> None:
    seconds = 1.0
    monkeypatch.setattr(relay, "HELLO_SECONDS", seconds)
    heard, path = Heard(), tmp_path / "in"

    def knock(found: Invitation) -> None:
        # What is dropped sees an error of TLS, a reset or an end.
        try:
            stranger(found, seconds)
        except OSError:
            return

    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, heard) as others:
        found = invitation(path)
        knock(found)
        (link,) = joined(others, found, quiet)
        link.close()
    dropped = [one for one in heard.said if "was dropped" in one]
    assert len(dropped) == 1
    why = "it said nothing" if stranger in (dumb, talkative) else "it showed no certificate"
    assert dropped[0].startswith(f"a connection from 127.0.0.1 was dropped: {why}")
    assert any("has joined; all are here" in one for one in heard.said)


@pytest.mark.parametrize(("valid", "dropped"), [(-1.5 * HOUR, 1), (HOUR, 0)])
def test_an_expired_certificate_is_dropped(valid, dropped) -> None:
    # Good until half an hour ago, with the hour by which clocks may differ.
    made = issue(valid)
    listener = joining._bound("127.0.0.1:0")
    with listener:
        heard = Heard()
        others = Joining(listener, invitations.server_context(made), 1, heard)
        host, port = listener.getsockname()
        found, context = of(made, host, port), with_(made.client.decode(), made.client_key.decode())
        let_in = False
        try:
            with contextlib.suppress(OSError):
                tls(found, context)
        except AssertionError:
            let_in = True
        if dropped:
            with pytest.raises(IntegrityError, match="or the invitation has expired"):
                asyncio.run(come(found))
        others.close()
    assert let_in == (not dropped)
    assert others._joined == 1 - dropped


@pytest.mark.parametrize("which", ["authority", "server"])
def test_whoever_answers_in_the_place_of_the_first_process_learns_nothing(tmp_path, which) -> None:
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()):
        found = vars(invitation(path))
        other = getattr(issue(HOUR), which).decode()
        with pytest.raises(IntegrityError, match="is not the first process of the training"):
            asyncio.run(come(Invitation(**(found | {which: other}))))


def test_a_foreign_invitation_is_told_so(tmp_path) -> None:
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()):
        found, other = vars(invitation(path)), issue(HOUR)
        mixed = {"certificate": other.client.decode(), "key": other.client_key.decode()}
        with pytest.raises(AccessError, match="did not let this one in"):
            asyncio.run(come(Invitation(**(found | mixed))))


def test_nobody_joins_when_all_have_and_the_invitation_is_gone(tmp_path) -> None:
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        found = invitation(path)
        assert path.stat().st_mode & 0o777 == 0o600
        (link,) = joined(others, found, quiet)
        assert not path.exists()
        with pytest.raises(AccessError, match="nobody answers at 127"):
            working._connected(found)
        # A file that somebody else makes there since is not ours to remove.
        path.write_text("another's")
        link.close()
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (relay.TURN, struct.pack("<Q", 1 << 60)),
        (relay.TURN, b""),
        (b"?", b""),
        (relay.BEAT, b"x"),
        (relay.BEAT, struct.pack("<d", float("nan"))),
    ],
)
def test_a_record_that_is_none_ends_the_link_with_a_sentence(tmp_path, kind, body) -> None:
    async def after(far: relay.Far) -> None:
        await asyncio.sleep(0.5)
        await far.send(kind, body)
        await quiet(far)

    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (link,) = joined(others, invitation(path), after)
        count = SharedCount.fresh()
        link.give(count)
        with pytest.raises(AccessError, match=r"has ended \(it sent what is no record\)"):
            link.receive("code")
        link.close()
        count.close()


def test_turns_are_counted_with_those_of_this_machine(tmp_path) -> None:
    taken: list[int] = []

    async def after(far: relay.Far) -> None:
        await asyncio.sleep(0.5)
        for number in (0, 0, 3):
            await far.send(relay.TURN, struct.pack("<Q", number))
            kind, body = relay.BEAT, b""
            while kind == relay.BEAT:
                kind, body = await far.receive()
            taken.extend(struct.unpack("<Q", body))
        await quiet(far)

    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (link,) = joined(others, invitation(path), after)
        count = SharedCount.fresh()
        link.give(count)
        assert [count.take(0), count.take(0)] == [0, 1]
        until = time.monotonic() + 20
        while len(taken) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        assert taken == [2, 3, 0]
        assert count.take(0) == 4
        link.close()
        count.close()


def test_a_machine_that_goes_silent_is_given_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(relay, "SILENCE", 1.0)

    async def after(far: relay.Far) -> None:
        await asyncio.sleep(5)

    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (link,) = joined(others, invitation(path), after)
        with pytest.raises(AccessError, match=r"has ended \(nothing came from it for 1 s\)"):
            link.receive("code")
        link.close()


def test_time_before_it_was_waited_for_does_not_count_as_idle() -> None:
    beats = far_link.Beats()
    beats.heard(7200.0)
    assert 7200 <= beats.idle() < 7210
    assert far_link.Watch(beats).idle() < 10


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "host",
        "host:",
        ":7000",
        "host:x",
        "host:65536",
        "host:²",
        "0.0.0.0:1",
        "[::]:1",
        "0:1",
        "[::0]:1",
    ]
    + ["0x0:1", "[::ffff:0.0.0.0]:1", "*:1", "host:" + "9" * 5000],
)
def test_an_address_that_is_none_is_refused(tmp_path, listen) -> None:
    with (
        pytest.raises(UsageError, match="--listen"),
        joining.joining(Asked(listen, tmp_path / "in", "local", 1.0), 1, Heard()),
    ):
        pass
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("listen", ["192.0.2.1:7000", "x" * 70 + ":7000", "a..b:7000"])
def test_an_address_of_another_machine_is_refused(tmp_path, listen) -> None:
    with (
        pytest.raises(AccessError, match="nothing can listen"),
        joining.joining(Asked(listen, tmp_path / "in", "local", 1.0), 1, Heard()),
    ):
        pass


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name == "medvae machines"]
