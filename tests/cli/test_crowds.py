"""Connections that say nothing keep nobody out who was invited: real TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from medvae.api import handshakes, joining, relay
from medvae.api.handshakes import Handshakes
from medvae.api.invitations import Invitation, client_context
from medvae.api.joining import Asked
from medvae.api.working import _connected, _let_in
from medvae.errors import AccessError
from tests.cli.joiners import Heard, flood, invitation, joined, quiet


def opened(found: Invitation, count: int) -> list[socket.socket]:
    """Connections that say nothing."""
    return [socket.create_connection((found.host, found.port)) for _ in range(count)]


@pytest.mark.parametrize("count", [handshakes.MOST, handshakes.MOST + 40])
def test_whoever_is_invited_gets_in_beside_silent_connections(tmp_path, count) -> None:
    path = tmp_path / "in"
    heard = Heard()
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, heard) as others:
        found = invitation(path)
        with flood(found, count):
            until = time.monotonic() + 20
            while len(others._handshakes) < handshakes.MOST and time.monotonic() < until:
                time.sleep(0.05)
            assert len(others._handshakes) == handshakes.MOST
            (link,) = joined(others, found, quiet)
            assert any("has joined; all are here" in one for one in heard.said)
            link.close()


def test_the_oldest_silent_connections_lose_their_places(tmp_path) -> None:
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        found = invitation(path)
        held = opened(found, handshakes.MOST + 30)
        until = time.monotonic() + 20
        while others._dropped < 30 and time.monotonic() < until:
            time.sleep(0.05)
        assert others._dropped == 30
        assert len(others._greeting) == handshakes.MOST
        for sock in held[:30]:
            sock.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
        for sock in held[30:]:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
        for sock in held:
            sock.close()


def test_a_silent_connection_is_dropped_in_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(relay, "HELLO_SECONDS", 0.5)
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (sock,) = opened(invitation(path), 1)
        with sock:
            sock.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
        until = time.monotonic() + 5
        while others._greeting and time.monotonic() < until:
            time.sleep(0.01)
        assert len(others._handshakes) == 0


def test_a_network_loses_no_place_to_one_that_holds_more() -> None:
    async def main() -> list[bool]:
        places, tasks = Handshakes(), []
        hosts = ["10.0.0.1"] * 3 + [f"2001:db8::{n:x}" for n in range(handshakes.MOST - 3)]
        # All addresses of one IPv6 network count together, and lose the places.
        for host in [*hosts, "10.0.0.1", "10.0.0.2", "2001:db8::ffff"]:
            task = asyncio.create_task(asyncio.sleep(60))
            places.add(task, host)
            tasks.append(task)
            assert len(places) <= handshakes.MOST
        await asyncio.sleep(0)
        gone = [task.cancelled() for task in tasks]
        assert places.remove(tasks[0])
        assert not places.remove(tasks[3])
        for task in tasks:
            task.cancel()
        return gone

    gone = asyncio.run(main())
    assert [number for number, cancelled in enumerate(gone) if cancelled] == [3, 4, 5]


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network_is_what_one_machine_has(host, network) -> None:
    assert handshakes.network_of(host) == network


@pytest.mark.parametrize("at", ["its handshake", "its first word"])
def test_a_connection_that_lost_its_place_tries_again(tmp_path, monkeypatch, at) -> None:
    """As a worker whose first connection is cut by a crowd, or by the end of a training."""
    cut: list[socket.socket] = []
    honest = joining.Joining._certificate_shown

    async def certificate_shown(self, sock, host):
        first = not cut
        cut.append(sock)
        if first and at == "its handshake":
            # Heard where it waits for the other end's part of it.
            asyncio.current_task().cancel()
        far = await honest(self, sock, host)
        if first:
            far.receive = cancelled
        return far

    async def cancelled():
        asyncio.current_task().cancel()
        await asyncio.sleep(60)

    monkeypatch.setattr(joining.Joining, "_certificate_shown", certificate_shown)
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        found = invitation(path)

        async def other() -> None:
            far = await _let_in(_connected(found), client_context(found), found)
            await quiet(far)
            await far.close()

        thread = threading.Thread(target=lambda: asyncio.run(other()), daemon=True)
        thread.start()
        (link,) = others.links(1.0)
        link.close()
        thread.join(20)
        assert len(cut) == 2


def test_who_comes_when_all_have_joined_is_told_so(tmp_path) -> None:
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        found = invitation(path)
        # At its handshake while the last place is taken.
        late = _connected(found)
        until = time.monotonic() + 5
        while not len(others._handshakes) and time.monotonic() < until:
            time.sleep(0.01)
        (link,) = joined(others, found, quiet)
        with pytest.raises(AccessError, match="takes no more processes: all its processes have"):
            asyncio.run(_let_in(late, client_context(found), found))
        link.close()
