"""One end of a connected Unix socket between two processes of one run: frames, and its end.

What it protects: a link is a Unix socket, which ends at the kernel of one machine; nothing is
pickled; another process that stands still is named and given up. What it does not protect: whoever
opens the socket must see to it that the other end is a process of the run, or a relay that leads to
one (`medvae.api.relay`).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from medvae import frames
from medvae.errors import AccessError, IntegrityError, MedvaeError
from medvae.idle import Watch
from medvae.privacy.turns import SharedCount

# Tensors of a finished stage cross in one frame.
MOST_BODY = 1 << 34
# Another process that is waited for and uses no processor time for so many seconds is named, and
# given up.
NOTIFY, GIVE_UP = 60.0, 1800.0
# Letters of what another process failed with.
_TEXT = 2000


class Waited(Protocol):
    """A process that is waited for."""

    def idle(self) -> float:
        """Seconds since it was last seen to work; 0 where nobody says."""


class Link:
    """One end of a connected Unix socket between the first rank and another."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        ending: Callable[[], str] | None = None,
        pid: int | None = None,
        notify: Callable[[str], None] = lambda sentence: None,
        watch: Callable[[], Waited] | None = None,
    ) -> None:
        """Args:
        name: of the other end in messages.
        ending: says how that process ended.
        pid: of that process, where it is one of this machine.
        watch: begins to watch that process, where it is one of another.
        notify: is given a sentence about a process that is watched and does not work after
            `NOTIFY` seconds; after `GIVE_UP` seconds it is waited for no longer.
        """
        if sock.family != socket.AF_UNIX:
            raise MedvaeError("ranks are connected by Unix sockets alone: others leave the machine")
        self._sock = sock
        self.name = name
        self._ending = ending
        self._whom = name if pid is None else f"{name} (process {pid})"
        self._watch = watch if pid is None else partial(Watch, pid)
        self._notify = notify

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """One frame. AccessError if the other end is gone, or does not take it in time."""
        try:
            with self._limited():
                frames.send(self._sock, head, body)
        except TimeoutError as error:
            raise self._stuck(GIVE_UP) from error
        except OSError as error:
            self._drain()
            raise self.lost() from error

    def receive(self, key: str, most: int = 0) -> tuple[dict[str, Any], memoryview]:
        """The next frame, which must have `key`, with a body of at most `most` bytes.

        Raises:
            MedvaeError: what the other end failed with, by its kind; AccessError if it is gone,
                or does not work any more.
            IntegrityError: it sent something else.
        """
        self._wait()
        try:
            with self._limited():
                head, body = frames.receive(self._sock, most)
        except TimeoutError as error:
            raise self._stuck(GIVE_UP) from error
        except (frames.ClosedError, OSError) as error:
            raise self.lost() from error
        if "error" in head:
            raise self._failed(head)
        if key not in head:
            raise IntegrityError(
                f"{self.name} sent something else than {key!r}: the processes do not run one "
                "version; nothing was released, start the training again with --resume"
            )
        return head, body

    def _wait(self) -> None:
        """Return when the other end has sent something, or is gone."""
        if self._watch is None:
            return
        poll, watch, notified = select.poll(), self._watch(), False
        poll.register(self._sock, select.POLLIN)
        while not poll.poll(min(NOTIFY, GIVE_UP) * 250):
            idle = watch.idle()
            if idle > GIVE_UP:
                raise self._stuck(idle)
            if idle > NOTIFY and not notified:
                notified = True
                self._notify(
                    f"{self._whom} has used no processor time for "
                    f"{idle:.0f} s: it is stopped, or waits for storage; it is given up after "
                    f"{GIVE_UP / 60:g} minutes"
                )

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """No single call on the socket takes longer than `GIVE_UP`, where the process is known."""
        if self._watch is not None:
            self._sock.settimeout(GIVE_UP)
        try:
            yield
        finally:
            if self._watch is not None:
                self._sock.settimeout(None)

    def _stuck(self, seconds: float) -> AccessError:
        return AccessError(
            f"{self._whom} has done nothing for {seconds / 60:.0f} minutes: "
            "it was stopped, or waits for storage that does not answer; the run keeps what it had "
            "and nothing is spent twice: end that process and go on with --resume"
        )

    def give(self, count: SharedCount) -> None:
        """Give the other end a descriptor of a count's file. AccessError if it is gone."""
        try:
            with self._limited():
                socket.send_fds(self._sock, [b"."], [count.descriptor])
        except TimeoutError as error:
            raise self._stuck(GIVE_UP) from error
        except OSError as error:
            self._drain()
            raise self.lost() from error

    def given(self) -> int:
        """The descriptor that the other end gives; the caller closes it.

        Raises:
            AccessError: the other end is gone.
            IntegrityError: it sent something else.
        """
        self._wait()
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, 1, 1)
        except OSError as error:
            raise self.lost() from error
        if not data:
            raise self.lost()
        if len(descriptors) != 1:
            raise IntegrityError(
                f"{self.name} sent no descriptor: the processes do not run one version; nothing "
                "was released, start the training again with --resume"
            )
        return descriptors[0]

    def fail(self, error: BaseException) -> None:
        """Send the other end why this one stops; quiet where it is gone."""
        is_ours = isinstance(error, MedvaeError)
        text = str(error) if is_ours else f"{type(error).__name__}: {error}"
        code = error.exit_code if isinstance(error, MedvaeError) else MedvaeError.exit_code
        kind = "memory" if isinstance(error, MemoryError) else "known" if is_ours else "defect"
        try:
            frames.send(self._sock, {"error": text[:_TEXT], "code": code, "kind": kind})
        except OSError:
            return

    def check(self) -> None:
        """Raise what the other end has failed with, if it has."""
        poll = select.poll()
        poll.register(self._sock, 0)
        if poll.poll(0):
            self._drain()
            raise self.lost()

    def wait_for_end(self) -> None:
        """Return when the other end is gone."""
        poll = select.poll()
        poll.register(self._sock, 0)
        poll.poll()

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    def lost(self) -> AccessError:
        """The sentence of an end that is gone."""
        how = f" ({self._ending()})" if self._ending is not None else ""
        return AccessError(
            f"{self.name} has ended{how}; the run keeps what it had and nothing is spent twice: "
            "go on with --resume"
        )

    def _failed(self, head: dict[str, object]) -> MedvaeError:
        """What the other end has sent that it failed with."""
        return failure(head, self.name)

    def _drain(self) -> None:
        """Raise the failure that the other end has sent last, if it sent one."""
        try:
            while True:
                head, _ = frames.receive(self._sock, MOST_BODY)
                if "error" in head:
                    raise self._failed(head)
        except (frames.ClosedError, OSError):
            return


def failure(head: dict[str, Any], name: str) -> MedvaeError:
    """The error that `Link.fail` sent."""
    # It may be sent by another machine, and shown on a terminal.
    text = "".join(one if one.isprintable() else " " for one in str(head["error"])[:_TEXT])
    if head.get("kind") == "memory":
        return AccessError(
            f"{name} ran out of memory; give fewer --workers, or a machine with more, and --resume"
        )
    kinds = {kind.exit_code: kind for kind in MedvaeError.__subclasses__()}
    code = head.get("code")
    if head.get("kind") != "known" or type(code) is not int or code not in kinds:
        return MedvaeError(f"{name} failed: {text}")
    return kinds[code](text)
