"""Which processor to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick(name: str = "auto") -> torch.device:
    """`auto` (CUDA when there, otherwise the CPU), `cpu`, `gpu`, `gpu:N` or `mps`.

    Raises:
        UsageError: the accelerator that is asked for is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("--device mps: this machine has no Metal accelerator; use cpu")
        return torch.device("mps")
    index = int(name.partition(":")[2]) if name[4:].isdigit() else 0
    if index >= torch.cuda.device_count():
        have = torch.cuda.device_count()
        raise UsageError(f"--device {name}: this machine has {have} CUDA devices; use cpu")
    return torch.device("cuda", index)
