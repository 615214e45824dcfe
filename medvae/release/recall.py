"""The recall list: which releases of a signer are no longer to be used, signed by that signer.

A release is named by its id, the SHA-256 of its manifest, which every recipient can compute. The
list is complete: each issue holds all recalls so far, and its number is how many there are, so
that of two lists the one with the higher number is the newer. What no list can do is reach a
recipient who does not ask for the newest one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvae.errors import IntegrityError, MedvaeError, UsageError
from medvae.release import manifest as mf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medvae.release.check import VerifyResult

FORMAT = "medvae-recall-1"
_DOMAIN = b"medvae recall list v1\x00"
_ID = re.compile(r"[0-9a-f]{64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
LONGEST_TEXT = 200
# About 30,000 recalls; this program writes no longer list.
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Recall:
    """One recalled release.

    Attributes:
        release: its id, 64 hex digits.
        reason: one printable line.
        date: of the recall, ISO.
    """

    release: str
    reason: str
    date: str


def release_id(manifest: bytes) -> str:
    """The id of a release, 64 hex digits: the SHA-256 of its manifest."""
    return hashlib.sha256(manifest).hexdigest()


def one_line(text: str, what: str) -> str:
    """The text, if it can stand in a list and on a terminal.

    Raises:
        UsageError: it is not one line of 1 to 200 printable characters.
    """
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_TEXT:
        raise UsageError(f"{what} must be one line of 1 to {LONGEST_TEXT} printable characters")
    return text


def encode(recalls: Sequence[Recall], sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    """The signed list, in the one form that it has for these recalls."""
    body = {
        "format": FORMAT,
        "number": len(recalls),
        "recalls": [asdict(recall) for recall in recalls],
    }
    return mf.canonical(
        {
            "list": body,
            "public_key": public_key.decode("ascii"),
            "signature": sign(_DOMAIN + mf.canonical(body)).hex(),
        }
    )


def decode(data: bytes, signer: str) -> tuple[Recall, ...]:
    """The recalls of a list that was signed by the key with this fingerprint.

    Raises:
        IntegrityError: it is by another signer, its signature does not fit, or it is no list.
    """
    from medvae.vault import verify_signature

    try:
        fields = json.loads(data)
        body, key = fields["list"], fields["public_key"].encode("ascii")
        signature = bytes.fromhex(fields["signature"])
        # One form only: what a reader of the file sees is what was signed, byte for byte.
        written = {"list": body, "public_key": key.decode("ascii"), "signature": signature.hex()}
        if mf.canonical(written) != data:
            raise ValueError("not in the form of `encode`")
        signed_by = mf.fingerprint(key)
        if signed_by != signer:
            raise IntegrityError(
                f"the recall list is signed by {signed_by}, and the release by {signer}: ask the "
                "publisher of the release for its list"
            )
        if len(signature) != mf.SIZES[mf.SIGNATURE] or not verify_signature(
            key, signature, _DOMAIN + mf.canonical(body)
        ):
            raise IntegrityError(
                "the recall list was changed: its signature does not fit; get it again from the "
                "publisher"
            )
        return _recalls(body)
    except IntegrityError:
        raise
    except (MedvaeError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise IntegrityError(
            "the recall list is not one that medvae release recall wrote; get it again from the "
            "publisher"
        ) from error


def _recalls(body: dict[str, Any]) -> tuple[Recall, ...]:
    """ValueError, TypeError or KeyError where the body is not one that `encode` makes."""
    recalls = tuple(Recall(**fields) for fields in body["recalls"])
    if body["format"] != FORMAT or body["number"] != len(recalls):
        raise ValueError("another format, or not complete")
    for recall in recalls:
        one_line(recall.reason, "a reason")
        if not _ID.fullmatch(recall.release) or not _DATE.fullmatch(recall.date):
            raise ValueError("no release, or no date")
    return recalls


def checked(result: VerifyResult, recalled: Path) -> VerifyResult:
    """What verification found, with what a recall list says of the release.

    A recalled release is not valid, whatever else holds of it. Of one whose signature does not
    fit nothing can be looked up.

    Raises:
        UsageError: the list cannot be read.
        IntegrityError: see `decode`.
    """
    try:
        with recalled.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the recall list {recalled}: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise IntegrityError(f"the recall list {recalled} is larger than one can be")
    if result.signer is None or result.id is None:
        return result
    recalls = decode(data, result.signer)
    recall = next((candidate for candidate in recalls if candidate.release == result.id), None)
    if recall is None:
        return replace(result, recalled=False, recall_list=len(recalls))
    problem = f"the release was recalled on {recall.date}: {recall.reason}"
    return replace(
        result,
        valid=False,
        recalled=True,
        reason=recall.reason,
        recall_list=len(recalls),
        problems=[problem, *result.problems],
        advice="",
    )
