"""Results of the verbs of the public anatomy library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medvae.api.results.base import Result
from medvae.api.results.datasets import Damage


@dataclass(frozen=True)
class AnatomyEntry(Result):
    """An entry of the library.

    Attributes:
        kind: "labels" or "images".
        people, labels: how many.
        consent: what the people shown have agreed to; None where nobody said.
        digest: of the whole entry, in hex.
    """

    name: str
    kind: str
    people: int
    labels: int
    licence: str
    source: str
    consent: str | None
    digest: str


@dataclass(frozen=True)
class AnatomyAlignment(Result):
    """How the people of an entry lie to one another; lengths in millimetres."""

    sha256: str
    box_mm: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class AnatomyPerson(Result):
    """One person of an entry; sources: file -> SHA-256."""

    person: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class AnatomyDetail(AnatomyEntry):
    """An entry with its label scheme, alignment and people."""

    label_scheme: Mapping[str, str]
    alignment: AnatomyAlignment
    files: tuple[AnatomyPerson, ...]


@dataclass(frozen=True)
class AnatomyList(Result):
    """Entries of the library; `anatomy` is the name of the one entry, or the library's folder."""

    anatomy: str
    entries: tuple[AnatomyEntry, ...]


@dataclass(frozen=True)
class AnatomyCheck(Result):
    """What `anatomy verify` found: names of entries, files checked, and those that differ."""

    anatomy: str
    entries: tuple[str, ...]
    objects: int
    damaged: tuple[Damage, ...]
