"""One thread, where the order of adding must not depend on the machine.

Arithmetic that is split over threads adds up in another order, and so rounds otherwise, on another
number of cores. What goes into a private sum, or is drawn under a seed, must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Linear algebra on one thread while this is entered; torch's own threads stay.

    On small matrices more threads only wait for one another, for half a second on a busy machine.
    """
    entered: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return entered


@contextmanager
def one_torch_thread() -> Iterator[int]:
    """Inside, torch computes in the calling thread alone; gives the number of threads it had."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Both."""
    with one_torch_thread(), one_blas_thread():
        yield


@cache
def _controller() -> ThreadpoolController:
    # Finding the libraries takes longer than what they are held to one thread for.
    return ThreadpoolController()
