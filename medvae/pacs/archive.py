"""The archive at an address, whichever way it speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.pacs.dimse import Dimse
from medvae.pacs.peers import Access, Peer
from medvae.pacs.web import Web

if TYPE_CHECKING:
    from medvae.pacs.destination import Destination

Archive = Web | Dimse


def archive_of(peer: Peer, access: Access, destination: Destination | None = None) -> Archive:
    """The archive of a peer, which sends to `destination` what is fetched (C-MOVE).

    Raises as `Web.of` and `Dimse.of`.
    """
    if peer.is_web:
        return Web.of(peer, access)
    archive = Dimse.of(peer, access)
    if destination is None:
        return archive
    from medvae.pacs.move import Mover

    return Mover(archive.peer, archive.access, archive.tls, destination)
