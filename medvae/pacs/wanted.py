"""Which studies of an archive a user wants, and what the archive says that it has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medvae.errors import UsageError
from medvae.escape import escaped
from medvae.pacs.peers import check_uid

DATES = re.compile(r"[0-9]{8}(-([0-9]{8})?)?|-[0-9]{8}")
# DICOM's code of a modality by its name here.
CODES = {"ct": "CT", "mri": "MR", "mr": "MR", "pet": "PT", "pt": "PT"}
NAMES = {"CT": "ct", "MR": "mri", "PT": "pet"}
# What a query matches by more than equality (PS3.4 C.2.2.2).
PATTERN = re.compile(r"[*?\\]")


@dataclass(frozen=True)
class Wanted:
    """What to fetch.

    Attributes:
        studies: their UIDs; none for all that match the rest.
        patient: PatientID.
        modality: DICOM's code, which one of a study's series has.
        dates: YYYYMMDD, or a range of two with a hyphen between, of which one may be left out.
        limit: most studies.
    """

    studies: tuple[str, ...] = ()
    patient: str = ""
    modality: str = ""
    dates: str = ""
    limit: int | None = None

    @classmethod
    def of(
        cls,
        studies: tuple[str, ...],
        patient: str,
        modality: str | None,
        dates: str,
        limit: int | None,
    ) -> Wanted:
        """What a user asks for.

        Raises:
            UsageError: a part of it cannot be right, or it is everything there is.
        """
        if not (studies or patient or modality or dates or limit is not None):
            raise UsageError(
                "everything that an archive holds is too much: say which with --study, "
                "--patient-id, --date, --modality or --limit"
            )
        if limit is not None and limit < 1:
            raise UsageError(f"--limit must be at least 1, not {limit}")
        code = "" if modality is None else CODES.get(modality.lower(), "")
        if modality is not None and not code:
            raise UsageError(f"--modality {escaped(modality[:20])} is not one of ct, mri, pet")
        if dates and not DATES.fullmatch(dates):
            raise UsageError(
                f"--date {escaped(dates[:40])} is neither a day (YYYYMMDD) nor a range of two "
                "(YYYYMMDD-YYYYMMDD)"
            )
        if PATTERN.search(patient) or not patient.isprintable() or len(patient) > 64:
            raise UsageError("--patient-id is one PatientID: no * or ?, 64 characters at most")
        uids = tuple(check_uid(uid) for uid in dict.fromkeys(studies))
        return cls(uids, patient.strip(), code, dates, limit)


@dataclass(frozen=True)
class Series:
    """A series that an archive says it has; `instances`: how many, where it says so."""

    uid: str
    instances: int | None = None

    def lacks(self, received: int) -> str:
        """What is wrong with so many received; empty where nothing is."""
        return _lacks("series", received, self.instances)


@dataclass(frozen=True)
class Listed:
    """A study that an archive says it has.

    Attributes:
        instances: how many, where it says so.
        series: those of it to fetch, where they are fetched one by one.
    """

    uid: str
    instances: int | None = None
    series: tuple[Series, ...] = ()

    def lacks(self, received: int) -> str:
        """What is wrong with so many received; empty where nothing is."""
        return _lacks("study", received, self.instances)


def _lacks(what: str, received: int, listed: int | None) -> str:
    if received == 0:
        return f"sent a {what} without any instance"
    if listed is not None and received != listed:
        return f"sent {received} instances of a {what} of which it lists {listed}"
    return ""


@dataclass(frozen=True)
class Found:
    """Studies that match; `more`: others do, too, beyond the limit."""

    studies: tuple[Listed, ...]
    more: bool = False
