"""The training stage: public pre-training, then a private run under a plan."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvae.train.public import pretrain
    from medvae.train.requests import stage_requests
    from medvae.train.run import Patients, train

_HOMES = {
    "Patients": "run",
    "pretrain": "public",
    "stage_requests": "requests",
    "train": "run",
}

__all__ = ["Patients", "pretrain", "stage_requests", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
