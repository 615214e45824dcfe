"""The key ring of a tenant: who may open it, and the epoch key wrapped to each of them.

`keyring.json` is readable text. It is authenticated as a whole by an HMAC under the
tenant's root, which is checked as soon as the ring is unlocked: a recipient slipped in by
somebody who can write to the disk is found before anything is wrapped to it. Normally it
holds one epoch; during a rotation, for a moment, the old and the new one.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError
from medvae.vault import fileio, format
from medvae.vault.keys import Keys
from medvae.vault.providers import Provider, Recipient, UnwrapError
from medvae.vault.slots import slot_context, wrap_for

FILE: Final = "keyring.json"
DEFAULT_DELTA: Final = 1e-5
_DELTAS: Final = (1e-15, 1e-5)
_ID: Final = 16
_LINK: Final = 32


@dataclass(frozen=True)
class Epoch:
    """An epoch key, wrapped: `slots` by recipient's fingerprint, and the root under it."""

    number: int
    slots: dict[str, bytes] = field(repr=False)
    root: bytes = field(repr=False)


@dataclass(frozen=True)
class Tally:
    """How many records a journal, or commits a catalogue, has at least; the last one's link."""

    count: int
    link: bytes


@dataclass(frozen=True)
class Keyring:
    """The contents of `keyring.json`.

    epsilon_limit, delta: the tenant's largest epsilon a patient, at this delta; no delta in a
        ring of an earlier version, which stands for `DEFAULT_DELTA`.
    journals: the length of each journal by the keyed index (hex) of its name; None in a ring
        of an earlier version, which did not count.
    commits: the number of commits of the catalogue, likewise.
    approvals: how many a release needs, 0 or 1.
    as_written: the file has the one form in which it is written: no unknown or repeated key, no
        other spelling of a number or digest.
    """

    tenant: str
    tenant_id: bytes
    created: str
    epsilon_limit: float
    signer: bytes
    store: str
    recipients: tuple[Recipient, ...]
    epochs: tuple[Epoch, ...]
    mac: bytes = b""
    delta: float | None = None
    journals: dict[str, Tally] | None = None
    commits: Tally | None = None
    approvals: int = 0
    as_written: bool = True

    def epoch(self, number: int) -> Epoch | None:
        """The wrapped epoch of that number, if the ring has it."""
        return next((epoch for epoch in self.epochs if epoch.number == number), None)

    def latest(self) -> int:
        """The number of the newest epoch."""
        return max(epoch.number for epoch in self.epochs)


def encode(ring: Keyring) -> bytes:
    """The bytes of the file."""
    return (json.dumps(_fields(ring), indent=1) + "\n").encode()


def signed(ring: Keyring, keys: Keys) -> Keyring:
    """The ring with its authentication code."""
    return replace(ring, mac=keys.mac("keyring", _authenticated(ring)))


def save(folder: Path, ring: Keyring) -> None:
    """Replace the file atomically, then overwrite the blocks of the old one."""
    path = folder / FILE
    # Only this descriptor reaches the old blocks once the name is gone, so a crash in
    # between can never overwrite the ring that is in use.
    old = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fileio.atomic_write(path, encode(ring))
        fileio.write_all(old, bytes(os.fstat(old).st_size))
        os.fsync(old)
    finally:
        os.close(old)


def load(folder: Path, tenant: str) -> Keyring:
    """Read the ring; nothing in it is to be trusted before `unlock`.

    Raises:
        NotFoundError: the tenant has none. IntegrityError: it is damaged.
    """
    path = folder / FILE
    problem: Exception | None = None
    for _ in range(3):  # a ring replaced while it was read reads as zeros: read again
        try:
            ring = _decode(fileio.read_small(path))
        except FileNotFoundError:
            raise NotFoundError(f"tenant {tenant} does not exist in this vault") from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            problem = error
            continue
        if ring.tenant != tenant:
            raise IntegrityError(
                f"the folder of tenant {tenant} holds the key ring of tenant {ring.tenant}: "
                "a tenant's folder must not be renamed or copied"
            )
        return ring
    if path.exists() and not any(fileio.read_small(path)):
        # What `fileio.shred` leaves for the moment before the file goes.
        raise IntegrityError(
            f"the key ring of tenant {tenant} was overwritten, as an erasure does that was cut "
            f"off: finish it (medvae tenant erase {tenant}), or restore {path} from a backup"
        ) from problem
    raise IntegrityError(
        f"the key ring of tenant {tenant} is damaged ({path}): restore it from a backup"
    ) from problem


