"""Results of making and verifying releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae.api.results.base import Result


@dataclass(frozen=True)
class GateCheck(Result):
    """One question of the release gate and its answer, as printed on the card."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class ReleaseResult(Result):
    """A signed release, in its place.

    Attributes:
        release: the folder; report: the HTML report in it.
        volumes, n: synthetic ones in it.
        public: images of public people in it.
        files, bytes: under the manifest.
        epsilon, delta: for each unit; 0 of a public model.
        unit: "patient" or "file": whom the guarantee protects.
        signer: fingerprint of the signing key.
        id: 64 hex digits, the SHA-256 of the manifest; `release recall` takes it.
        status: "released" or "awaiting approval".
        scores: headline score ("privacy", "quality") -> 0 to 10, rounded down; None where it was
            not measured.
    """

    release: Path
    report: Path
    volumes: int
    files: int
    bytes: int
    epsilon: float
    delta: float
    passed: bool
    checks: tuple[GateCheck, ...]
    signer: str
    model: str
    n: int
    public: int
    id: str
    status: str
    scores: Mapping[str, float | None]
    unit: str = "patient"


@dataclass(frozen=True)
class ReleaseCheck(Result):
    """What verification of a release found (see `medvae.release.VerifyResult`).

    Attributes:
        valid: True: unchanged, and signed by the key that was given. False: changed, forged,
            damaged or signed by another key. None: unchanged, but no key was given.
        signer: fingerprint of the key under which the signature fits; None where none does.
        files: listed files that are as they were.
        problems: one sentence each; empty unless `valid` is False.
        id: of the release, 64 hex digits; None where no signature fits.
        recalled: whether the list that was given recalls it (then `valid` is False, for
            `reason`); None: no list was given. `recall_list` is its number.
        approved: whether the approval is there that the release demands (if not, `valid` is
            False); None: it demands none. `approver`: fingerprint of the key that gave it.
    """

    valid: bool | None
    unchanged: bool
    trusted: bool
    signer: str | None
    files: int
    problems: tuple[str, ...]
    advice: str
    id: str | None
    recalled: bool | None
    reason: str
    recall_list: int | None
    approved: bool | None
    approver: str | None


@dataclass(frozen=True)
class Issue(Result):
    """When a release was signed (ISO 8601, UTC) and for whom, in words; "" for nobody named."""

    time: str
    recipient: str


@dataclass(frozen=True)
class ReleaseInfo(Result):
    """One release in the tenant's book.

    Attributes:
        release: its id, 64 hex digits.
        volumes, public: synthetic ones in it, and images of public people.
        epsilon, delta: for each patient; 0 of a public model.
        status: "released", "awaiting approval", "recalled", or "signed" where the work stopped
            after the signature.
        approver: fingerprint of the key that approved it.
        reason: of the recall.
        issues: equal releases have one entry with several issues.
    """

    release: str
    model: str
    title: str
    format: str
    volumes: int
    public: int
    epsilon: float
    delta: float
    status: str
    approver: str | None
    reason: str
    issues: tuple[Issue, ...]


@dataclass(frozen=True)
class ApprovalResult(Result):
    """An approval: the release's id, its folder, the approver's fingerprint, an ISO date."""

    release: str
    folder: Path
    approver: str
    date: str


@dataclass(frozen=True)
class RecallResult(Result):
    """A recalled release, and the signed list of all recalls.

    Attributes:
        release: its id.
        reason, date: of its recall, which may be an earlier one.
        number: of the list: how many releases it recalls.
        file: the list.
    """

    release: str
    reason: str
    date: str
    number: int
    file: Path


@dataclass(frozen=True)
class Unsent(Result):
    """A file that an archive did not take, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class SendResult(Result):
    """What became of a release that was sent to an image archive.

    Attributes:
        release: its folder.
        peer: the archive.
        sent: files that the archive says it has stored.
        failed: the others.
        signer: fingerprint of the key under which the release's signature fits.
    """

    release: Path
    peer: str
    sent: int
    failed: tuple[Unsent, ...]
    signer: str
