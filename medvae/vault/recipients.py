"""Who may open a tenant: adding and removing recipients, and recovering with a safe's key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from medvae.errors import NotFoundError, UsageError
from medvae.vault import audit, keyring, rotation
from medvae.vault.providers import Recipient
from medvae.vault.session import Session

FEWEST: Final = 2


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def add(session: Session, recipient: Recipient) -> None:
    """Wrap the current epoch to one more key; the caller holds the writer lock.

    Raises:
        UsageError: it is a recipient already.
    """
    session.prune()
    ring, keys = session.ring, session.keys
    if any(present.fingerprint == recipient.fingerprint for present in ring.recipients):
        raise UsageError(f"{recipient.fingerprint[:8]} is a recipient of {ring.tenant} already")
    grown = keyring.add_epoch(ring, keys, (*ring.recipients, recipient))
    keyring.save(session.folder, grown)
    session.adopt(grown, keys.number)
    audit.record(session, "keys add", "success", _details(recipient))


def remove(session: Session, fingerprint: str) -> int:
    """A new epoch without that key; the caller holds the writer lock.

    What the key could open before, a copy made before still opens to it: when it is in
    wrong hands, `reseal` as well.
    """
    ring = session.ring
    matches = [entry for entry in ring.recipients if entry.fingerprint.startswith(fingerprint)]
    if len(matches) != 1 or len(fingerprint) < 8:
        raise NotFoundError(
            f"no single recipient of {ring.tenant} has the fingerprint {fingerprint!r}: give at "
            "least its first 8 digits"
        )
    if matches[0].fingerprint == session.provider.fingerprint():
        raise UsageError("the identity in use cannot remove itself: use another recipient")
    remaining = [entry for entry in ring.recipients if entry != matches[0]]
    if len(remaining) < FEWEST:
        raise UsageError(f"tenant {ring.tenant} must keep two recipients: add another one first")
    number = rotation.rotate(session, recipients=remaining)
    audit.record(session, "keys remove", "success", {**_details(matches[0]), "epoch": number})
    return number


def _details(recipient: Recipient) -> dict[str, str]:
    return {
        "fingerprint": recipient.fingerprint,
        "kind": recipient.kind,
        "label": recipient.label,
    }
