"""How an image archive is reached: TLS, certificates, time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvae.errors import UsageError
from medvae.options.archives import Link

if TYPE_CHECKING:
    from medvae.pacs.peers import Access


def access_of(link: Link | None) -> Access:
    """How to reach the archive, with the credentials of the environment. Raises UsageError."""
    from medvae.pacs import peers

    link = link or Link()
    if not 0 < link.timeout <= 86400:
        raise UsageError(f"--timeout must be seconds above 0, not {link.timeout:g}")
    files = (link.ca, link.client_cert, link.client_key)
    ca, certificate, key = (None if file is None else Path(file) for file in files)
    return peers.Access(
        ca, certificate, key, link.plaintext, peers.credentials(), link.timeout, link.aet
    )
