"""`verify`: is this folder, whole and unchanged, what the holder of a key released?

Needs no vault, no model and no network. Nothing that the manifest says is opened: the
folder is walked, and what is found is compared with what is listed, so a hostile manifest
cannot make the verifier read elsewhere.

What it cannot see: somebody who changes the files, puts in a key of his own and signs
anew makes a release that is whole under *his* key. Only the key tells the two apart: give
`public_key`, or compare the fingerprint with the one that the publisher states elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medvae.errors import AccessError, MedvaeError, NotFoundError, UsageError
from medvae.progress import SILENT, Progress
from medvae.release import manifest as mf

# The manifest of a million volumes stays below this.
_LARGEST = 1 << 30
_ADVICE = (
    "the key came with the release itself: compare this fingerprint with the one that the "
    "publisher states elsewhere, or pass --public-key"
)


@dataclass(frozen=True)
class VerifyResult:
    """What `verify` found.

    Attributes:
        valid: nothing is wrong, under the key in `signer`.
        signer: fingerprint of the key that signed, or None when there is no usable key.
        files: regular files found that are listed and unchanged.
        problems: one sentence each; empty when valid.
        trusted: the key was given from outside, rather than taken from the release.
        advice: what is left to do by a person; empty when `trusted`.
    """

    valid: bool
    signer: str | None
    files: int
    problems: list[str] = field(default_factory=list)
    trusted: bool = False
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values for the command line."""
        return asdict(self)


def verify(
    folder: Path, public_key: Path | None = None, progress: Progress = SILENT
) -> VerifyResult:
    """Check signature, key and every file of a release; memory does not grow with its size.

    Raises:
        NotFoundError: the folder is not there.
        UsageError: `public_key` cannot be read.
        AccessError: `public_key` is not a key.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"there is no release folder {folder}")
    trusted = None if public_key is None else _trusted_key(public_key)
    problems: list[str] = []
    signer, listed = _signature(folder, trusted, problems)
    good = _files(folder, listed, problems, progress)
    problems = [shown(problem) for problem in problems]
    return VerifyResult(
        valid=not problems,
        signer=signer,
        files=good,
        problems=problems,
        trusted=trusted is not None,
        advice="" if trusted is not None else _ADVICE,
    )


def shown(text: str) -> str:
    """One printable line: a file's name may hold anything, and must not command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _trusted_key(path: Path) -> bytes:
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the public key {path}: {error.strerror}") from error
    mf.key_bytes(pem)
    return pem


def _signature(
    folder: Path, trusted: bytes | None, problems: list[str]
) -> tuple[str | None, dict[str, mf.Entry]]:
    """Fingerprint of the signing key, and the files that it vouches for."""
    from medvae.vault import verify_signature

    data = _read(folder, mf.MANIFEST, problems)
    signature = _read(folder, mf.SIGNATURE, problems)
    embedded = _read(folder, mf.SIGNER, problems)
    signer = None
    if embedded is not None:
        try:
            signer = mf.fingerprint(embedded)
            if trusted is not None and mf.key_bytes(embedded) != mf.key_bytes(trusted):
                problems.append(
                    f"signed by {signer}, not by the key that was given, {mf.fingerprint(trusted)}"
                )
        except AccessError as error:
            problems.append(f"{mf.SIGNER}: {error}")
    key = trusted if trusted is not None else embedded
    if data is None:
        return signer, {}
    if (
        key is not None
        and signature is not None
        and not _signed(verify_signature, key, signature, data)
    ):
        problems.append(f"{mf.SIGNATURE} does not fit {mf.MANIFEST} under this key")
    try:
        return signer, mf.decode(data)
    except ValueError as error:
        problems.append(f"{mf.MANIFEST} cannot be used: {error}")
        return signer, {}


def _signed(
    check: Callable[[bytes, bytes, bytes], bool], key: bytes, signature: bytes, data: bytes
) -> bool:
    try:
        return check(key, signature, mf.signed_bytes(data))
    except MedvaeError:
        # A key of another kind, or none: no signature fits it.
        return False


def _read(folder: Path, name: str, problems: list[str]) -> bytes | None:
    """A small file of the release, following no link; what is wrong is said by `_files`."""
    try:
        if not stat.S_ISREG((folder / name).lstat().st_mode):
            return None
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        problems.append(f"{name} is missing")
        return None
    except OSError as error:
        problems.append(f"{name} cannot be read: {error.strerror}")
        return None
    if len(data) > _LARGEST:
        problems.append(f"{name} is larger than {_LARGEST} bytes; no release has such a one")
        return None
    return data


def _files(
    folder: Path, listed: dict[str, mf.Entry], problems: list[str], progress: Progress
) -> int:
    """Walk the folder and compare; returns how many listed files are as they were."""
    folders = {parent for path in listed for parent in _parents(path)}
    missing = set(listed)
    good = 0
    progress.start("verify", len(listed))
    for path, entry in _walk(folder, problems):
        if entry.is_symlink():
            problems.append(f"{path} is a symbolic link")
        elif entry.is_dir(follow_symlinks=False):
            if path not in folders:
                problems.append(f"{path}/ is a folder that was not released")
            continue
        elif path in mf.UNLISTED and entry.is_file(follow_symlinks=False):
            continue
        elif path not in listed:
            problems.append(f"{path} was not released")
        else:
            good += _unchanged(folder / path, path, listed[path], problems)
            progress.advance(good)
        missing.discard(path)
    problems.extend(f"{path} is missing" for path in sorted(missing))
    progress.finish()
    return good


def _unchanged(file: Path, path: str, expected: mf.Entry, problems: list[str]) -> bool:
    try:
        found = mf.read_entry(file)
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:
        problems.append(f"{path} is {error}")
    else:
        if found == expected:
            return True
        what = (
            f"has {found.size} bytes where {expected.size} were released"
            if found.size != expected.size
            else "has been changed: its SHA-256 differs"
        )
        problems.append(f"{path} {what}")
    return False


def _walk(root: Path, problems: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything under `root` in sorted order, links not followed, as ("a/b", entry)."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(f"{folder or '.'}/ cannot be read: {error.strerror}")
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            yield path, entry


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])
