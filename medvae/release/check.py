"""`verify`: is this folder, whole and unchanged, what the holder of a key released?

Needs no vault, no model and no network. This file reads, `seal` decides. Nothing that the
manifest says is opened: the folder is walked, and what is found is compared with what is
listed, so a hostile manifest cannot make the verifier read elsewhere.

What no verifier can see without a key from outside: whoever changes the files can put in
their own key and sign again. Such a release is unchanged under *their* key, which is why
`valid` stays open (None) until the publisher's key is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medvae.errors import AccessError, NotFoundError, UsageError
from medvae.progress import SILENT, Progress
from medvae.release import approval, recall
from medvae.release import manifest as mf
from medvae.release.manifest import Entry
from medvae.release.seal import Found, compare, open_seal

_ADVICE = (
    "the signer is unknown: the key came with the release itself. Compare this fingerprint with "
    "the one that the publisher states elsewhere, or pass --public-key"
)


@dataclass(frozen=True)
class VerifyResult:
    """What `verify` found.

    Attributes:
        valid: True: unchanged, and signed by the key that was given. False: changed, forged,
            damaged or signed by another key. None: unchanged, but no key was given to say by
            whom.
        unchanged: every file is as the key in `signer` signed it.
        trusted: that key is the one that was given.
        signer: fingerprint of the key under which the signature fits; None where none does.
        files: listed files that are as they were.
        problems: one sentence each; empty unless `valid` is False.
        advice: what is left to do by a person where `valid` is None.
        id: of the release, 64 hex digits; None where no signature fits.
        recalled: whether the list that was given recalls it; None: no list was given.
        reason: of the recall.
        recall_list: number of that list, the newer the higher.
        approved: whether the approval is there that the release demands; None: it demands none.
        approver: fingerprint of the key that approved it.
    """

    valid: bool | None
    unchanged: bool
    trusted: bool
    signer: str | None
    files: int
    problems: list[str] = field(default_factory=list)
    advice: str = ""
    id: str | None = None
    recalled: bool | None = None
    reason: str = ""
    recall_list: int | None = None
    approved: bool | None = None
    approver: str | None = None


def verify(
    folder: Path,
    public_key: Path | None = None,
    progress: Progress = SILENT,
    *,
    recalled: Path | None = None,
    approver: str | None = None,
) -> VerifyResult:
    """Check signature, key, every file and the approval of a release.

    `recalled`: the signer's list of recalls; a release that it names is not valid.
    `approver`: fingerprint of the key that must have approved it; None: whoever may.

    Formal guarantee: `valid` is True only if an Ed25519 signature by `public_key` over the
    manifest was verified, and the folder holds exactly the listed files, each a regular file
    with the listed size and SHA-256; and, where the signed files demand an approval, one by a key
    that they list (see `approval`). Memory is bounded by the manifest (256 MiB), which is
    not parsed before its signature fits.

    Raises:
        NotFoundError: the folder is not there.
        UsageError: `public_key` cannot be read.
        AccessError: `public_key` is not a sound Ed25519 key.
        IntegrityError: the list is another signer's, or was changed.
    """
    key = None if public_key is None else read_key(public_key)
    result = check_files(folder, key, progress, approver=approver)[0]
    return result if recalled is None else recall.checked(result, Path(recalled))


def check_files(
    folder: Path,
    trusted: bytes | None,
    progress: Progress = SILENT,
    *,
    approver: str | None = None,
) -> tuple[VerifyResult, Mapping[str, Entry]]:
    """`verify` with the bytes of the trusted key (PEM), already checked, and the files that the
    signature covers: none where one is not as it was.
    """
    result, files = check_sealed(folder, trusted, progress)
    return approval.checked(result, Path(folder), files, approver), files


def check_sealed(
    folder: Path, trusted: bytes | None, progress: Progress = SILENT
) -> tuple[VerifyResult, Mapping[str, Entry]]:
    """`check_files` of a release that nobody needs to have approved yet."""
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"there is no release folder {folder}")
    files: dict[str, bytes] = {}
    problems: list[str] = []
    for name in mf.SIZES:
        try:
            files[name] = _read(folder, name)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        return _refused(problems), {}
    try:
        seal = open_seal(files[mf.MANIFEST], files[mf.SIGNATURE], files[mf.SIGNER], trusted)
    except ValueError as error:
        return _refused([str(error)]), {}
    good, problems = compare(seal.files, _walk(folder, seal.files, progress))
    number = recall.release_id(files[mf.MANIFEST])
    if problems or good != len(seal.files):
        return replace(_refused(problems, seal.signer, good), id=number), {}
    has_key = trusted is not None
    result = VerifyResult(
        valid=True if has_key else None,
        unchanged=True,
        trusted=has_key,
        signer=seal.signer,
        files=good,
        advice="" if has_key else _ADVICE,
        id=number,
    )
    return result, seal.files


def _refused(problems: list[str], signer: str | None = None, files: int = 0) -> VerifyResult:
    return VerifyResult(
        False, False, False, signer, files, [shown(problem) for problem in problems]
    )


def shown(text: str) -> str:
    """One printable line: a file's name may hold anything, and must not command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_key(path: Path) -> bytes:
    """The verifier's copy of the signer's key (PEM), checked.

    Raises:
        UsageError: it cannot be read.
        AccessError: it is not one sound Ed25519 public key of at most 4 KiB.
    """
    from medvae.vault import check_public_key

    try:
        with Path(path).open("rb") as file:
            pem = file.read(mf.SIZES[mf.SIGNER] + 1)
    except OSError as error:
        raise UsageError(f"cannot read the public key {path}: {error.strerror}") from error
    if len(pem) > mf.SIZES[mf.SIGNER]:
        raise AccessError(f"{path} is larger than a PUBLIC KEY (Ed25519, PEM) can be")
    mf.key_bytes(pem)
    try:
        check_public_key(pem)
    except UsageError as error:
        raise AccessError(f"{path}: {error}") from error
    return pem


