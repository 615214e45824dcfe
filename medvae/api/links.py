"""How an image archive is reached: TLS, certificates, time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.context import PathLike
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.pacs.peers import Access


@dataclass(frozen=True)
class Link:
    """How to reach an archive.

    Attributes:
        ca: PEM file of the authorities that may sign its certificate; None: the system's.
        client_cert, client_key: PEM files of the certificate by which we log in, and its key.
        plaintext: go without TLS to another machine: patients are sent in the clear.
        timeout: seconds that the archive may be silent; a study may take sixty times that.
        aet: our application entity title, where the archive speaks DIMSE.
    """

    ca: PathLike | None = None
    client_cert: PathLike | None = None
    client_key: PathLike | None = None
    plaintext: bool = False
    timeout: float = 60.0
    aet: str = "MEDVAE"


def access_of(link: Link) -> Access:
    """How to reach the archive, with the credentials of the environment. Raises UsageError."""
    from medvae.pacs import peers

    if not 0 < link.timeout <= 86400:
        raise UsageError(f"--timeout must be seconds above 0, not {link.timeout:g}")
    files = (link.ca, link.client_cert, link.client_key)
    ca, certificate, key = (None if file is None else Path(file) for file in files)
    return peers.Access(
        ca, certificate, key, link.plaintext, peers.credentials(), link.timeout, link.aet
    )
