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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medvae.api import invitations, relay, stale
from medvae.api.far_link import FarLink
from medvae.api.handshakes import MOST, Handshakes
from medvae.api.invitations import Invitation
from medvae.errors import AccessError, UsageError
from medvae.privacy.link import Link
from medvae.progress import Progress, notify

if TYPE_CHECKING:
    from medvae.options.train import TrainOptions
    from medvae.vault import Tenant

# So many are accepted in a second.
_PER_SECOND = 50
# So many notes say who was dropped; the others are counted.
_NOTES = 5
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
        self._joined = self._dropped = self._certified = 0
        self._handshakes = Handshakes()
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
                    "minutes (medvae work --invitation FILE on their machines); nothing more was "
                    "spent: go on with --resume and a longer --wait, or fewer --workers"
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
                task = asyncio.create_task(self._greet(sock, host))
                self._handshakes.add(task, host)
                self._greeting.add(task)
                task.add_done_callback(self._greeting.discard)

    async def _greet(self, sock: socket.socket, host: str) -> None:
        """Let one in that shows a certificate of this training, and carry its link."""
        far = await self._certificate_shown(sock, host)
        if far is None or not await self._greeted(far, host):
            return
        if self._joined == self._count:
            self._drop(host, "all processes had joined")
            with contextlib.suppress(relay.EndedError):
                await far.send(relay.END, relay.FULL)
            await far.close()
            return
        # No await since it was looked at: no two take one place.
        self._joined += 1
        if self._joined == self._count:
            self._accepting.cancel()
        name = f"worker process {self._joined + 1} of {self._count + 1} ({host})"
        await self._carry(far, name)

    async def _certificate_shown(self, sock: socket.socket, host: str) -> relay.Far | None:
        """TLS with one that shows a certificate of this training; None, once it is dropped."""
        task = asyncio.current_task()
        assert task is not None
        try:
            return await relay.Far.over(sock, self._context, server=True)
        except (OSError, TimeoutError):
            self._drop(host, "it showed no certificate of this training, or was too slow")
        except asyncio.CancelledError:
            # Its place was given to another, or the training is over.
            self._drop(host, "it showed no certificate before as many others came as may wait")
            raise
        finally:
            self._handshakes.remove(task)
        sock.close()
        return None

    async def _greeted(self, far: relay.Far, host: str) -> bool:
        """Whether one with a certificate runs this version; False, once it is dropped."""
        why = "it said nothing that this version does, or was too slow"
        self._certified += 1
        try:
            if self._certified > MOST:
                why = "too many with a certificate of this training were there at a time"
                raise relay.EndedError(why)
            async with asyncio.timeout(relay.HELLO_SECONDS):
                if await far.receive() == (relay.HELLO, relay.GREETING):
                    return True
        except (OSError, TimeoutError, relay.EndedError):
            pass
        except asyncio.CancelledError:
            # The training is over; the other end is to hear so, not to wait for its own limit.
            far.abort()
            raise
        finally:
            self._certified -= 1
        self._drop(host, why)
        await far.close()
        return False

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
            host=invitations.parsed(asked.listen)[0],
            port=port,
            store=asked.store,
            authority=made.authority.decode(),
            server=made.server.decode(),
            certificate=made.client.decode(),
            key=made.client_key.decode(),
            process=stale.process(),
        )
        paper = stack.enter_context(ExitStack())
        say = partial(notify, progress)
        paper.enter_context(invitations.written(asked.invitation, invitation, say))
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
