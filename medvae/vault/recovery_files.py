"""Files of a recovery: the new identity before it has its name, and the one that it replaces."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

from medvae.errors import IntegrityError, MedvaeError, UsageError
from medvae.vault import fileio, rotation
from medvae.vault import identity as identities
from medvae.vault.session import Session


def begun(
    waiting: Path, pins: dict[str, str], passphrase: str | None
) -> identities.Identity | None:
    """The new identity of a recovery of this tenant that was cut off, if it can be opened."""
    if not os.path.lexists(waiting):
        return None
    try:
        identity = identities.load(waiting, passphrase)
    except MedvaeError:
        return None
    return identity if identity.pins == pins else None


def forget_abandoned(session: Session, waiting: Path) -> None:
    """Remove the recipient of a recovery that was cut off and whose key nobody can open."""
    if not os.path.lexists(waiting):
        return
    try:
        header = identities.parse(waiting, fileio.read_small(waiting))
        abandoned = identities.fingerprint(base64.b64decode(header["public"]))
    except (IntegrityError, UsageError, ValueError, TypeError):
        return  # damaged: it names no key, and is replaced
    remaining = [
        recipient for recipient in session.ring.recipients if recipient.fingerprint != abandoned
    ]
    if abandoned != session.provider.fingerprint() and len(remaining) < len(
        session.ring.recipients
    ):
        # Before its file is replaced, which alone says which recipient it is.
        rotation.rotate(session, recipients=remaining)


def set_aside(path: Path) -> None:
    """Keep a file that is at the path of the new identity, as `NAME.replaced-TIME`."""
    if os.path.lexists(path):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path.rename(path.with_name(f"{path.name}.replaced-{stamp}"))
