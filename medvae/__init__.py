"""Synthetic medical volumes that can be shared.

A model of CT, MRI or PET volumes is trained under patient-level differential privacy inside
the hospital; what is drawn from it can leave. `medvae.create_tenant` and `medvae.open` give
a `Session`, whose methods are the verbs of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvae.version import __version__

if TYPE_CHECKING:
    from medvae.api import Release, Session, create_tenant, open, stitch
    from medvae.volume import Volume

__all__ = ["Release", "Session", "Volume", "__version__", "create_tenant", "open", "stitch"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `medvae --help` and the ingest worker do not load what they do not use.
    if name == "Volume":
        from medvae.volume import Volume

        return Volume
    if name in __all__:
        from medvae import api

        return getattr(api, name)
    raise AttributeError(f"module 'medvae' has no attribute {name!r}")
