"""A DIMSE association with the archive that the user named (PS3.8)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvae.errors import AccessError, MedvaeError, UsageError
from medvae.escape import escaped
from medvae.pacs.guard import OFFERED_PDU, Guard
from medvae.pacs.http import failure
from medvae.pacs.peers import AET, Access, Peer

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

EXTRA = (
    "DIMSE (AETITLE@HOST:PORT) needs pynetdicom, which is not installed: run "
    '`pip install "medvae-private[pacs]"`, or give a DICOMweb address (https://)'
)
# Seconds in which the notice of an abort is sent before the connection is closed.
GOODBYE = 0.1
# Reasons of a rejection by the service user (PS3.8 9.3.4).
BY_USER, NOT_US, NOT_IT = 1, 3, 7


@dataclass(frozen=True)
class Line:
    """An open association."""

    raw: Association
    guard: Guard


def check_title(aet: str) -> str:
    """An application entity title as it is. Raises UsageError where it cannot be one."""
    if not AET.fullmatch(aet) or aet != aet.strip():
        raise UsageError(
            f"{escaped(aet[:40])} is no application entity title: expected 1 to 16 letters, "
            "digits, spaces and . _ -"
        )
    return aet


def require_pynetdicom() -> None:
    """Raise UsageError where the library is not installed."""
    try:
        import pynetdicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(EXTRA) from error


@contextlib.contextmanager
def associate(
    peer: Peer,
    access: Access,
    tls: ssl.SSLContext | None,
    contexts: Sequence[PresentationContext],
    guard: Guard,
    *,
    store: Callable[[Any], int] | None = None,
    otherwise: str = "use its DICOMweb address",
) -> Iterator[Line]:
    """An association for the block; it is released at its end, and aborted after an error.

    Args:
        store: stores what the peer sends of its own accord (C-GET), and gives a status.
        otherwise: what a user can do where the peer accepts none of the contexts.

    Raises:
        AccessError: the peer cannot be reached, proves nothing, or refuses.
        InputError: it speaks something else.
    """
    from pynetdicom import build_role, evt

    from medvae.pacs.transport import GuardedEntity, GuardedSocket

    entity = GuardedEntity(access.aet, guard)
    classes = {str(context.abstract_syntax) for context in contexts} if store else set()
    try:
        raw = entity.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.aet,
            max_pdu=OFFERED_PDU,
            ext_neg=[build_role(uid, scp_role=True) for uid in sorted(classes)],
            tls_args=None if tls is None else (tls, peer.host),
            evt_handlers=[(evt.EVT_C_STORE, store)] if store else [],
        )
    except socket.gaierror as error:
        raise failure(peer.label, error, access.silence) from error
    try:
        if not raw.is_established:
            sock = raw.dul.socket
            cause = sock.error if isinstance(sock, GuardedSocket) else None
            raise _refusal(raw, peer, access, guard, cause, otherwise) from cause
        yield Line(raw, guard)
        if raw.is_established:
            raw.release()
    finally:
        if raw.is_established:
            raw.abort(block=False)
            time.sleep(GOODBYE)
        guard.close()
        raw.dul.kill_dul()


def _refusal(
    raw: Association,
    peer: Peer,
    access: Access,
    guard: Guard,
    error: OSError | None,
    otherwise: str,
) -> MedvaeError:
    """Why there is no association."""
    if error is not None:
        return failure(peer.label, error, access.silence)
    if guard.problem is not None:
        return guard.problem
    if raw.is_rejected:
        answer = raw.acceptor.primitive
        assert answer is not None
        reason = (answer.result_source, answer.diagnostic)
        if reason == (BY_USER, NOT_US):
            why = f"it does not know {access.aet}: have it added there, or give another --aet"
        elif reason == (BY_USER, NOT_IT):
            why = f"it is not called {peer.aet}: check the name before the @"
        else:
            why = f"it says: {answer.reason_str}"
        return AccessError(f"{peer.label} refuses us: {why}")
    if raw.rejected_contexts:
        return AccessError(
            f"{peer.label} does not do what we ask of it: have its administrator allow it to "
            f"{access.aet}, or {otherwise}"
        )
    return AccessError(
        f"{peer.label} ended the connection before there was an association: check the port, and "
        "whether it expects TLS (--ca) or none (--plaintext)"
    )
