"""Processes of other machines that join a training, at the first process.

A thread of its own accepts connections while the run is begun, and carries the links of those who
have joined until the training ends. Whoever shows no certificate of this training is dropped, which
ends nothing. When all have joined nobody else can: the port is closed and the invitation removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medvae.api import invitations, relay
from medvae.api.invitations import Invitation
from medvae.errors import AccessError, MedvaeError, UsageError
from medvae.privacy.link import Link
from medvae.privacy.turns import Count, SharedCount
from medvae.progress import Progress, notify

if TYPE_CHECKING:
    from medvae.options.train import TrainOptions
    from medvae.vault import Tenant

# So many may be at their handshake at a time, and as many are accepted in a second.
_PENDING, _PER_SECOND = 64, 50
# So many notes say who was dropped; the others are counted.
_NOTES = 5
_ROUNDS = 1 << 20
_MOST_MINUTES = 7 * 24 * 60.0
_POLL = 0.2


@dataclass(frozen=True)
class Asked:
    """How others are to join.

    Attributes:
        listen: HOST:PORT. `invitation`: the file that is written. `store`: of the tenant's objects.
        minutes: how long all are waited for.
    """

    listen: str
    invitation: Path
    store: str
    minutes: float


def asked(tenant: Tenant, options: TrainOptions) -> Asked | None:
    """How processes of other machines are to join a training; None where none are.

    Raises:
        UsageError: the address is given without the invitation, or the other way round.
    """
    from medvae.vault.follow import store_of

    if options.listen is None and options.invitation is None:
        return None
    if options.listen is None or options.invitation is None:
        raise UsageError(
            "--listen and --invitation go together: the one is where other machines join, the "
            "other the file by which they do"
        )
    return Asked(options.listen, Path(options.invitation), store_of(tenant), options.wait)


class _Beats:
    """What a process of another machine says of itself."""

    def __init__(self) -> None:
        self._idle, self._at = 0.0, time.monotonic()

    def heard(self, idle: float) -> None:
        """idle: seconds for which it has used no processor time."""
        self._idle, self._at = idle, time.monotonic()

    def idle(self) -> float:
        """Seconds since it worked, as far as is known here."""
        return self._idle + time.monotonic() - self._at


class _Watch:
    """How long it has done nothing while it was waited for: before, it may have had to wait."""

    def __init__(self, beats: _Beats) -> None:
        self._beats, self._since = beats, time.monotonic()

    def idle(self) -> float:
        return min(self._beats.idle(), time.monotonic() - self._since)


class FarLink(Link):
    """A link to a process of another machine, which asks for its turns."""

    def __init__(self, sock: socket.socket, name: str, progress: Progress) -> None:
        self._count: Count | None = None
        # Held while a turn is taken, so that none is taken of a count that is closed.
        self._taking = threading.Lock()
        self._how, self._beats = "", _Beats()
        told, ending = partial(notify, progress), lambda: self._how or "its connection is closed"
        super().__init__(sock, name, ending, notify=told, watch=lambda: _Watch(self._beats))

    def give(self, count: SharedCount) -> None:
        """Take turns from this count for the other process.

        It must be the very one that this process takes from: a lock on its file would not hold two
        of one process apart.
        """
        self._count = count

    def handle(self, kind: bytes, body: bytes) -> bytes | None:
        """A turn that is asked for, or a beat. ValueError: neither."""
        if kind == relay.BEAT:
            self._beats.heard(relay.idle_of(body))
            return None
        if kind != relay.TURN or len(body) != 8:
            raise ValueError("no record of ours")
        (number,) = struct.unpack("<Q", body)
        if number >= _ROUNDS:
            raise ValueError("no round")
        with self._taking:
            if self._count is None:
                raise ValueError("no turn is to be had")
            return struct.pack("<Q", self._count.take(number))

    def close(self) -> None:
        """Close this end; no turn is given any more, and the count may be closed."""
        with self._taking:
            self._count = None
        super().close()

    def ended(self, how: str) -> None:
        """The other end is gone."""
        self._how = how

    def _failed(self, head: dict[str, object]) -> MedvaeError:
        """As `Link`'s; a path in it is one of the other machine, which is named."""
        error = super()._failed(head)
        named = str(error).startswith(self.name)
        return error if named else type(error)(f"{self.name}: {error}")