def parse(raw: bytes, tenant: str) -> Keyring:
    """A ring that another process has read; nothing in it is to be trusted before `unlock`.

    Raises:
        IntegrityError: it is no key ring of that tenant.
    """
    try:
        ring = _decode(raw)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise IntegrityError(f"what was sent is no key ring of tenant {tenant}") from error
    if ring.tenant != tenant:
        raise IntegrityError(f"the key ring of tenant {ring.tenant} was sent for {tenant}")
    return ring


def unlock(ring: Keyring, provider: Provider, number: int) -> Keys:
    """The keys of epoch `number`.

    Raises:
        AccessError: the provider is not among the tenant's recipients.
        IntegrityError: the slot, the root or the list of recipients was changed.
    """
    name = provider.fingerprint()
    epoch = ring.epoch(number)
    if epoch is None:
        raise IntegrityError(f"the key ring of tenant {ring.tenant} lacks epoch {number}")
    if name not in epoch.slots:
        raise AccessError(
            f"this identity ({name[:8]}) is not among the recipients of tenant {ring.tenant}: "
            "use the identity that it was created with, or its recovery key"
        )
    try:
        key = provider.unwrap(epoch.slots[name], slot_context(ring.tenant_id, number, name))
        root = format.unwrap(key, _root_context(ring.tenant_id, number), epoch.root)
    except (UnwrapError, InvalidTag, ValueError) as error:
        raise IntegrityError(
            f"the key slot of identity {name[:8]} in tenant {ring.tenant} is damaged: restore "
            "keyring.json from a backup, or use another recipient"
        ) from error
    keys = Keys(ring.tenant_id, number, key, root)
    authenticate(ring, keys, provider)
    return keys


def add_epoch(ring: Keyring, keys: Keys, recipients: Iterable[Recipient]) -> Keyring:
    """The ring with `keys.epoch` wrapped for `recipients` beside what it had; signed."""
    members = tuple(recipients)
    if len(members) < 2:
        raise MedvaeError(f"tenant {ring.tenant} must keep at least two recipients")
    slots = {
        recipient.fingerprint: wrap_for(
            recipient, keys.epoch, slot_context(keys.tenant_id, keys.number, recipient.fingerprint)
        )
        for recipient in members
    }
    root = format.wrap(keys.epoch, _root_context(keys.tenant_id, keys.number), keys.root)
    older = tuple(epoch for epoch in ring.epochs if epoch.number != keys.number)
    epochs = (*older, Epoch(keys.number, slots, root))
    return signed(replace(ring, recipients=members, epochs=epochs), keys)


def only_epoch(ring: Keyring, keys: Keys) -> Keyring:
    """The ring with every epoch but the keys' dropped; signed."""
    epochs = tuple(epoch for epoch in ring.epochs if epoch.number == keys.number)
    return signed(replace(ring, epochs=epochs), keys)


def authenticate(ring: Keyring, keys: Keys, provider: Provider) -> None:
    """The ring was written by a holder of this tenant's root, and nobody else.

    Raises:
        IntegrityError: it was changed, or is another tenant's.
    """
    genuine = hmac.compare_digest(ring.mac, keys.mac("keyring", _authenticated(ring)))
    if not (genuine and ring.as_written):
        raise IntegrityError(
            f"the key ring of tenant {ring.tenant} was changed outside medvae (recipients, "
            "limits or slots): restore keyring.json from a backup"
        )
    pinned = provider.pins().get(ring.tenant_id.hex())
    public_key = keys.signer_public()
    if ring.signer != public_key or (pinned is not None and pinned != public_key.hex()):
        raise IntegrityError(
            f"tenant {ring.tenant} is not the tenant that this identity was made for: its "
            "signature key differs"
        )


def _root_context(tenant_id: bytes, number: int) -> bytes:
    return format.context("root", tenant_id, number)


