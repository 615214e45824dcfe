"""What looking through the sources gives: jobs for the worker, refusals, files passed over."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from medvae.ingest.records import Limits, Quarantined
from medvae.ingest.trees import File


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


@dataclass(frozen=True)
class Passed:
    """A file that is known to be no image: counted, not reported."""


Step = Task | Quarantined | Passed


@dataclass(frozen=True)
class ReadOptions:
    """What the user asked for, the same for every source."""

    modality: str | None
    keep_demographics: bool
    label_column: str | None
    limits: Limits
    class_column: str | None = None
    site_column: str | None = None
    require_patients: bool = False
    contrast: str | None = None
    scheme: Mapping[str, str] | None = None
    orientation: str | None = None
    channels: tuple[str, ...] = ()
    key: bytes | None = None
