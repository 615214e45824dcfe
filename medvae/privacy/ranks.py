"""Processes that share the patients of one run: integer sums go to the first, results come back.

Each rank measures its own patients and sends the clipped integer sum of their vectors to the first
rank, which adds the sums up, adds the noise, and sends back what is released. Sums are of integers,
so any number of ranks gives the same bits.

What it protects: un-noised sums cross nothing but Unix sockets, which end at the kernel of one
machine; no sum of another rank reaches any rank but the first, except in DP-SGD (see `parallel`).
What it does not protect: ranks trust each other as threads of one process do. Whoever opens the
sockets must see to it that the other end is such a process.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from medvae import frames
from medvae.errors import AccessError, IntegrityError, MedvaeError
from medvae.idle import Watch
from medvae.privacy.discrete import Integers
from medvae.privacy.turns import SharedCount, Turns

Item = TypeVar("Item")

# Tensors of a finished stage cross in one frame.
MOST_BODY = 1 << 34
# Another process that is waited for and uses no processor time for so many seconds is named, and
# given up.
NOTIFY, GIVE_UP = 60.0, 1800.0
# How much the norm of a sum of integers may err in float64.
ROUNDING = 1e-9


class Ranks(Protocol):
    """The processes of one run, as one of them sees them. All call the same methods in turn.

    Attributes:
        rank: 0 (the first) to count - 1.
        count: of ranks.
        patients: the public number of all ranks' patients together; 0 where there is one rank.
    """

    @property
    def rank(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def patients(self) -> int: ...

    def collect(
        self, what: str, sums: Integers, patients: int | None = None, reach: float = 0.0
    ) -> Integers | None:
        """The sum over all ranks, at the first one; None at the others.

        Args:
            what: names the sum; ranks that are at different sums are refused.
            sums: int64 [n] of this rank.
            patients: who are in it; all ranks together must have the public number. None: a
                sample, of which no number is known.
            reach: largest norm of one patient's vector; not looked at without `patients`.

        Raises:
            IntegrityError: a rank sent another sum, one beyond its patients' clips, or patients
                are missing or too many; nothing has been released.
            AccessError: a rank has ended.
        """

    def same(self, data: bytes) -> bytes:
        """What the first rank gives, at every rank; what the others give is not looked at."""

    def turns(self, count: int) -> Turns:
        """Numbers below `count`, each given to one rank alone: one at a time, to whoever asks."""

    def check(self) -> None:
        """At the first rank: raise what another rank has failed with, if one has."""


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    count: int = 1
    patients: int = 0

    def collect(
        self, what: str, sums: Integers, patients: int | None = None, reach: float = 0.0
    ) -> Integers | None:
        return sums

    def same(self, data: bytes) -> bytes:
        return data

    def turns(self, count: int) -> Turns:
        return Turns.every(count, 0, 1)

    def check(self) -> None:
        return None


ALONE = Alone()


def share(ranks: Ranks, items: Sequence[Item]) -> Sequence[Item]:
    """This rank's part of what all ranks know; it may be empty, and the parts are all of it."""
    return items[ranks.rank :: ranks.count]


class Link:
    """One end of a connected Unix socket between the first rank and another."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        ending: Callable[[], str] | None = None,
        pid: int | None = None,
        notify: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Args:
        name: of the other end in messages.
        ending: says how that process ended.
        pid: of that process; one that does not work is then waited for `GIVE_UP` seconds.
        notify: is given a sentence about it after `NOTIFY` seconds.
        """
        if sock.family != socket.AF_UNIX:
            raise MedvaeError("ranks are connected by Unix sockets alone: others leave the machine")
        self._sock = sock
        self._name = name
        self._ending = ending
        self._pid = pid
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
            raise failure(head, self._name)
        if key not in head:
            raise IntegrityError(
                f"{self._name} sent something else than {key!r}: the processes do not run one "
                "version; nothing was released, start the training again with --resume"
            )
        return head, body

    def _wait(self) -> None:
        """Return when the other end has sent something, or is gone."""
        if self._pid is None:
            return
        poll, watch, notified = select.poll(), Watch(self._pid), False
        poll.register(self._sock, select.POLLIN)
        while not poll.poll(min(NOTIFY, GIVE_UP) * 250):
            idle = watch.idle()
            if idle > GIVE_UP:
                raise self._stuck(idle)
            if idle > NOTIFY and not notified:
                notified = True
                self._notify(
                    f"{self._name} (process {self._pid}) has used no processor time for "
                    f"{idle:.0f} s: it is stopped, or waits for storage; it is given up after "
                    f"{GIVE_UP / 60:g} minutes"
                )

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """No single call on the socket takes longer than `GIVE_UP`, where the process is known."""
        if self._pid is not None:
            self._sock.settimeout(GIVE_UP)
        try:
            yield
        finally:
            if self._pid is not None:
                self._sock.settimeout(None)

    def _stuck(self, seconds: float) -> AccessError:
        return AccessError(
            f"{self._name} (process {self._pid}) has done nothing for {seconds / 60:.0f} minutes: "
            "it was stopped, or waits for storage that does not answer; the run keeps what it had "
            "and nothing is spent twice: end that process and go on with --resume"
        )

    def give(self, descriptor: int) -> None:
        """Give the other end a descriptor of an open file. AccessError if it is gone."""
        try:
            with self._limited():
                socket.send_fds(self._sock, [b"."], [descriptor])
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
                f"{self._name} sent no descriptor: the processes do not run one version; nothing "
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
            frames.send(self._sock, {"error": text[:2000], "code": code, "kind": kind})
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
            f"{self._name} has ended{how}; the run keeps what it had and nothing is spent twice: "
            "go on with --resume"
        )

    def _drain(self) -> None:
        """Raise the failure that the other end has sent last, if it sent one."""
        try:
            while True:
                head, _ = frames.receive(self._sock, MOST_BODY)
                if "error" in head:
                    raise failure(head, self._name)
        except (frames.ClosedError, OSError):
            return


