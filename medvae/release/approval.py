"""Approvals: a release that a second identity has to agree to before it is valid.

    approvals.json   in the manifest: whose key made the release, and which others may approve it
    approval.json    beside the manifest: the signature of one of these over the release's id

Formal guarantee: `approved` is True only if the manifest's signature covers a list of keys, and one
of them that is not the creator's has signed this release's id. The list is only as honest as who
holds the tenant's signature key: that two identities are two people, no signature can show. Who has
the approver's fingerprint from elsewhere names it, and then depends on that key alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.errors import MedvaeError
from medvae.release import manifest as mf

if TYPE_CHECKING:
    from medvae.release.check import VerifyResult

FORMAT = "medvae-approval-1"
_DOMAIN = b"medvae release approval v1\x00"
_MOST_BYTES = 1 << 20
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WAITS = (
    "the release awaits approval: another identity than the one that made it has to approve it "
    "(medvae release approve)"
)


@dataclass(frozen=True)
class Requirement:
    """Who may approve a release: fingerprint -> key (PEM), and the fingerprint of its creator."""

    creator: str
    keys: Mapping[str, bytes]

    def refusal(self, approver: str) -> str:
        """Why this key may not approve the release; nothing if it may."""
        if approver == self.creator:
            return f"{approver} made the release, and nobody approves what he or she made"
        if approver not in self.keys:
            return f"{approver} is not on the release's list of keys that may approve it"
        return ""


@dataclass(frozen=True)
class Approval:
    """One approval.

    Attributes:
        approver: fingerprint of the key.
        date: ISO.
        signature: 64 bytes.
    """

    approver: str
    date: str
    signature: bytes


def require(creator: bytes, approvers: Sequence[bytes]) -> bytes:
    """approvals.json: the creator's key and those that may approve (PEM)."""
    keys = sorted(key.decode("ascii") for key in approvers if key != creator)
    terms = {"format": FORMAT, "creator": mf.fingerprint(creator), "approvers": keys}
    return mf.canonical({**terms, "approvals": 1})


def read_requirement(data: bytes) -> Requirement:
    """Read back `require`.

    Raises:
        ValueError: it is not what `require` writes.
    """
    try:
        terms = json.loads(data)
        keys = {mf.fingerprint(key): key for key in (k.encode("ascii") for k in terms["approvers"])}
        same = {"format": FORMAT, "creator": terms["creator"], "approvals": 1}
        written = mf.canonical({**same, "approvers": terms["approvers"]})
        creator = terms["creator"]
    except (KeyError, TypeError, AttributeError, MedvaeError, RecursionError) as error:
        raise ValueError("it does not say who may approve") from error
    if written != data or not isinstance(creator, str):
        raise ValueError("it is not in the form in which a release says who may approve")
    return Requirement(creator, keys)


def signed_bytes(release: str, date: str) -> bytes:
    """What an approval is over."""
    return _DOMAIN + mf.canonical({"format": FORMAT, "release": release, "date": date})


def encode(release: str, date: str, public_key: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """approval.json of a release by its id."""
    return mf.canonical(
        {
            "format": FORMAT,
            "release": release,
            "date": date,
            "approver": mf.fingerprint(public_key),
            "signature": sign(signed_bytes(release, date)).hex(),
        }
    )


def decode(data: bytes, release: str, who: Requirement) -> Approval:
    """A valid approval of this release.

    Raises:
        ValueError: it is none: one sentence about why.
    """
    from medvae.vault import verify_signature

    try:
        fields = json.loads(data)
        approval = Approval(fields["approver"], fields["date"], bytes.fromhex(fields["signature"]))
        same = {"format": FORMAT, "release": fields["release"], "date": approval.date}
        more = {"approver": approval.approver, "signature": approval.signature.hex()}
        if mf.canonical({**same, **more}) != data or not _DATE.fullmatch(approval.date):
            raise ValueError("it is not in the form in which one is written")
        if fields["release"] != release:
            raise ValueError("it is that of another release")
        refusal = who.refusal(approval.approver)
        if refusal:
            raise ValueError(refusal)
        key = who.keys[approval.approver]
        if len(approval.signature) != mf.SIZES[mf.SIGNATURE] or not verify_signature(
            key, approval.signature, signed_bytes(release, approval.date)
        ):
            raise ValueError("its signature does not fit")
    except (KeyError, TypeError, AttributeError, MedvaeError, RecursionError) as error:
        raise ValueError("it is not in the form in which one is written") from error
    return approval


def requirement_of(folder: Path, files: Mapping[str, mf.Entry]) -> Requirement | None:
    """What a release, whose signed files these are, demands; None: no approval.

    Raises:
        ValueError: its list cannot be used.
    """
    entry = files.get(mf.APPROVALS)
    if entry is None:
        return None
    data = _bytes(folder / mf.APPROVALS)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ValueError("it was changed while it was being read")
    return read_requirement(data)


def checked(
    result: VerifyResult, folder: Path, files: Mapping[str, mf.Entry], approver: str | None = None
) -> VerifyResult:
    """What verification found, with what becomes of the approval that the release demands.

    A release without the approval that it demands is not valid, whoever signed it. Nothing is
    added to one that is not as it was signed.

    approver: fingerprint of the one key whose approval counts; None: any of the release's list.
    """
    if not result.unchanged or result.id is None:
        return result
    try:
        who = requirement_of(folder, files)
    except (OSError, ValueError) as error:
        return _refused(result, f"{mf.APPROVALS} cannot be used: {error}")
    if who is None:
        if approver is None:
            return result
        return replace(
            _refused(result, f"the release has no approval by {approver}"), approved=None
        )
    try:
        approval = decode(_bytes(folder / mf.APPROVAL), result.id, who)
    except FileNotFoundError:
        return _refused(result, _WAITS)
    except (OSError, ValueError) as error:
        return _refused(result, f"{mf.APPROVAL} is no approval of this release: {error}")
    if approver is not None and approval.approver != approver:
        return _refused(
            result, f"the release was approved by {approval.approver}, not by {approver}"
        )
    return replace(result, approved=True, approver=approval.approver)


def _refused(result: VerifyResult, problem: str) -> VerifyResult:
    return replace(
        result, valid=False, approved=False, problems=[problem, *result.problems], advice=""
    )


def _bytes(path: Path) -> bytes:
    """A small regular file. OSError or ValueError where it is none."""
    import os

    with os.fdopen(mf.open_regular(path), "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES} bytes")
    return data
