"""What all processes of one training must have in common: code, processor, plan and data."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from medvae.config import RunConfig

# What arithmetic may depend on, beside our own code.
_LIBRARIES = ("numpy", "scipy", "torch")


def code() -> str:
    """Digest of this package's code and of the libraries' versions: it must be one everywhere."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256("".join(map(metadata.version, _LIBRARIES)).encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def processor() -> str:
    """What the last bits of floating-point numbers may depend on beside code and libraries."""
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def state_of(plan: bytes, data: bytes, cfg: RunConfig, checkpoint: bytes | None) -> str:
    """Digest of what the processes of one run must have in common before it begins or goes on."""
    digest = hashlib.sha256(plan + data)
    digest.update(json.dumps(cfg.public(), sort_keys=True).encode())
    digest.update(json.dumps(cfg.compute.model_dump(mode="json"), sort_keys=True).encode())
    digest.update(hashlib.sha256(checkpoint or b"").digest())
    return digest.hexdigest()


def check_processor(theirs: str, name: str) -> None:
    """Refuse a machine whose floating-point numbers may be rounded otherwise."""
    if theirs != processor():
        raise UsageError(
            f"{name} runs on a processor of another kind ({theirs[:60]!r}, here "
            f"{processor()!r}): the model would depend on who measured whom; nothing more was "
            "spent: use machines of one kind, and go on with --resume"
        )


def unfit(what: str) -> IntegrityError:
    """The sentence of a process that has something else than the first one."""
    return IntegrityError(
        f"another process of this training {what}; nothing more was spent: start all of "
        "them from one installation, and go on with --resume"
    )