def failure(head: dict[str, Any], name: str) -> MedvaeError:
    """The error that `Link.fail` sent."""
    text = str(head["error"])
    if head.get("kind") == "memory":
        return AccessError(
            f"{name} ran out of memory; give fewer --workers, or a machine with more, and --resume"
        )
    kinds = {kind.exit_code: kind for kind in MedvaeError.__subclasses__()}
    if head.get("kind") != "known" or head.get("code") not in kinds:
        return MedvaeError(f"{name} failed: {text}")
    return kinds[head["code"]](text)


class _Sharing:
    """What ranks that share a count have in common; without one, turns are fixed."""

    def __init__(self, rank: int, count: int, patients: int, shared: SharedCount | None) -> None:
        self.rank, self.count, self.patients = rank, count, patients
        self._shared, self._rounds = shared, 0

    def turns(self, count: int) -> Turns:
        # All ranks ask in the same order, so the number of a round is the same at each.
        number, shared = self._rounds, self._shared
        self._rounds += 1
        if shared is None:
            return Turns.every(count, self.rank, self.count)
        return Turns(count, lambda: shared.take(number))


class FirstRank(_Sharing):
    """`Ranks` as the first one sees them; `links` lead to ranks 1, 2, ... in order.

    shared: the count that all of these were given, too.
    """

    def __init__(
        self, links: Sequence[Link], patients: int, shared: SharedCount | None = None
    ) -> None:
        super().__init__(0, 1 + len(links), patients, shared)
        self._links = links

    def collect(
        self, what: str, sums: Integers, patients: int | None = None, reach: float = 0.0
    ) -> Integers | None:
        total, together = sums.copy(), patients
        for link in self._links:
            head, body = link.receive("sum", most=sums.nbytes)
            values = np.frombuffer(body, "<i8")
            stated = head.get("patients")
            fits = head["sum"] == what and len(values) == len(sums)
            if not fits or (patients is None) != (stated is None):
                raise _refused(f"the sum {what} from another process is not that of this run")
            if together is not None:
                if type(stated) is not int or not 0 <= stated <= self.patients:
                    raise _refused(f"the sum {what} from another process has no number of patients")
                most = stated * reach * (1 + ROUNDING)
                if float(np.linalg.norm(values.astype(np.float64))) > most:
                    raise _refused(f"the sum {what} from another process is beyond its clips")
                together += stated
            total += values
        if together is not None and together != self.patients:
            raise _refused(f"the sum {what} is of {together} patients and not of {self.patients}")
        return total

    def same(self, data: bytes) -> bytes:
        for link in self._links:
            link.send({"same": len(data)}, data)
        return data

    def check(self) -> None:
        for link in self._links:
            link.check()


class OtherRank(_Sharing):
    """`Ranks` as another than the first one sees them."""

    def __init__(
        self, link: Link, rank: int, count: int, patients: int, shared: SharedCount | None = None
    ) -> None:
        super().__init__(rank, count, patients, shared)
        self._link = link

    def collect(
        self, what: str, sums: Integers, patients: int | None = None, reach: float = 0.0
    ) -> Integers | None:
        own = np.ascontiguousarray(sums, "<i8").tobytes()
        self._link.send({"sum": what, "patients": patients}, own)
        return None

    def same(self, data: bytes) -> bytes:
        _, body = self._link.receive("same", most=MOST_BODY)
        return bytes(body)

    def check(self) -> None:
        return None


def _refused(sentence: str) -> IntegrityError:
    return IntegrityError(
        f"{sentence}: nothing was released; see that all processes run one version of medvae, "
        "and go on with --resume"
    )
