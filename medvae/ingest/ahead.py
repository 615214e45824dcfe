"""Jobs that go on while the results of those before them are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


def in_order(
    jobs: Iterable[Callable[[], Answer]], threads: int, interrupt: Callable[[], None]
) -> Iterator[Answer]:
    """The answers of jobs in their order, `threads` of them at a time, while one is looked at.

    Args:
        interrupt: makes the jobs that are going on end at once; called where whoever asks stops
            before the last answer (an error, Ctrl-C), and must not wait for a long one.
    """
    ahead: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as executor:
        try:
            for job in jobs:
                ahead.append(executor.submit(job))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()
            if ahead:
                interrupt()
