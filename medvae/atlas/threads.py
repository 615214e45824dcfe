"""One thread for small matrices."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Linear algebra on one thread while this is entered; the networks' own threads stay.

    On small matrices more threads only wait for one another (for half a second on a busy
    machine), and one thread always adds in the same order, so what is drawn repeats.
    """
    entered: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return entered


@cache
def _controller() -> ThreadpoolController:
    # Finding the libraries takes longer than what they are held to one thread for.
    return ThreadpoolController()