def _read(folder: Path, name: str) -> bytes:
    """One of the files that vouch. ValueError unless it is a regular file of a possible size."""
    most = mf.SIZES[name]
    try:
        handle = mf.open_regular(folder / name)
        with os.fdopen(handle, "rb") as file:
            # The size first: a file of terabytes that are not there costs nothing to make.
            data = file.read(most + 1) if os.fstat(handle).st_size <= most else b""
            size = max(len(data), os.fstat(handle).st_size)
    except FileNotFoundError:
        raise ValueError(f"{name} is missing") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from error
    if size > most:
        raise ValueError(f"{name} has {size} bytes; no release has one above {most}")
    return data


def _walk(root: Path, listed: Mapping[str, Entry], progress: Progress) -> Iterator[Found]:
    """Everything under `root` in sorted order, links not followed; listed files are hashed."""
    progress.start("verify", len(listed))
    waiting, hashed = [""], 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(folder or ".", "folder", problem=f"cannot be read: {error.strerror}")
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            yield _found(path, entry, listed)
            if path in listed:
                hashed += 1
                progress.advance(hashed)
    progress.finish()


def _found(path: str, entry: os.DirEntry[str], listed: Mapping[str, Entry]) -> Found:
    if entry.is_symlink():
        return Found(path, "link")
    if entry.is_dir(follow_symlinks=False):
        return Found(path, "folder")
    if not entry.is_file(follow_symlinks=False):
        return Found(path, "other")
    if path not in listed:
        return Found(path, "file")
    try:
        return Found(path, "file", mf.read_entry(Path(entry.path), size=listed[path].size))
    except OSError as error:
        return Found(path, "file", problem=f"cannot be read: {error.strerror}")
    except ValueError as error:
        return Found(path, "file", problem=f"is {error}")
