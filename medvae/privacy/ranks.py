"""Processes that share the patients of one run: integer sums go to the first, results come back.

Each rank measures its own patients and sends the clipped integer sum of their vectors to the first
rank, which adds the sums up, adds the noise, and sends back what is released. Sums are of integers,
so any number of ranks gives the same bits.

What it protects: un-noised sums cross nothing but links (`link`), which are Unix sockets and end at
the kernel of one machine, or at a relay that carries them on by TLS (`medvae.api.relay`); no sum of
another rank reaches any rank but the first, except in DP-SGD (see `parallel`).
What it does not protect: ranks trust each other as threads of one process do. Whoever opens the
sockets must see to it that the other end is such a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from medvae.errors import IntegrityError
from medvae.privacy.discrete import Integers
from medvae.privacy.link import MOST_BODY, Link
from medvae.privacy.turns import Count, Turns

Item = TypeVar("Item")

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


class _Sharing:
    """What ranks that share a count have in common; without one, turns are fixed."""

    def __init__(self, rank: int, count: int, patients: int, shared: Count | None) -> None:
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

    def __init__(self, links: Sequence[Link], patients: int, shared: Count | None = None) -> None:
        super().__init__(0, 1 + len(links), patients, shared)
        self._links = links

    def collect(
        self, what: str, sums: Integers, patients: int | None = None, reach: float = 0.0
    ) -> Integers | None:
        total, together = sums.copy(), patients
        for link in self._links:
            head, body = link.receive("sum", most=sums.nbytes)
            stated = head.get("patients")
            fits = head["sum"] == what and len(body) == sums.nbytes
            if not fits or (patients is None) != (stated is None):
                raise _refused(f"the sum {what} from another process is not that of this run")
            values = np.frombuffer(body, "<i8")
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
        self, link: Link, rank: int, count: int, patients: int, shared: Count | None = None
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
