"""An entry of the public anatomy library: people, where they come from, and digests."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from medvae.errors import IntegrityError, UsageError

FORMAT: Final = 1
FILE: Final = "entry.json"
# "labels": label maps of a whole region; "images": images with labels.
EntryKind = Literal["labels", "images"]
# What `anatomy.library` means something else by.
_RESERVED = ("auto", "none", "patients")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class FileDigest:
    """A file: its name, size in bytes and SHA-256."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> FileDigest:
        return cls(name, len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Person:
    """One public person of an entry.

    Attributes:
        id: the name of the source file without its ending.
        sources: the files that the person was read from.
        stored: the file in the library that holds labels, affine and image.
        shape: voxels along each axis, axes closest to RAS+.
        spacing: voxel size, in mm.
    """

    id: str
    sources: tuple[FileDigest, ...]
    stored: FileDigest
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Entry:
    """An entry of the library.

    Attributes:
        kind: label maps of a whole region, or images with labels.
        source: where the files come from, as the user says.
        licence: under which they may be used.
        consent: what the people shown have agreed to, or None where nothing is said.
        label_scheme: number -> name.
        alignment: the cached group-wise alignment.
    """

    name: str
    kind: EntryKind
    source: str
    licence: str
    consent: str | None
    label_scheme: dict[int, str]
    people: tuple[Person, ...]
    alignment: FileDigest

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the entry says, digests of its files included."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()

    def to_bytes(self) -> bytes:
        """The text of `entry.json`."""
        value = {"format": FORMAT, "entry": asdict(self), "digest": self.digest}
        return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Entry:
        """Read back `to_bytes`.

        Raises:
            IntegrityError: the text is damaged, or the entry is not the one of this name.
        """
        try:
            value = json.loads(data)
            entry = _decode(value["entry"])
            digest = value["digest"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(_damaged(name, f"{FILE} cannot be read")) from error
        if value["format"] != FORMAT:
            raise IntegrityError(_damaged(name, f"{FILE} has a format that is not {FORMAT}"))
        if entry.digest != digest or entry.name != name:
            raise IntegrityError(_damaged(name, f"{FILE} does not have the digest it claims"))
        return entry


def check_name(name: str) -> None:
    """Raises UsageError unless an entry may be called that."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name of an anatomy entry: expected 1 to 63 of a-z, 0-9, - and _, "
            "beginning with a letter or a digit"
        )
    if name in _RESERVED:
        raise UsageError(
            f"an anatomy entry cannot be called {name}: anatomy.library means something else by "
            "it; choose another --name"
        )


def _damaged(name: str, what: str) -> str:
    return (
        f"the anatomy entry {name} is damaged: {what}; delete its folder in the vault and add the "
        "entry again"
    )


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _decode(value: dict[str, Any]) -> Entry:
    people = tuple(
        Person(
            person["id"],
            tuple(FileDigest(**file) for file in person["sources"]),
            FileDigest(**person["stored"]),
            tuple(person["shape"]),
            tuple(person["spacing"]),
        )
        for person in value["people"]
    )
    scheme = {int(number): name for number, name in value["label_scheme"].items()}
    alignment = FileDigest(**value["alignment"])
    return Entry(**(value | {"people": people, "label_scheme": scheme, "alignment": alignment}))
