"""Keys beside the tenant's own: recipients made elsewhere, added and taken away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.results import IdentityFiles, Recipient, RecipientAdded
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.vault import Tenant


def new(path: Path, passphrase: str | None) -> IdentityFiles:
    """Make an identity file, and beside it the public half as `path`.pub to hand over.

    Raises:
        UsageError: one of the files exists.
    """
    from medvae.vault import atomic_write, new_identity, recipient_of

    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise UsageError(f"{public} exists already; name a new file")
    fingerprint = new_identity(path, passphrase)
    header = {"medvae": "public", **recipient_of(path, "").settings}
    atomic_write(public, (json.dumps(header) + "\n").encode(), 0o644)
    return IdentityFiles(path, public, fingerprint)


def add(tenant: Tenant, public: Path, label: str) -> RecipientAdded:
    """Let the holder of a key open the tenant, from the current epoch on.

    Raises:
        UsageError: the file holds no public key.
    """
    from medvae.vault import recipient_of

    recipient = recipient_of(public, label)
    tenant.add_recipient(recipient)
    return RecipientAdded(recipient.fingerprint, label)


def add_passphrase(tenant: Tenant, passphrase: str, label: str) -> RecipientAdded:
    """Let a passphrase alone open the tenant, from the current epoch on.

    Raises:
        UsageError: it has fewer than 20 characters.
    """
    from medvae.vault import recipient_of_passphrase

    recipient = recipient_of_passphrase(passphrase, label)
    tenant.add_recipient(recipient)
    return RecipientAdded(recipient.fingerprint, label)


def listing(tenant: Tenant) -> tuple[Recipient, ...]:
    """Who can open the tenant."""
    from medvae.release import fingerprint
    from medvae.vault import approver_of

    recipients = [(recipient, approver_of(recipient)) for recipient in tenant.recipients()]
    return tuple(
        Recipient(
            recipient.fingerprint,
            recipient.kind,
            recipient.label,
            recipient.added,
            None if key is None else fingerprint(key),
        )
        for recipient, key in recipients
    )
