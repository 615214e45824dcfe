"""Approvals of releases: whether one needs any, and giving it with the identity in use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import release_book
from medvae.api.results import ApprovalResult
from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError

if TYPE_CHECKING:
    from medvae.vault import Tenant


def requirement(tenant: Tenant) -> bytes | None:
    """What a new release says of its approval (approvals.json); None: it needs none.

    Raises:
        AccessError: the identity in use has no approval key.
        UsageError: nobody else has one.
    """
    from medvae.release import approval

    approvals = tenant.approvals
    if not approvals.required:
        return None
    creator = approvals.own()
    others = [key for key in approvals.listed() if key != creator]
    if not others:
        raise UsageError(
            f"releases of tenant {tenant.name} need the approval of a second identity, and it has "
            "none: let a colleague run medvae keys new FILE, and medvae keys add FILE.pub"
        )
    return approval.require(creator, others)


def approve(tenant: Tenant, what: str) -> ApprovalResult:
    """Approve a release with the identity in use: a file beside its manifest.

    A release that is approved already gets the same approval again, where it lacks the file.

    Args:
        what: the release's folder, or its id or first digits, where it is as it was made.

    Raises:
        NotFoundError: there is no such release of this tenant.
        IntegrityError: it is not as the tenant signed it.
        UsageError: it needs no approval, or was recalled.
        AccessError: the identity made the release, or is not on its list.
    """
    from medvae.release import approval, check, manifest
    from medvae.vault import atomic_write

    folder = _folder(tenant, what)
    release, files = check.check_sealed(folder, tenant.public_key())
    if release.valid is not True or release.id is None:
        raise IntegrityError(
            f"{folder} is not approved, since it is not as this tenant signed it: "
            f"{release.problems[0]}"
        )
    try:
        who = approval.requirement_of(folder, files)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{folder} cannot be approved: {error}") from error
    if who is None:
        raise UsageError(
            f"the release {folder} needs no approval: its tenant was made without --approvals"
        )
    data = release_book.approval_of(tenant, release.id)
    if data is None:
        own = tenant.approvals.own()
        refusal = who.refusal(manifest.fingerprint(own))
        if refusal:
            tenant.record("approve", outcome="refused", release=release.id)
            raise AccessError(f"the release {folder} is not approved: {refusal}")
        today = datetime.now(UTC).date().isoformat()
        data = approval.encode(release.id, today, own, tenant.approvals.sign)
    statement = approval.decode(data, release.id, who)
    # The book first: what is valid outside is never missing from it.
    release_book.approve(tenant, release.id, data, statement.approver)
    atomic_write(folder / manifest.APPROVAL, data, 0o644)
    return ApprovalResult(release.id, folder, statement.approver, statement.date)


def _folder(tenant: Tenant, what: str) -> Path:
    if Path(what).is_dir():
        return Path(what)
    folder = release_book.folder_of(tenant, what)
    if folder is None or not folder.is_dir():
        raise NotFoundError(f"release {what} is no longer where it was made; give its folder")
    return folder
