"""Key files of people who are to become recipients of a tenant that exists."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from medvae.errors import UsageError
from medvae.vault import approvers, create, fileio, format, identity
from medvae.vault.identity import Identity
from medvae.vault.open import is_transit
from medvae.vault.providers import Recipient, hpke_recipient, passphrase_recipient
from medvae.vault.recipients import now


def new_identity(path: Path, passphrase: str | None = None) -> str:
    """Write a new identity file, mode 0600; returns its fingerprint.

    Raises:
        UsageError: something is at `path` already. AccessError: it cannot be written.
    """
    identity = Identity.new()
    with create.key_folder(path):
        if os.path.lexists(path):
            raise UsageError(f"{path} exists already, and an identity is never overwritten")
        create.write_identity(path, identity, passphrase)
    return identity.fingerprint()


def recipient_of(path: Path, label: str) -> Recipient:
    """The recipient that a public key's, an identity's or a key server's file describes.

    Only what is public is read: no passphrase is needed, and a file to hand over need hold
    nothing else: `{"medvae": "public", "public": BASE64}`. With `"approver"`, 32 bytes in hex, the
    recipient can approve releases, too.

    Raises:
        UsageError: the file is missing, or names no possible key.
    """
    if is_transit(path):
        from medvae.vault import transit

        return transit.from_file(path).recipient(label, now())
    try:
        header = format.from_json(fileio.read_small(path))
        public = base64.b64decode(header["public"], validate=True)
        identity.public_key(public)
        approver = header.get("approver")
        if approver is not None:
            approvers.check(approver)
    except FileNotFoundError:
        raise UsageError(f"no key file at {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no public key") from error
    settings = {} if approver is None else {approvers.SETTING: approver}
    return hpke_recipient(public, label, now(), settings)


def recipient_of_passphrase(passphrase: str, label: str) -> Recipient:
    """A recipient that needs nothing but a passphrase of at least 80 bits.

    Raises:
        UsageError: it is too short to carry that.
    """
    if len(passphrase) < 20:
        raise UsageError("a passphrase alone must have 20 characters or more: seven dice words")
    return passphrase_recipient(passphrase, label, now(), os.urandom(16))
