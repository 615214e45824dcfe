"""Several processes as one in DP-SGD: each takes a share of a batch, and the sums are added up.

The processes are those of `using` (`Ranks`), or those of torch.distributed where a program has
set that up by itself. Every rank has the sum of all, adds the same noise to it, and moves its own
copy of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from medvae.privacy.ranks import ALONE, Ranks

Item = TypeVar("Item")
_ranks: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


@contextmanager
def using(ranks: Ranks) -> Iterator[None]:
    """Inside, batches are shared by these ranks."""
    before = _ranks.set(ranks)
    try:
        yield
    finally:
        _ranks.reset(before)


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) of one process."""
    own = _ranks.get()
    if own.count > 1:
        return own.rank, own.count
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def mine(batch: Sequence[Item]) -> Sequence[Item]:
    """This rank's share of a batch that all ranks know; it may be empty."""
    rank, ranks = world()
    return batch[rank::ranks]


def agreed(digest: bytes, device: torch.device) -> bool:
    """Whether all ranks hold the same 32-byte digest; every rank must call it."""
    _, ranks = world()
    if ranks == 1:
        return True
    if _ranks.get().count > 1:
        return _equal_on_all(_ranks.get(), digest)
    mine = torch.tensor(list(digest), dtype=torch.uint8, device=device)
    gathered = [torch.empty_like(mine) for _ in range(ranks)]
    dist.all_gather(gathered, mine)
    return all(torch.equal(mine, theirs) for theirs in gathered)


def add_up(sums: Sequence[torch.Tensor], *, failed: bool) -> bool:
    """Add each of `sums` over all ranks, in place; every rank must call it in every step.

    Sums are int64, so that any number of ranks gives the same bits.

    Returns:
        whether any rank says that it failed. A rank that failed still takes part, so that the
        others learn of it instead of waiting for ever.
    """
    _, ranks = world()
    if ranks == 1:
        return failed
    if _ranks.get().count > 1:
        return _add_up(_ranks.get(), sums, failed)
    device = sums[0].device
    flag = torch.tensor([int(failed)], device=device, dtype=sums[0].dtype)
    bucket = torch.cat([flag, *(part.reshape(-1) for part in sums)])
    dist.all_reduce(bucket)
    start = 1
    for part in sums:
        part.copy_(bucket[start : start + part.numel()].view_as(part))
        start += part.numel()
    return bool(bucket[0] > 0)


def _equal_on_all(ranks: Ranks, digest: bytes) -> bool:
    """`agreed` of `Ranks`: the sum of all is so many times each one's own."""
    own = np.frombuffer(digest, np.uint8).astype(np.int64)
    total = np.frombuffer(_sum_of(ranks, "digest", np.concatenate([own, own**2])), np.int64)
    # Numbers whose mean square is the square of their mean are equal.
    mean, squares = total[: len(own)], total[len(own) :]
    return bool((squares * ranks.count == mean**2).all())


def _add_up(ranks: Ranks, sums: Sequence[torch.Tensor], failed: bool) -> bool:
    """`add_up` of `Ranks`. One that failed takes no part: the first one hears of it by its link."""
    if failed:
        return True
    bucket = torch.cat([part.reshape(-1) for part in sums]).cpu().numpy()
    total = torch.frombuffer(bytearray(_sum_of(ranks, "gradients", bucket)), dtype=torch.int64)
    start = 0
    for part in sums:
        part.copy_(total[start : start + part.numel()].view_as(part))
        start += part.numel()
    return False


def _sum_of(ranks: Ranks, what: str, own: np.ndarray) -> bytes:
    """int64 [n] as bytes, summed over all ranks, at all of them."""
    total = ranks.collect(what, own)
    return ranks.same(b"" if total is None else total.tobytes())
