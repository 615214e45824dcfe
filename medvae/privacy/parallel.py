"""Several processes as one: each takes a share of a batch, and the integer sums are added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) outside of `torchrun`."""
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
    mine = torch.tensor(list(digest), dtype=torch.uint8, device=device)
    gathered = [torch.empty_like(mine) for _ in range(ranks)]
    dist.all_gather(gathered, mine)
    return all(torch.equal(mine, one) for one in gathered)


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
    device = sums[0].device
    flag = torch.tensor([int(failed)], device=device, dtype=sums[0].dtype)
    bucket = torch.cat([flag, *(one.reshape(-1) for one in sums)])
    dist.all_reduce(bucket)
    start = 1
    for one in sums:
        one.copy_(bucket[start : start + one.numel()].view_as(one))
        start += one.numel()
    return bool(bucket[0] > 0)
