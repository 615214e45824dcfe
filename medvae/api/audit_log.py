"""The audit log as a whole: is it unbroken, and is the store the one it was?

An anchor is a signed line that names the newest commit of a tenant. Every commit is in it:
objects, data sets, ledger, audit log. Kept where the vault's disk cannot reach, it
shows whether a vault was replaced by an older copy of itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvae.api.results import Anchor, Event, LogCheck
from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError

if TYPE_CHECKING:
    from medvae.vault import Tenant

_LARGEST: Final = 16 * 1024 * 1024  # bytes of a file of anchors: some 40,000 of them


def events(tenant: Tenant) -> tuple[Event, ...]:
    """Every event, oldest first."""
    named = ("time", "event", "outcome", "user", "details")
    return tuple(Event(event, **{key: event[key] for key in named}) for event in tenant.events())


def anchor(tenant: Tenant, out: Path | None) -> Anchor:
    """The anchor of the present state, recorded in the log; added to `out` as a line.

    Raises:
        AccessError: `out` cannot be written.
        UsageError: it is in the vault, and would be rolled back together with it.
    """
    if out is not None and out.resolve().is_relative_to(tenant.root.parent.resolve()):
        raise UsageError(f"{out} is in the vault, whose rollback it has to show: keep it elsewhere")
    tenant.record("log anchor", file=None if out is None else str(out))
    line = tenant.anchor()
    if out is not None:
        try:
            with out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise AccessError(f"{out} cannot be written: {error.strerror or error}") from error
    stated = json.loads(line)
    fields = {name: stated[name] for name in ("tenant", "sequence", "head", "time")}
    return Anchor(line, out, **fields)


def verify(tenant: Tenant, anchors: Path | None) -> LogCheck:
    """Check the chain, its signatures, and that the tenant grew out of every anchor.

    Raises:
        NotFoundError: the file of anchors does not exist.
        UsageError: it holds none, or one that this tenant did not make.
    """
    report = tenant.verify_log()
    lines = [] if anchors is None else _lines(anchors)
    problem = report.problem
    for line in lines:
        try:
            tenant.check_anchor(line)
        except IntegrityError as error:
            problem = problem or str(error)
    return LogCheck(
        valid=problem is None,
        events=report.events,
        checkpoints=report.checkpoints,
        head=report.head,
        anchors=len(lines),
        problem=problem,
    )


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        raise NotFoundError(f"there is no file of anchors at {path}") from None
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror or error}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{path} holds no anchor: make one with medvae log anchor --out FILE")
    return lines
