"""Where an archive sends what it is asked to move to us (C-MOVE)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.pacs.destination import Destination
    from medvae.pacs.hold import Hold
    from medvae.pacs.peers import Access, Peer
    from medvae.pacs.service import Listening


@contextmanager
def destination_of(
    port: int | None, bind: str, peer: Peer, access: Access, hold: Hold
) -> Iterator[Destination | None]:
    """A storage service for the block, into `hold`; None where no port is given.

    Raises:
        UsageError: what is asked for cannot be right, or would go unprotected.
        AccessError: the address cannot be listened at, or a certificate cannot be used.
    """
    if port is None:
        yield None
        return
    how = _listening(port, bind, peer, access)
    from medvae.pacs.destination import Destination

    destination = Destination(how, hold, peer.label)
    try:
        yield destination
    finally:
        destination.stop()


def _listening(port: int, bind: str, peer: Peer, access: Access) -> Listening:
    from medvae.pacs import peers
    from medvae.pacs.service import Listening

    if peer.is_web:
        raise UsageError(f"--move is for an archive that speaks DIMSE, and {peer.label} does not")
    if not 0 < port < 65536:
        raise UsageError(f"--move must be a port from 1 to 65535, not {port}")
    if peers.is_loopback(bind) and not peer.is_here:
        raise UsageError(
            f"{peer.label} cannot send to {bind}: give --bind, an address of this machine that it "
            "reaches"
        )
    tls = None
    if peers.tls_of(peer, access) is not None or not (access.plaintext or peers.is_loopback(bind)):
        if access.certificate is None:
            raise UsageError(
                f"--move receives patients at {bind}: give --client-cert and --client-key by which "
                "we prove ourselves, or --plaintext where the network is safe"
            )
        tls = peers.server_tls(access, "--client-cert and --client-key")
    return Listening(bind, port, access.aet, silence=access.silence, tls=tls, option="--move")
