"""The verifying core: bytes in, verdict out. It opens no file.

A release is accepted on positive evidence only: three files that vouch (manifest, signature,
signer), a signature that was checked over the manifest's bytes before these are parsed, and
every listed file found as a regular file of the listed size and SHA-256. The absence of a
problem is no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from medvae.errors import AccessError, MedvaeError
from medvae.release import manifest as mf
from medvae.release.manifest import Entry


@dataclass(frozen=True)
class Seal:
    """What a checked signature vouches for.

    Attributes:
        signer: fingerprint of the key under which the signature was checked.
        files: path ("/" between folders) -> size and SHA-256, of every file of the release.
    """

    signer: str
    files: dict[str, Entry]


@dataclass(frozen=True)
class Found:
    """One thing inside the folder.

    Attributes:
        path: relative to the release.
        kind: "other" is a pipe, a socket, a device.
        entry: size and SHA-256 of a listed regular file that could be read.
        problem: why there is no `entry`, or why a folder could not be listed.
    """

    path: str
    kind: Literal["file", "folder", "link", "other"]
    entry: Entry | None = None
    problem: str = ""


def open_seal(
    manifest: bytes, signature: bytes, embedded: bytes, trusted: bytes | None = None
) -> Seal:
    """Check the signature, then read the manifest.

    Args:
        manifest, signature, embedded: the bytes of manifest.json, manifest.sig, signer.pem.
        trusted: the signer's key (PEM) as the verifier knows it. The signature is checked
            under it; without it, under `embedded`, which proves no more than wholeness.

    Raises:
        ValueError: one sentence about what does not fit. Nothing was parsed unless the
            signature fits.
    """
    try:
        signer = mf.fingerprint(embedded)
        if trusted is not None and mf.key_bytes(embedded) != mf.key_bytes(trusted):
            raise ValueError(
                f"{mf.SIGNER} is {signer}, not the key that was given, {mf.fingerprint(trusted)}"
            )
    except AccessError as error:
        raise ValueError(f"{mf.SIGNER}: {error}") from error
    if not _signed(embedded if trusted is None else trusted, signature, manifest):
        raise ValueError(f"{mf.SIGNATURE} does not fit {mf.MANIFEST} under this key")
    try:
        return Seal(signer, mf.decode(manifest))
    except ValueError as error:
        raise ValueError(f"{mf.MANIFEST} cannot be used: {error}") from error


def _signed(key: bytes, signature: bytes, manifest: bytes) -> bool:
    from medvae.vault import verify_signature

    if len(signature) != mf.SIZES[mf.SIGNATURE]:
        raise ValueError(f"{mf.SIGNATURE} is not {mf.SIZES[mf.SIGNATURE]} bytes long")
    try:
        return verify_signature(key, signature, mf.signed_bytes(manifest))
    except MedvaeError as error:
        raise ValueError(f"{mf.SIGNER}: {error}") from error


def compare(listed: Mapping[str, Entry], files: Iterable[Found]) -> tuple[int, list[str]]:
    """How many listed files are as they were, and one sentence for all that is otherwise."""
    folders = {parent for path in listed for parent in _parents(path)}
    unchanged: set[str] = set()
    named: set[str] = set()
    problems = []
    for file in files:
        problem = _problem(file, listed, folders)
        if problem:
            problems.append(problem)
            named.add(file.path)
        elif file.path in listed:
            unchanged.add(file.path)
    # Of a file that is there but not as it was, the sentence above says enough.
    problems += [f"{path} is missing" for path in sorted(set(listed) - unchanged - named)]
    return len(unchanged), problems


def _problem(file: Found, listed: Mapping[str, Entry], folders: set[str]) -> str:
    """What is wrong with one thing inside the folder; nothing where all is well."""
    if file.kind == "link":
        return f"{file.path} is a symbolic link"
    if file.kind == "folder" and file.problem:
        return f"{file.path}/ {file.problem}"
    if file.kind == "folder":
        return "" if file.path in folders else f"{file.path}/ is a folder that was not released"
    if file.kind == "other":
        return f"{file.path} is not a regular file"
    if file.path in mf.UNLISTED and (file.path != mf.APPROVAL or mf.APPROVALS in listed):
        return ""
    if file.path not in listed:
        return f"{file.path} was not released"
    if file.entry is None:
        return f"{file.path} {file.problem or 'was not read'}"
    return (
        ""
        if file.entry == listed[file.path]
        else f"{file.path} has been changed: its SHA-256 differs"
    )


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])