class Joining:
    """Processes that join, and those who have; made by `joining`."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        count: int,
        progress: Progress,
        full: Callable[[], None] = lambda: None,
    ) -> None:
        """full: is called when all have joined."""
        self._listener, self._context = listener, context
        self._count, self._progress, self._full = count, progress, full
        self._come: queue.SimpleQueue[str | Link] = queue.SimpleQueue()
        self._joined = self._dropped = self._pending = 0
        self._links: list[Link] = []
        self._over = asyncio.Event()
        self._greeting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="medvae machines", daemon=True)
        self._thread.start()

    def links(self, minutes: float) -> list[Link]:
        """Links to all, in the order in which they have joined; waits for them.

        Raises:
            AccessError: not all have joined within so many minutes, or one has ended since.
        """
        found: list[Link] = []
        until, others = time.monotonic() + 60 * minutes, self._count
        self._progress.start("wait for processes", others)
        while len(found) < others:
            for link in found:
                link.check()
            if time.monotonic() > until:
                raise AccessError(
                    f"{len(found)} of {_many(others, 'process', 'es')} joined within {minutes:g} "
                    "minutes (medvae work --invitation FILE on their machines); nothing was spent: "
                    "go on with --resume and a longer --wait, or fewer --workers"
                )
            try:
                come = self._come.get(timeout=_POLL)
            except queue.Empty:
                continue
            if isinstance(come, str):
                notify(self._progress, come)
                continue
            found.append(come)
            self._progress.advance(len(found))
            more = f"{others - len(found)} more awaited" if len(found) < others else "all are here"
            notify(self._progress, f"{come.name} has joined; {more}")
        self._full()
        dropped = f"{_many(self._dropped, 'connection')} dropped" if self._dropped else ""
        self._progress.finish(dropped)
        return found

    def close(self) -> None:
        """End the connections; what was sent over them goes out first."""
        for link in self._links:
            link.close()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(2 * relay.LINGER)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        self._accepting = asyncio.create_task(self._accept())
        await self._over.wait()
        self._accepting.cancel()
        # Links are closed by now, so that relays end by themselves.
        if self._greeting:
            await asyncio.wait(self._greeting, timeout=relay.LINGER)
        for task in self._greeting:
            task.cancel()
        await asyncio.gather(self._accepting, *self._greeting, return_exceptions=True)

    async def _accept(self) -> None:
        """Greet whoever connects, until all have joined."""
        with self._listener:
            while True:
                await asyncio.sleep(1 / _PER_SECOND)
                try:
                    sock, address = await self._loop.sock_accept(self._listener)
                except OSError as error:
                    self._drop("somewhere", error.strerror or str(error))
                    continue
                host = str(address[0])
                if self._pending >= _PENDING:
                    sock.close()
                    self._drop(host, "too many were there at a time")
                    continue
                task = asyncio.create_task(self._greet(sock, host))
                self._greeting.add(task)
                task.add_done_callback(self._greeting.discard)

    async def _greet(self, sock: socket.socket, host: str) -> None:
        """Let one in that shows a certificate of this training, and carry its link."""
        self._pending += 1
        far: relay.Far | None = None
        try:
            async with asyncio.timeout(relay.HELLO_SECONDS):
                far = await relay.Far.over(sock, self._context, server=True)
                if await far.receive() != (relay.HELLO, relay.GREETING):
                    raise relay.EndedError("it is of another version")
        except (OSError, TimeoutError, relay.EndedError):
            self._drop(host, "it showed no certificate of this training, or was too slow")
            if far is None:
                sock.close()
            else:
                await far.close()
            return
        finally:
            self._pending -= 1
        if self._joined == self._count:
            self._drop(host, "all processes had joined")
            await far.close()
            return
        # No await since it was looked at: no two take one place.
        self._joined += 1
        if self._joined == self._count:
            self._accepting.cancel()
        name = f"worker process {self._joined + 1} of {self._count + 1} ({host})"
        await self._carry(far, name)

    async def _carry(self, far: relay.Far, name: str) -> None:
        ours, near = socket.socketpair()
        link = FarLink(ours, name, self._progress)
        self._links.append(link)
        try:
            await far.send(relay.HELLO, relay.GREETING)
        except relay.EndedError as error:
            link.ended(str(error))
        self._come.put(link)
        await relay.relay(far, near, link.handle, lambda: 0.0, _no_more, link.ended)

    def _drop(self, host: str, why: str) -> None:
        self._dropped += 1
        if self._dropped <= _NOTES:
            self._come.put(f"a connection from {host} was dropped: {why}")


def _many(count: int, what: str, more: str = "s") -> str:
    return f"{count} other {what}{more if count != 1 else ''}"


async def _no_more() -> str:
    """How the first process has ended, as others are shown: its own output says more."""
    return ""


@contextmanager
def joining(asked: Asked, count: int, progress: Progress) -> Iterator[Joining]:
    """Others can join from now on, until `count` have; the invitation says how.

    Raises:
        UsageError: the address has another form, or the invitation exists.
        AccessError: nothing can listen at the address.
    """
    from medvae.vault.certificates import issue

    if not 0 < asked.minutes <= _MOST_MINUTES:
        raise UsageError(f"--wait must be above 0 and at most {_MOST_MINUTES:g} minutes")
    with ExitStack() as stack:
        listener = stack.enter_context(_bound(asked.listen))
        # Handshakes alone look at how long it is good.
        made = issue(timedelta(minutes=asked.minutes))
        host, port = listener.getsockname()[:2]
        invitation = Invitation(
            invitations.parsed(asked.listen)[0],
            port,
            asked.store,
            *(pem.decode() for pem in (made.authority, made.server, made.client, made.client_key)),
        )
        paper = stack.enter_context(ExitStack())
        paper.enter_context(invitations.written(asked.invitation, invitation))
        notify(
            progress,
            f"listening at {invitations.shown(host, port)} for {_many(count, 'process', 'es')}: "
            f"medvae work --invitation {asked.invitation}",
        )
        context = invitations.server_context(made)
        others = Joining(listener, context, count, progress, paper.close)
        stack.callback(others.close)
        yield others


def _bound(listen: str) -> socket.socket:
    host, port = invitations.parsed(listen)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # "0" and "::0" are others of its spellings.
        if _is_everywhere(str(address[0])):
            raise invitations.everywhere(listen)
        sock = socket.create_server(cast("tuple[str, int]", address), family=family)
    except (OSError, UnicodeError) as error:
        raise AccessError(
            f"nothing can listen at --listen {listen} ({_reason(error)}): give an address "
            "of this machine and a port that is free"
        ) from error
    sock.setblocking(False)
    return sock


def _is_everywhere(host: str) -> bool:
    found = ipaddress.ip_address(host)
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_unspecified or (mapped is not None and mapped.is_unspecified)


def _reason(error: OSError | UnicodeError) -> str:
    return getattr(error, "strerror", None) or "it is no name of a machine"
