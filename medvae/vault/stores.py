"""Which byte store a tenant's key ring names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medvae.errors import UsageError
from medvae.vault.bytestore import ByteStore, LocalStore

LOCAL: Final = "local"


def open_store(url: str, folder: Path, tenant_id: bytes) -> ByteStore:
    """The store of a tenant: "local", or "s3://bucket/prefix".

    Raises:
        UsageError: the address is of no known kind, or the extra `s3` is not installed.
    """
    if url == LOCAL:
        return LocalStore(folder)
    if url.startswith("s3://"):
        from medvae.vault import s3store

        return s3store.connect(url, tenant_id)
    raise UsageError(f"{url!r} is not a store: expected local or s3://BUCKET/PREFIX")


def check_url(url: str) -> None:
    """Raises UsageError as `open_store` would."""
    if url != LOCAL:
        open_store(url, Path(), bytes(16))
