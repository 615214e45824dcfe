"""What looking through the sources gives: jobs for the worker, refusals, files passed over."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from medvae.ingest.first import First
from medvae.ingest.records import DEFAULT_LIMITS, Limits, Quarantined
from medvae.ingest.trees import File
from medvae.options.ingest import ReadOptions
from medvae.progress import SILENT, Progress


@dataclass(frozen=True)
class Task:
    """One job for the worker, and who the result belongs to.

    Attributes:
        weight: how many files it consumes, for progress.
        own_subject: the subject is only the file's own name, for want of anything better.
        several: that name stands for several files.
        case: what files of one case share, and the contrasts (in lower case) that the file may
            be of it; where channels are asked for.
        space: as `medvae.ingest.stacking.Placed`, where the header was read already.
        series, moment: of a DICOM series, and where in time the volume is in it, in any unit; None
            where the header does not say it.
        study, by_table: as `medvae.ingest.records.Ingested`.
    """

    source: str
    subject: str
    name: str
    files: tuple[File, ...]
    job: dict[str, Any]
    weight: int = 1
    own_subject: bool = False
    several: bool = False
    case: Hashable = None
    contrasts: tuple[str, ...] = ()
    space: str = ""
    study: str = ""
    by_table: bool = False
    series: str = ""
    moment: float | None = None


@dataclass(frozen=True)
class Passed:
    """A file that is known to be no image: counted, not reported."""


Step = Task | Quarantined | Passed


@dataclass(frozen=True, kw_only=True)
class ReadRequest(ReadOptions):
    """What `medvae.ingest.read` is asked for, the same for every source.

    Attributes:
        files_are_patients: here by default.
        scheme: label number -> name, by which masks of one structure are numbered; without it
            they are numbered in the order of their names.
        modalities: of each channel its own, where they are of several; `modality` is None then.
            Taken from `modality`.
        key: 32 secret bytes for the digests by which studies are compared; the same key gives the
            same `Ingested.study` in another reading. Without it a key of this reading alone.
        limits: what a file may be.
        first: a process that was started ahead (`medvae.ingest.first.started`); without it one is
            started.
        notes: receives, once a read, what the user should know (such as a guessed modality).
        progress: gets the number of files done, of all files found.
    """

    files_are_patients: bool = True
    scheme: Mapping[str, str] | None = None
    modalities: tuple[str, ...] = ()
    key: bytes | None = None
    limits: Limits = DEFAULT_LIMITS
    first: First | None = None
    notes: Callable[[str], None] | None = None
    progress: Progress = SILENT
