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
    with session.read_tx() as (connection, keys):
        session.index(connection)
        newest = heads.last(connection)
    if newest is None:
        raise IntegrityError(
            f"the catalogue of tenant {session.name} has lost its chain of commits: restore it "
            "from a backup"
        )
    facts = {
        "medvae": "anchor",
        "tenant": session.name,
        "id": keys.tenant_id.hex(),
        "sequence": newest.sequence,
        "head": newest.head.hex(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    signature = keys.signer().sign(_signed(keys, facts))
    return json.dumps({**facts, "signature": signature.hex()}, sort_keys=True)


def check(session: Session, anchor: str) -> None:
    """The tenant is the anchored state or one that grew out of it.

    Raises:
        IntegrityError: the tenant was rolled back, or went on differently since.
        UsageError: `anchor` is not an anchor of this tenant.
    """
    with session.read_tx() as (connection, keys):
        sequence, head = _parse(session, keys, anchor)
        links = {commit.sequence: commit.head for commit, _ in heads.chain(connection)}
    if sequence not in links:
        raise IntegrityError(
            f"tenant {session.name} was rolled back: it is at commit {max(links, default=0)}, "
            f"the anchor at {sequence}; restore the newer copy"
        )
    if links[sequence] != head:
        raise IntegrityError(
            f"tenant {session.name} was rolled back and went on differently: its commit "
            f"{sequence} is not the anchored one"
        )


def _parse(session: Session, keys: Keys, anchor: str) -> tuple[int, bytes]:
    try:
        facts = format.from_json(anchor)
        signature = bytes.fromhex(facts.pop("signature"))
        keys.signer().public_key().verify(signature, _signed(keys, facts))
        return int(facts["sequence"]), bytes.fromhex(facts["head"])
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
        raise UsageError(f"this is not an anchor made by tenant {session.name}") from error


def _signed(keys: Keys, facts: dict[str, object]) -> bytes:
    return format.context("anchor", keys.tenant_id, json.dumps(facts, sort_keys=True))
