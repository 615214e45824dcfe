"""Slots of the key ring: an epoch key wrapped to one recipient of any kind."""

from __future__ import annotations

import base64

from medvae.vault import format, transit
from medvae.vault.identity import SUITE, public_key
from medvae.vault.providers import Recipient


def wrap_for(recipient: Recipient, secret: bytes, bound: bytes) -> bytes:
    """Make the slot of a recipient; needs no private key.

    Raises:
        AccessError: the recipient is a key server that cannot be reached or refuses.
    """
    if recipient.kind == "transit":
        return transit.from_settings(recipient.settings).wrap(secret, bound)
    public = public_key(base64.b64decode(recipient.settings["public"]))
    return SUITE.encrypt(secret, public, info=bound)


def slot_context(tenant_id: bytes, number: int, fingerprint: str) -> bytes:
    """What a slot is bound to: this tenant, this epoch, this recipient."""
    return format.context("slot", tenant_id, number, fingerprint)
