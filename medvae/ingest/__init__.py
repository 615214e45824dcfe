"""Reading scans: parsed in a confined process, de-identified by construction, oriented.

Names are found on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvae.ingest.reading import read
    from medvae.ingest.received import Received
    from medvae.ingest.records import Ingested, Limits, Quarantined

__all__ = ["Ingested", "Limits", "Quarantined", "Received", "read"]


def __getattr__(name: str) -> Any:
    if name == "read":
        from medvae.ingest.reading import read

        return read
    if name == "Received":
        from medvae.ingest.received import Received

        return Received
    if name in __all__:
        from medvae.ingest import records

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
