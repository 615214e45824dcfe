"""Patients of this process, measured one after the other by its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

from medvae.progress import Progress
from medvae.threads import one_thread
from medvae.train.release import PlannedRelease

Result = TypeVar("Result")


def measured(
    measure: Callable[[int], Result],
    release: PlannedRelease,
    threads: int,
    progress: Progress,
    title: str,
) -> Iterator[Result]:
    """What `measure` gives for each patient, by index, that this process takes; in any order.

    Patients are those of all ranks: a stage of one process shows how many all have begun.

    Raises:
        MedvaeError: another rank has failed.
    """
    turns = release.turns()

    def one() -> tuple[int, Result] | None:
        index = next(turns, None)
        return None if index is None else (index, measure(index))

    progress.start(title, release.plan.patients)
    begun = 0
    # Held to one thread from outside: the threads of the pool must not set it by turns.
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        running = {pool.submit(one) for _ in range(threads)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for found in [future.result() for future in done]:
                if found is None:
                    continue
                running.add(pool.submit(one))
                yield found[1]
                begun = max(begun, found[0] + 1)
                progress.advance(begun)
            release.ranks.check()
    progress.finish()