def _fields(ring: Keyring) -> dict[str, Any]:
    stored: dict[str, Any] = {
        "medvae": "keyring",
        "format": format.FORMAT,
        "tenant": ring.tenant,
        "id": ring.tenant_id.hex(),
        "created": ring.created,
        "epsilon_limit": ring.epsilon_limit,
        "signer": ring.signer.hex(),
        "store": ring.store,
        "recipients": [asdict(entry) for entry in ring.recipients],
        "epochs": [
            {
                "number": epoch.number,
                "slots": {name: _text(slot) for name, slot in epoch.slots.items()},
                "root": _text(epoch.root),
            }
            for epoch in ring.epochs
        ],
        "mac": ring.mac.hex(),
    }
    # A ring of an earlier version has neither, and its code was made without them.
    if ring.delta is not None:
        stored["delta"] = ring.delta
    if ring.journals is not None:
        stored["journals"] = {name: _counted(entry) for name, entry in ring.journals.items()}
    if ring.commits is not None:
        stored["commits"] = _counted(ring.commits)
    if ring.approvals:
        stored["approvals"] = ring.approvals
    return stored


def _authenticated(ring: Keyring) -> bytes:
    return json.dumps(_fields(replace(ring, mac=b"")), sort_keys=True).encode()


def _decode(raw: bytes) -> Keyring:
    stored = format.from_json(raw)
    if stored["medvae"] != "keyring" or stored["format"] != format.FORMAT:
        raise ValueError("not a key ring of a format that is known")
    limit = float(stored["epsilon_limit"])
    if not math.isfinite(limit):
        raise ValueError("epsilon_limit is not finite")
    epochs = tuple(
        Epoch(
            int(epoch["number"]),
            {str(name): _raw(slot) for name, slot in epoch["slots"].items()},
            _raw(epoch["root"]),
        )
        for epoch in stored["epochs"]
    )
    if not epochs or not all(0 < epoch.number < 1 << 62 for epoch in epochs):
        raise ValueError("no epoch, or one of an impossible number")
    # Both are used before anything is authenticated: for the place in a store, and in lists.
    tenant_id, created = bytes.fromhex(stored["id"]), str(stored["created"])
    if len(tenant_id) != _ID or not created.isprintable():
        raise ValueError("no tenant's id, or no time")
    ring = Keyring(
        tenant=str(stored["tenant"]),
        tenant_id=tenant_id,
        created=created,
        epsilon_limit=limit,
        signer=bytes.fromhex(stored["signer"]),
        store=str(stored["store"]),
        recipients=tuple(_recipient(fields) for fields in stored["recipients"]),
        epochs=epochs,
        mac=bytes.fromhex(stored["mac"]),
        delta=_delta(stored["delta"]) if "delta" in stored else None,
        journals=_journals(stored["journals"]) if "journals" in stored else None,
        commits=_tally(stored["commits"]) if "commits" in stored else None,
        approvals=_approvals(stored.get("approvals", 0)),
    )
    return replace(ring, as_written=encode(ring) == raw)


def _recipient(stored: dict[str, Any]) -> Recipient:
    recipient = Recipient(**stored)
    words = (recipient.fingerprint, recipient.kind, recipient.label, recipient.added)
    if not all(isinstance(word, str) for word in words) or not isinstance(recipient.settings, dict):
        raise ValueError("a recipient of other types")
    return recipient


def check_delta(delta: float) -> None:
    """Raises ValueError unless a tenant can have this delta."""
    smallest, largest = _DELTAS
    if type(delta) is not float or not smallest <= delta <= largest:
        raise ValueError(f"delta must be in [{smallest:g}, {largest:g}]")


def _approvals(stored: Any) -> int:
    if type(stored) is not int or stored not in (0, 1):
        raise ValueError("approvals must be 0 or 1")
    return stored


def _delta(stored: Any) -> float:
    check_delta(stored)
    return float(stored)


def _journals(stored: dict[str, Any]) -> dict[str, Tally]:
    journals = {}
    for name, count in stored.items():
        if len(bytes.fromhex(name)) != _LINK:
            raise ValueError("no name of a journal")
        journals[name] = _tally(count)
    return journals


def _tally(stored: Any) -> Tally:
    count, link = stored["count"], bytes.fromhex(stored["link"])
    if len(link) != _LINK or type(count) is not int or count < 1:
        raise ValueError("no count")
    return Tally(count, link)


def _counted(tally: Tally) -> dict[str, Any]:
    return {"count": tally.count, "link": tally.link.hex()}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
