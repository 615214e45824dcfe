"""A tenant's book of releases: what was signed, for whom, and what was recalled.

An entry is sealed before the signature is made, so that nothing that was signed is missing from the
book, whatever stops the work afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.files import new_file
from medvae.api.records import ReleaseRecord
from medvae.api.results import Issue, RecallResult, ReleaseInfo
from medvae.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from medvae.release import ReleaseFacts
    from medvae.release.recall import Recall
    from medvae.vault import Tenant

_KIND = "release"
_SHORTEST = 8


@dataclass
class Entry:
    """The entry of a release that is being made.

    Attributes:
        record: of a release that was never signed (`record_of`).
        folder: where it is made.
        recipient: for whom it is, in words; "" where nobody was named.
        approval: whether it needs one.
        release: the id, once it was signed.
    """

    tenant: Tenant
    record: ReleaseRecord
    folder: Path
    recipient: str = ""
    approval: bool = False
    release: str = ""

    def signer(self) -> Callable[[bytes], bytes]:
        """`Tenant.sign` of a manifest, which enters the release first.

        Raises:
            UsageError: a release of the same bytes was recalled.
        """
        from medvae.release import manifest_of, release_id

        def sign(data: bytes) -> bytes:
            self.release = release_id(manifest_of(data))
            self._enter("signed")
            return self.tenant.sign(data)

        return sign

    def finish(self) -> None:
        """The folder is in its place."""
        self._enter("awaiting approval" if self.approval else "released")

    def _enter(self, status: str) -> None:
        name = self.release
        before = _read(self.tenant, name) if self.tenant.find(_KIND, name) else None
        if before is not None and before["recalled"]:
            raise UsageError(
                f"release {name[:16]} has the same bytes and was recalled "
                f"({before['recalled']['reason']}): draw with another seed"
            )
        record = before or {**self.record, "issues": []}
        if status == "signed":
            record["issues"].append({"time": _now(), "recipient": self.recipient})
        # The same bytes once more lose neither a release nor an approval that there was.
        record["status"] = "released" if "released" in (status, record["status"]) else status
        record["folder"] = str(self.folder.absolute())
        _write(self.tenant, name, record)


def record_of(facts: ReleaseFacts, model: str, fmt: str) -> ReleaseRecord:
    """What the book says of a release that is to be signed for the first time."""
    private = facts.privacy.training == "private"
    epsilon = facts.privacy.epsilon if private else 0.0
    delta = facts.privacy.delta if private else 0.0
    # `ReleaseFacts.from_model` takes them from a plan or refuses the model.
    assert epsilon is not None
    assert delta is not None
    assert facts.volumes is not None
    return {
        "model": model,
        "title": facts.name,
        "format": fmt,
        "volumes": facts.volumes,
        "public": 0 if facts.public is None else facts.public.count,
        "epsilon": epsilon,
        "delta": delta,
        "status": "signed",
        "issues": [],
        "recalled": None,
    }


def approval_of(tenant: Tenant, release: str) -> bytes | None:
    """The approval that a release has (approval.json); None: it has none.

    Raises:
        NotFoundError: the book holds no such release.
        UsageError: it was recalled.
    """
    entry = _read(tenant, _resolve(tenant, release))
    if entry["recalled"]:
        raise UsageError(
            f"release {release[:16]} was recalled ({entry['recalled']['reason']}) and cannot be "
            "approved"
        )
    approval = entry.get("approval")
    return None if approval is None else str(approval["text"]).encode("ascii")


def approve(tenant: Tenant, release: str, approval: bytes, approver: str) -> None:
    """Enter the approval of a release; one that has it already keeps its own."""
    entry = _read(tenant, release)
    if entry.get("approval") is None:
        entry["approval"] = {"text": approval.decode("ascii"), "approver": approver, "time": _now()}
        entry["status"] = "released"
        _write(tenant, release, entry)
        tenant.record("approve", release=release, approver=approver)


def folder_of(tenant: Tenant, release: str) -> Path | None:
    """Where a release was made last; None where an earlier version made it.

    Raises:
        NotFoundError, UsageError: no release, or several, begin like this.
    """
    folder = _read(tenant, _resolve(tenant, release)).get("folder")
    return None if folder is None else Path(folder)


def listing(tenant: Tenant) -> tuple[ReleaseInfo, ...]:
    """Every release that was signed, the oldest first."""
    releases = [_info(name, _read(tenant, name)) for name in tenant.names(_KIND)]
    return tuple(sorted(releases, key=lambda release: (release.issues[0].time, release.release)))


def recall(tenant: Tenant, release: str, reason: str, out: Path) -> RecallResult:
    """Recall a release, and write the signed list of all recalls.

    A release that was recalled before keeps its first reason and date; the list is written again.

    Args:
        release: the id, or its first 8 digits or more.

    Raises:
        NotFoundError: there is no such release.
        UsageError: several begin like this, the reason is not one printable line, or `out` exists.
    """
    from medvae.release import encode_recalls, one_line
    from medvae.vault import atomic_write

    new_file(out)
    name = _resolve(tenant, release)
    entry = _read(tenant, name)
    if not entry["recalled"]:
        said = one_line(reason, "the reason of a recall")
        entry["recalled"] = {"reason": said, "date": _now()[:10], "order": len(_recalls(tenant))}
        _write(tenant, name, entry)
        tenant.record("release", action="recall", release=name, reason=said)
    recalls = _recalls(tenant)
    atomic_write(out, encode_recalls(recalls, tenant.sign, tenant.public_key()), 0o644)
    done = next(order for order in recalls if order.release == name)
    return RecallResult(name, done.reason, done.date, len(recalls), out)


def _recalls(tenant: Tenant) -> list[Recall]:
    """All recalls, in the order in which they were made."""
    from medvae.release import Recall

    entries = [(name, _read(tenant, name)["recalled"]) for name in tenant.names(_KIND)]
    ordered = [
        (entry["order"], Recall(name, entry["reason"], entry["date"]))
        for name, entry in entries
        if entry
    ]
    return [recall for _, recall in sorted(ordered, key=lambda pair: pair[0])]


def _resolve(tenant: Tenant, start: str) -> str:
    names = tenant.names(_KIND)
    fitting = [name for name in names if name.startswith(start)] if len(start) >= _SHORTEST else []
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{len(fitting)} releases begin with {start!r}; give more of the id")
    raise NotFoundError(
        f"tenant {tenant.name} has no release {start!r}: give its id or the first {_SHORTEST} "
        "digits of it (medvae release list)"
    )


def _info(name: str, entry: ReleaseRecord) -> ReleaseInfo:
    recalled, approval = entry["recalled"], entry.get("approval")
    return ReleaseInfo(
        release=name,
        model=entry["model"],
        title=entry["title"],
        format=entry["format"],
        volumes=entry["volumes"],
        # Entries of earlier versions do not say it.
        public=entry.get("public", 0),
        epsilon=entry["epsilon"],
        delta=entry["delta"],
        status="recalled" if recalled else entry["status"],
        approver=None if approval is None else approval["approver"],
        reason=recalled["reason"] if recalled else "",
        issues=tuple(Issue(**issue) for issue in entry["issues"]),
    )


def _read(tenant: Tenant, name: str) -> ReleaseRecord:
    entry: ReleaseRecord = json.loads(tenant.get_named(_KIND, name))
    return entry


def _write(tenant: Tenant, name: str, entry: ReleaseRecord) -> None:
    tenant.put(_KIND, json.dumps(entry).encode(), name=name, replace=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
