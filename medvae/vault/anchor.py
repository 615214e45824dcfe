"""Anchors: a signed head of the catalogue, kept somewhere the vault's disk cannot reach.

Whoever can write to the disk can put back an older copy of the whole tenant, and no key
inside it can show that. An anchor printed, mailed or sent to a log server can.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature

from medvae.errors import IntegrityError, UsageError
from medvae.vault import format, heads
from medvae.vault.keys import Keys
from medvae.vault.session import Session


def make(session: Session) -> str:
    """The newest head as one line of JSON, signed by the tenant."""
    with session.looking() as (connection, keys):
        session.index(connection)
        newest = heads.last(connection)
    if newest is None:
        raise IntegrityError(f"the catalogue of tenant {session.name} has lost its heads")
    stated = {
        "medvae": "anchor",
        "tenant": session.name,
        "id": keys.tenant_id.hex(),
        "sequence": newest.sequence,
        "head": newest.head.hex(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    signature = keys.signer().sign(_signed(keys, stated))
    return json.dumps({**stated, "signature": signature.hex()}, sort_keys=True)


def check(session: Session, anchor: str) -> None:
    """The tenant is the anchored state or one that grew out of it.

    Raises:
        IntegrityError: the tenant was rolled back, or went on differently since.
        UsageError: `anchor` is not an anchor of this tenant.
    """
    with session.looking() as (connection, keys):
        sequence, head = _parse(session, keys, anchor)
        found = {one.sequence: one.head for one, _ in heads.chain(connection)}
    if sequence not in found:
        raise IntegrityError(
            f"tenant {session.name} was rolled back: it is at commit {max(found, default=0)}, "
            f"the anchor at {sequence}; restore the newer copy"
        )
    if found[sequence] != head:
        raise IntegrityError(
            f"tenant {session.name} was rolled back and went on differently: its commit "
            f"{sequence} is not the anchored one"
        )


def _parse(session: Session, keys: Keys, anchor: str) -> tuple[int, bytes]:
    try:
        stated = format.from_json(anchor)
        signature = bytes.fromhex(stated.pop("signature"))
        keys.signer().public_key().verify(signature, _signed(keys, stated))
        return int(stated["sequence"]), bytes.fromhex(stated["head"])
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
        raise UsageError(f"this is not an anchor made by tenant {session.name}") from error


def _signed(keys: Keys, stated: dict[str, object]) -> bytes:
    return format.context("anchor", keys.tenant_id, json.dumps(stated, sort_keys=True))
