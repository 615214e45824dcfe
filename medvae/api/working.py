"""`work`: processes of this machine that take part in a training which another machine leads.

This process holds the TLS connections. Each process that measures patients is one of its own, as
`--workers` starts them on the first machine, and is reached by Unix sockets alone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from medvae import frames
from medvae.api import crew, invitations, processes, relay
from medvae.api.invitations import Invitation, UnfinishedError
from medvae.api.results import WorkResult
from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError, UsageError
from medvae.idle import Watch
from medvae.options.flags import called_with
from medvae.options.work import WorkOptions
from medvae.progress import notify

_POLL = 0.5
# A connection that lost its place to others before it could show its certificate tries again.
_TRIES = 5
Answer = TypeVar("Answer")


@called_with(WorkOptions)
def work(options: WorkOptions) -> WorkResult:
    """Take part in a training that another machine leads; returns when it is done.

    Nothing is written, and no identity or passphrase is read: the first process unwraps the
    tenant's keys for this run. Nothing is asked of the network but the invitation's address, and
    the tenant's store where it is not the vault's folder.

    Args:
        invitation: the file that a training with `listen` has written.
        vault: the vault's folder on this machine; None: the default one. Of a tenant in an object
            store it may be empty.
        processes: that take part, each of which counts.
        wait: minutes for which the invitation and its training are waited for.

    Raises:
        UsageError: the number of processes or minutes is out of range.
        NotFoundError: there is no invitation, or not the vault's folder.
        InputError: the invitation is none.
        AccessError: others can read it, nobody answers, or the training ended before it was done.
        IntegrityError: whoever answers is another. Else what a process failed with.
    """
    from medvae.api.tenancy import default_vault

    if not 1 <= options.processes <= crew.MOST_WORKERS:
        raise UsageError(f"--processes must be 1 to {crew.MOST_WORKERS}, not {options.processes}")
    if not 0 <= options.wait < float("inf"):
        raise UsageError("--wait must be a number of minutes from 0")
    began = time.monotonic()
    until = began + 60 * options.wait
    path = Path(options.invitation)
    not_yet = (NotFoundError, UnfinishedError)
    invitation = _patiently(lambda: invitations.load(path), not_yet, until)
    vault = (default_vault() if options.vault is None else Path(options.vault)).absolute()
    if invitation.store == "local" and not vault.is_dir():
        raise NotFoundError(
            f"there is no vault at {vault}: name the folder under which this machine reaches the "
            "vault of the training (--vault)"
        )
    context = invitations.client_context(invitation)
    sock = _patiently(lambda: _connected(invitation), (AccessError,), until)
    count = asyncio.run(_work(sock, context, invitation, vault, options, until))
    refused = options.processes - count
    return WorkResult(invitation.address, count, refused, time.monotonic() - began)


def _patiently(
    what: Callable[[], Answer], refused: tuple[type[MedvaeError], ...], until: float
) -> Answer:
    while True:
        try:
            return what()
        except refused:
            if time.monotonic() >= until:
                raise
        time.sleep(_POLL)


def _connected(invitation: Invitation) -> socket.socket:
    try:
        return socket.create_connection((invitation.host, invitation.port), relay.HELLO_SECONDS)
    except (OSError, ValueError) as error:
        slow = isinstance(error, TimeoutError)
        why = "no answer in time" if slow else "it is no name of a machine"
        why = getattr(error, "strerror", None) or why
        kind = _NoPlaceError if isinstance(error, ConnectionRefusedError) else AccessError
        raise kind(
            f"nobody answers at {invitation.address} ({why}): the training has "
            "all its processes, has ended, or its machine cannot be reached from here"
        ) from error


async def _work(
    sock: socket.socket,
    context: ssl.SSLContext,
    invitation: Invitation,
    vault: Path,
    options: WorkOptions,
    until: float,
) -> int:
    """Take part with as many processes as are let in; returns how many these were."""
    connections = await _all_let_in(sock, context, invitation, options, until)
    many = _many(len(connections))
    members = [
        _Member(far, invitation, f"process {number} of {many} of this machine")
        for number, far in enumerate(connections, 1)
    ]
    notify(options.progress, f"{many} joined the training at {invitation.address}")
    threads = processes.threads_each(len(members))
    begun = [asyncio.create_task(one.serve(vault, threads, len(members))) for one in members]
    try:
        await asyncio.gather(*begun)
    finally:
        for one in begun:
            one.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
    failures = [one.failure() for one in members]
    # What went wrong here says more than that all ended.
    for failure in sorted((f for f in failures if f is not None), key=lambda f: f[0]):
        raise failure[1]
    return len(members)


async def _all_let_in(
    sock: socket.socket,
    context: ssl.SSLContext,
    invitation: Invitation,
    options: WorkOptions,
    until: float,
) -> list[relay.Far]:
    """Connections of as many processes as are let in, which is tried until then."""
    found = [await _let_in(sock, context, invitation)]
    beats: list[asyncio.Task[None]] = []
    try:
        while len(found) < options.processes:
            # Nothing is started for it yet; without a word its place would be lost meanwhile.
            idle = partial(_since, time.monotonic())
            beats.append(asyncio.create_task(relay.beat(found[-1], idle)))
            found.append(await _one_more(context, invitation, until))
    except AccessError as error:
        # Those who are in stay in: the training may have no place for more.
        surplus = _many(options.processes - len(found))
        notify(options.progress, f"{surplus} of {options.processes} cannot take part: {error}")
    finally:
        for one in beats:
            one.cancel()
        await asyncio.gather(*beats, return_exceptions=True)
    return found


async def _one_more(context: ssl.SSLContext, invitation: Invitation, until: float) -> relay.Far:
    """Another connection of this machine, unless there is no place for it, or none until then."""
    while True:
        try:
            sock = await asyncio.to_thread(_connected, invitation)
            return await _let_in(sock, context, invitation)
        except _NoPlaceError:
            raise
        except AccessError:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(_POLL)


def _since(began: float) -> float:
    return time.monotonic() - began


def _many(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


async def _let_in(
    sock: socket.socket, context: ssl.SSLContext, invitation: Invitation
) -> relay.Far:
    """As `_joined`, and once more where the connection was cut before an answer."""
    for _ in range(_TRIES - 1):
        try:
            return await _joined(sock, context, invitation)
        except _CutOffError:
            await asyncio.sleep(_POLL)
        sock = await asyncio.to_thread(_connected, invitation)
    return await _joined(sock, context, invitation)


class _NoPlaceError(AccessError):
    """All processes of the training have joined, or it listens no longer."""


class _CutOffError(AccessError):
    """The connection has ended without a word, as when others took its place."""


async def _joined(
    sock: socket.socket, context: ssl.SSLContext, invitation: Invitation
) -> relay.Far:
    sock.setblocking(False)
    far = None
    try:
        async with asyncio.timeout(2 * relay.HELLO_SECONDS):
            far = await relay.Far.over(sock, context, server=False)
            try:
                invitations.pinned(invitation, far.certificate())
            except IntegrityError:
                await far.close()
                raise
            await far.send(relay.HELLO, relay.GREETING)
            kind, body = await far.receive()
            if (kind, body) == (relay.HELLO, relay.GREETING):
                return far
            await far.close()
            if kind == relay.END:
                kind_of = _NoPlaceError if body == relay.FULL else AccessError
                raise kind_of(
                    f"the training at {invitation.address} takes no more processes: "
                    f"{relay.printable(body)}"
                )
    except ssl.SSLCertVerificationError as error:
        raise IntegrityError(
            f"whoever answers at {invitation.address} is not the first process of the training "
            "that this invitation is of, or the invitation has expired: nothing was sent"
        ) from error
    except (OSError, TimeoutError, relay.EndedError) as error:
        if far is not None:
            await far.close()
        # A certificate that is refused is refused by a word of TLS.
        refused = isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)
        kind_of = AccessError if refused or isinstance(error, TimeoutError) else _CutOffError
        raise kind_of(
            f"the first process at {invitation.address} did not let this one in: the invitation is "
            "of another training or has expired, or all processes have joined"
        ) from error
    raise AccessError(f"{invitation.address} runs another version of medvae: install one on both")


class _Member:
    """One process of this machine and its connection."""

    def __init__(self, far: relay.Far, invitation: Invitation, name: str) -> None:
        self._far, self._invitation, self._name = far, invitation, name
        self._turns: asyncio.Queue[int] = asyncio.Queue()
        self._told: dict[str, object] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._far_end: str | None = None

    async def serve(self, vault: Path, threads: int, here: int) -> None:
        """Start the process and carry its link until it or the other machine has ended."""
        near, link = socket.socketpair()
        ours, side = socket.socketpair()
        with link, side:
            words = (str(threads), str(here), self._invitation.store, str(vault))
            process = processes.begin((link, side), words, threads, self._name)
        self._process = process
        asked = asyncio.create_task(self._ask(ours))
        try:
            idle = Watch(process.pid).idle
            await relay.relay(self._far, near, self._handle, idle, self._ending, self._ended)
            await self._over()
            await asked
        finally:
            asked.cancel()
            process.kill()
            process.wait()

    def failure(self) -> tuple[int, MedvaeError] | None:
        """What went wrong, and how little it says (0: most)."""
        from medvae.privacy.link import failure

        assert self._process is not None
        code = self._process.returncode
        if code == 0:
            return None
        if self._told is not None:
            return 0, failure(self._told, self._name)
        if self._far_end is None:
            how = processes.ending(self._process)
            return 1, AccessError(f"{self._name} has ended ({how}), and with it the training")
        why = f" ({self._far_end})" if self._far_end else ""
        return 2, AccessError(
            f"the training at {self._invitation.address} ended before it was done{why}: the output "
            "of its first process says why; it goes on with --resume and a new invitation"
        )

    async def _ask(self, side: socket.socket) -> None:
        """Carry the process's questions for turns, and hear of its failure."""
        reader, writer = await asyncio.open_unix_connection(sock=side)
        try:
            while True:
                size, _ = frames.LENGTHS.unpack(await reader.readexactly(frames.LENGTHS.size))
                head = json.loads(await reader.readexactly(size))
                if "error" in head:
                    self._told = head
                    continue
                await self._far.send(relay.TURN, struct.pack("<Q", head["take"]))
                answer = json.dumps({"turn": await self._turns.get()}).encode()
                writer.write(frames.LENGTHS.pack(len(answer), 0) + answer)
                await writer.drain()
        except (OSError, EOFError, relay.EndedError):
            return
        finally:
            writer.close()

    def _handle(self, kind: bytes, body: bytes) -> None:
        if kind == relay.TURN and len(body) == 8:
            self._turns.put_nowait(struct.unpack("<Q", body)[0])
        elif kind != relay.BEAT:
            raise ValueError("no record of ours")

    async def _ending(self) -> str:
        """How the process ended, for the other machine."""
        assert self._process is not None
        await self._over()
        return "" if self._process.returncode == 0 else processes.ending(self._process)

    async def _over(self) -> None:
        """Return when the process has ended by itself, or in a while."""
        assert self._process is not None
        wait = partial(self._process.wait, relay.LINGER)
        await asyncio.to_thread(_quietly, wait)

    def _ended(self, how: str) -> None:
        if self._process is not None and self._process.poll() is None:
            self._far_end = how


def _quietly(wait: Callable[[], int]) -> None:
    try:
        wait()
    except subprocess.TimeoutExpired:
        return
