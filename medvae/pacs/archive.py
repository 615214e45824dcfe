"""The archive at an address, whichever way it speaks."""

from __future__ import annotations

from medvae.pacs.dimse import Dimse
from medvae.pacs.peers import Access, Peer
from medvae.pacs.web import Web

Archive = Web | Dimse


def archive_of(peer: Peer, access: Access) -> Archive:
    """The archive of a peer. Raises as `Web.of` and `Dimse.of`."""
    return Web.of(peer, access) if peer.is_web else Dimse.of(peer, access)
