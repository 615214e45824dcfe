"""Contradictions between DICOM headers about who a patient is, found by keyed digests alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from medvae.ingest.slices import PERSON, Slice

SEVERAL = {"name": "names", "birth date": "birth dates", "sex": "sexes", "issuer": "issuers"}
TWO_PATIENTS = (
    "its study is also stored under another PatientID, and a study is of one patient: say whose "
    "its files are in a table (--subjects)"
)


@dataclass
class _Patient:
    """What headers say of one PatientID: digests for each of `PERSON`."""

    source: str
    facts: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in PERSON})
    born: set[tuple[str, str]] = field(default_factory=set)


class Persons:
    """Collects what headers say of patients. Nothing of it outlives a reading."""

    def __init__(self) -> None:
        self._owners: dict[str, set[str]] = {}
        self._patients: dict[str, _Patient] = {}

    def see(self, slice_: Slice, patient: str, *, by_table: bool) -> None:
        """Take in a file of `patient`, whom its header names or, `by_table`, the user does."""
        if not patient:
            return
        for where in (slice_.study, slice_.series):
            if where:
                self._owners.setdefault(where, set()).add(patient)
        if by_table:
            return
        first = self._patients.setdefault(patient, _Patient(slice_.file.source))
        for name, fact in zip(PERSON, slice_.person, strict=True):
            if fact:
                first.facts[name].add(fact)
        name, born = slice_.person[:2]
        if name and born:
            first.born.add((name, born))

    def is_contested(self, slice_: Slice) -> bool:
        """Whether the file's study or series is stored under several patients."""
        return any(len(self._owners.get(where, ())) > 1 for where in (slice_.study, slice_.series))

    def notices(self) -> Iterator[tuple[str, str, str]]:
        """Kind, source and detail, for `medvae.ingest.notices`, of what proves nothing alone."""
        for patient in self._patients.values():
            several = [SEVERAL[name] for name in SEVERAL if len(patient.facts[name]) > 1]
            if several:
                yield "several", patient.source, " and ".join(several)
            if patient.facts["placeholder"]:
                yield "nobody", patient.source, ""
        yield from self._alike("differ in spelling only", "spelling")
        yield from self._alike("share a name and a birth date", "")

    def _alike(self, detail: str, fact: str) -> Iterator[tuple[str, str, str]]:
        sharing: dict[object, list[_Patient]] = {}
        for patient in self._patients.values():
            if not patient.facts["placeholder"]:
                for value in patient.facts[fact] if fact else patient.born:
                    sharing.setdefault(value, []).append(patient)
        for group in sharing.values():
            if len(group) > 1:
                for patient in group:
                    yield "alike", patient.source, detail
