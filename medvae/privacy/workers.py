"""Several patients at once, each in one thread: the same bits on any number of cores.

Arithmetic that is split over threads adds up in another order on another machine. Here each
patient's gradient is computed by one thread from beginning to end, and several patients are
computed side by side; what they are added up in is exact (see `lattice`).
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    function: Callable[[nn.Module, Item], Result],
    replicas: Callable[[], nn.Module],
    items: Iterable[Item],
    threads: int,
) -> Iterator[tuple[Item, Result]]:
    """`function(replica, item)` of each item, in order; up to `threads` of them at a time.

    Items are taken from their iterator in the calling thread, no earlier than they are needed.
    An exception of one item is raised here, when the others have ended.

    Args:
        replicas: makes a model of its own for each thread.
        threads: 2 or more.
    """
    local = threading.local()

    def work(item: Item) -> Result:
        if not hasattr(local, "model"):
            torch.set_num_threads(1)
            local.model = replicas()
        return function(local.model, item)

    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="patient") as pool:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def replica(model: nn.Module) -> nn.Module:
    """A copy of a module over the same memory, whose parameters have gradients of their own."""
    shared: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
    }
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, shared)
