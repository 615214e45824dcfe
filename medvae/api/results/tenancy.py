"""Results of the verbs that keep tenants, keys, the audit log and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae.api.results.base import Json, Recorded, Result


@dataclass(frozen=True)
class TenantInfo(Result):
    """A tenant as anybody sees it who can read the vault; `epoch` counts its key epochs."""

    tenant: str
    created: str
    epoch: int


@dataclass(frozen=True)
class Recovery(Result):
    """A new identity file that was made from the recovery key."""

    identity: Path
    tenant: str


@dataclass(frozen=True)
class TenantErasure(Result):
    """The name of a tenant whose keys are destroyed."""

    erased: str


@dataclass(frozen=True)
class IdentityFiles(Result):
    """An identity file, the public half beside it, and the key's fingerprint."""

    identity: Path
    public: Path
    fingerprint: str


@dataclass(frozen=True)
class Epoch(Result):
    """The number of the key epoch that is in force."""

    epoch: int


@dataclass(frozen=True)
class Resealing(Result):
    """How many objects have new data keys."""

    resealed: int


@dataclass(frozen=True)
class Recipient(Result):
    """A key that can open the tenant; `kind` is "hpke", "passphrase" or "transit".

    Attributes:
        approver: fingerprint of the key by which its holder approves releases; None: cannot.
    """

    fingerprint: str
    kind: str
    label: str
    added: str
    approver: str | None


@dataclass(frozen=True)
class RecipientAdded(Result):
    """The fingerprint of a key that can open the tenant now."""

    added: str
    label: str


@dataclass(frozen=True)
class RecipientRemoved(Result):
    """The fingerprint of a key that is not in the new epoch."""

    removed: str
    epoch: int


@dataclass(frozen=True)
class Event(Recorded):
    """An event of the audit log.

    Attributes:
        time: as ISO 8601 in UTC.
        outcome: "success", "failure" or "refused".
        user: the account that ran the command.
    """

    time: str
    event: str
    outcome: str
    user: str
    details: Mapping[str, Json]


@dataclass(frozen=True)
class Anchor(Result):
    """A signed line that names the newest commit; keep it away from the vault.

    Attributes:
        file: the file that it was added to; None where none was named.
        sequence, head: number and digest of the commit.
    """

    anchor: str
    file: Path | None
    tenant: str
    sequence: int
    head: str
    time: str


@dataclass(frozen=True)
class LogCheck(Result):
    """Whether the audit log is unbroken.

    Attributes:
        head: "COUNT:HEX" of the newest commit.
        anchors: how many were checked.
        problem: what is wrong; None where nothing is.
    """

    valid: bool
    events: int
    checkpoints: int
    head: str
    anchors: int
    problem: str | None


@dataclass(frozen=True)
class MachineCheck(Result):
    """One check of `doctor`."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Examination(Result):
    """All checks of `doctor`; `ok` when all hold."""

    ok: bool
    checks: tuple[MachineCheck, ...]


@dataclass(frozen=True)
class PresetInfo(Result):
    """A preset: its name, as `-c` takes it, and what it is for."""

    name: str
    summary: str


@dataclass(frozen=True)
class KeyInfo(Result):
    """A configuration key.

    Attributes:
        values: what it takes, in words.
        default: as JSON text.
        configs: preset -> its value there.
    """

    name: str
    values: str
    default: str
    description: str
    configs: Mapping[str, Json]
