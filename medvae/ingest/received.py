"""Studies that came over the network: archives in anonymous memory, which have no path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from medvae.errors import InputError
from medvae.ingest.digests import digest
from medvae.ingest.records import Quarantined
from medvae.ingest.slices import Slice
from medvae.ingest.subjects import clean_subject
from medvae.ingest.trees import File

PLACE = "/proc/self/fd"


@dataclass(frozen=True)
class Received:
    """One study.

    Attributes:
        label: what to call it in messages.
        descriptor: of an uncompressed tar archive of DICOM files, which nothing changes.
        members: the names of these files.
        study: the StudyInstanceUID that each of them has to carry.
        patient: the PatientID that each has to carry; empty where any will do.
    """

    label: str
    descriptor: int
    members: tuple[str, ...]
    study: str
    patient: str = ""

    def __str__(self) -> str:
        return self.label


class ReceivedTree:
    """A received study as a tree; it has no table of subjects and no masks of its own."""

    def __init__(self, received: Received) -> None:
        self.label = received.label
        self._received = received

    def walk(self) -> Iterator[File | Quarantined]:
        for name in self._received.members:
            yield File(self, name, name)

    def find(self, name: str) -> File | None:
        return None

    def has_folder(self, name: str) -> bool:
        return False

    def top(self) -> set[str]:
        return set()

    def beside(self, folder: str) -> list[File]:
        return []

    def open(self, name: str) -> int:
        """A descriptor of its own place in the archive, which may only be read."""
        return os.open(f"{PLACE}/{self._received.descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    def read(self, name: str, most: int) -> bytes:
        raise InputError("a received study holds no table")

    def check(self, slice_: Slice, salt: str) -> None:
        """Refuse all that was received where a file belongs to something else.

        Raises:
            InputError: it is of another study or patient than was asked for.
        """
        if slice_.study != digest(bytes.fromhex(salt), self._received.study):
            raise InputError(
                f"{self.label} holds an image of another study than was asked for; nothing was "
                "stored: report it to whoever runs the archive"
            )
        patient = self._received.patient
        if patient and slice_.subject != clean_subject(patient):
            raise InputError(
                f"{self.label} holds an image of another patient than was asked for; nothing was "
                "stored: report it to whoever runs the archive"
            )
