"""Processes that join a training as `medvae work` does, or nearly so: real TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from medvae.api import invitations, relay, working
from medvae.api.invitations import Invitation
from medvae.api.joining import Joining
from medvae.privacy.link import Link
from medvae.progress import Silent
from medvae.vault.certificates import Certificates

HOUR = timedelta(hours=1)


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def notify(self, sentence: str) -> None:
        self.said.append(sentence)


def invitation(path: Path) -> Invitation:
    return invitations.load(path)


async def come(found: Invitation) -> relay.Far:
    """Join as `medvae work` does."""
    sock = socket.create_connection((found.host, found.port))
    return await working._joined(sock, invitations.client_context(found), found)


def joined(others: Joining, found: Invitation, after: Callable[[relay.Far], Any]) -> list[Link]:
    """The links of a training that one has joined, which then does what `after` says."""

    async def other() -> None:
        far = await come(found)
        await after(far)
        await far.close()

    thread = threading.Thread(target=lambda: asyncio.run(other()), daemon=True)
    thread.start()
    return others.links(1.0)


async def quiet(far: relay.Far) -> None:
    while True:
        try:
            kind, _ = await far.receive()
        except relay.EndedError:
            return
        if kind == relay.END:
            return


def tls(found: Invitation, context: ssl.SSLContext) -> None:
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((found.host, found.port)) as sock,
        context.wrap_socket(sock) as secure,
    ):
        secure.sendall(struct.pack("<cI", relay.HELLO, len(relay.GREETING)) + relay.GREETING)
        while secure.recv(100):
            raise AssertionError("let in")


def with_(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with invitations._in_memory((certificate + key).encode()) as path:
        context.load_cert_chain(path)
    return context


def of(made: Certificates, host: str, port: int) -> Invitation:
    pems = (made.authority, made.server, made.client, made.client_key)
    return Invitation(host, port, "local", *(pem.decode() for pem in pems))


@contextlib.contextmanager
def flood(found: Invitation, count: int) -> Iterator[None]:
    """Keep so many silent connections open, each of which comes again when it is dropped."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            try:
                with socket.create_connection((found.host, found.port), 1.0) as sock:
                    sock.settimeout(0.2)
                    while not over.is_set():
                        with contextlib.suppress(TimeoutError):
                            if not sock.recv(1):
                                break
            except OSError:
                time.sleep(0.05)

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
