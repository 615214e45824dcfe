"""Which patient is next: a count that the processes of one run share.

Patients differ in how long they take, and so do processes on a busy machine: whoever is done takes
the next one. Sums are of integers, so who measured whom changes no bit of what is released.

On one machine the count is a file without a name, of which each process has a descriptor: no place
holds who was measured by whom, and a process that ends in the middle of a turn leaves nothing
locked. A process of another machine asks for each turn (`AskedCount`). No patient is taken twice,
whatever the number of threads and processes. A process that takes a turn and forgets it shows in
the number of patients of a sum (see `ranks`).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

# Bytes of one round's count.
_WIDTH: Final = 8


class Count(Protocol):
    """Counts of rounds, each from 0, that the processes of a run take from."""

    def take(self, number: int) -> int:
        """The next count of round `number`; nobody else is given it."""


class AskedCount:
    """Counts that another process keeps: `ask` gives the next one of a round."""

    def __init__(self, ask: Callable[[int], int]) -> None:
        self._ask = ask
        # One question at a time: its answer is the next thing that comes.
        self._lock = threading.Lock()

    def take(self, number: int) -> int:
        """As `Count.take`."""
        with self._lock:
            return self._ask(number)


class SharedCount:
    """Counts of rounds, each from 0, over a descriptor that several processes have."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: of `fresh`, or as another process was given it; closed by `close`."""
        self.descriptor = descriptor
        # A lock on a file holds other processes off, and not threads of this one.
        self._lock = threading.Lock()

    @classmethod
    def fresh(cls) -> SharedCount:
        """All rounds at 0."""
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def take(self, number: int) -> int:
        """The next count of round `number`; nobody else is given it."""
        at = _WIDTH * number
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, _WIDTH, at)
            try:
                count = int.from_bytes(os.pread(self.descriptor, _WIDTH, at), "little")
                os.pwrite(self.descriptor, (count + 1).to_bytes(_WIDTH, "little"), at)
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, _WIDTH, at)
        return count

    def close(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)


@dataclass
class Turns:
    """Numbers below `count`, for threads that take one at a time; an iterator.

    Attributes:
        take: gives each number to one caller alone; past the last one, a number that is no turn.
    """

    count: int
    take: Callable[[], int]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            number = self.take()
        if number >= self.count:
            raise StopIteration
        return number

    @classmethod
    def every(cls, count: int, start: int, step: int) -> Turns:
        """Fixed ones: every `step`-th number from `start`."""
        numbers = iter(range(start, count, step))
        return cls(count, lambda: next(numbers, count))
