"""Keys beside the tenant's own: recipients made elsewhere, added and taken away."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.vault import Tenant


def new(path: Path, passphrase: str | None) -> dict[str, Any]:
    """Make an identity file, and beside it the public half as `path`.pub to hand over.

    Raises:
        UsageError: one of the files exists.
    """
    from medvae.vault import identity
    from medvae.vault.create import write_identity

    public = path.with_name(path.name + ".pub")
    if path.exists() or public.exists():
        raise UsageError(f"{path} or {public} exists already; name a new file")
    made = identity.Identity.new()
    write_identity(path, made, passphrase)
    text = {"medvae": "public", "public": base64.b64encode(made.public()).decode()}
    public.write_text(json.dumps(text) + "\n", encoding="utf-8")
    return {"identity": str(path), "public": str(public), "fingerprint": made.fingerprint()}


def add(tenant: Tenant, public: Path, label: str) -> dict[str, Any]:
    """Let the holder of a key open the tenant, from the current epoch on.

    Raises:
        UsageError: the file is not a public key made by `new`.
    """
    from medvae.vault.identity import public_key
    from medvae.vault.providers import hpke_recipient

    try:
        raw = base64.b64decode(json.loads(public.read_text("utf-8"))["public"], validate=True)
        public_key(raw)
    except OSError as error:
        raise UsageError(f"cannot read {public}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{public} is no public key; expected a .pub of medvae keys new"
        ) from error
    now = datetime.now(UTC).isoformat(timespec="seconds")
    recipient = hpke_recipient(raw, label, now)
    tenant.add_recipient(recipient)
    return {"added": recipient.fingerprint, "label": label}


def listing(tenant: Tenant) -> list[dict[str, Any]]:
    """Who can open the tenant."""
    return [
        {"fingerprint": r.fingerprint, "kind": r.kind, "label": r.label, "added": r.added}
        for r in tenant.recipients()
    ]
