"""From the file that a user names to the provider that unwraps keys."""

from __future__ import annotations

from pathlib import Path

from medvae.errors import AccessError, NotFoundError
from medvae.vault import fileio, format, identity
from medvae.vault.identity import Argon2
from medvae.vault.keyring import Keyring
from medvae.vault.providers import HpkeProvider, Provider, passphrase_identity


def provider_for(
    path: Path | None, passphrase: str | None, ring: Keyring | None = None
) -> Provider:
    """The provider of an identity file, of a key server's file, or of a passphrase alone.

    Raises:
        NotFoundError, AccessError, IntegrityError: as `identity.load`.
    """
    if path is None:
        return _by_passphrase(passphrase, ring)
    if is_transit(path):
        from medvae.vault import transit

        return transit.from_file(path)
    return HpkeProvider(identity.load(path, passphrase))


def is_transit(path: Path) -> bool:
    """Whether a file names a key server."""
    try:
        return bool(format.from_json(fileio.read_small(path)).get("medvae") == "transit")
    except (OSError, ValueError, AttributeError):
        return False  # not JSON or not there: the identity reader says what is wrong


def _by_passphrase(passphrase: str | None, ring: Keyring | None) -> Provider:
    if not passphrase or ring is None:
        raise NotFoundError("no identity file is named: give --identity, or a passphrase")
    for entry in ring.recipients:
        if "argon2" not in entry.settings:
            continue
        try:
            cost, salt = Argon2(**entry.settings["argon2"]), bytes.fromhex(entry.settings["salt"])
            key = passphrase_identity(passphrase, salt, cost)
        except (ValueError, KeyError, TypeError):
            continue  # not authenticated yet: whoever wrote it gets nothing but a refusal
        if key.fingerprint() == entry.fingerprint:
            return HpkeProvider(key)
    raise AccessError(f"this passphrase is not among the recipients of tenant {ring.tenant}")
