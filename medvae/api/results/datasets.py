"""Results of the verbs that store, check and erase scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae.api.results.base import Result


@dataclass(frozen=True)
class Declared(Result):
    """Facts of the protocol that a person declared; None where nobody did.

    Attributes:
        label_scheme: number of a mask's label, as text, -> its name.
        classes: number of classes; 0 for none.
        sites: names of hospitals or scanners; () for none.
    """

    label_scheme: Mapping[str, str] | None
    classes: int | None
    sites: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Refused(Result):
    """A source that was not taken, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Reason(Result):
    """Why `count` sources were refused, in the words and with the name of the first."""

    count: int
    reason: str
    first: str

    @property
    def line(self) -> str:
        """As a person reads it: the source where it is one, else how many and the first."""
        if self.count == 1:
            return f"{self.first}: {self.reason}"
        return f"{self.count} sources: {self.reason} (first: {self.first})"


@dataclass(frozen=True)
class Rehearsed(Result):
    """A volume that a dry run would have stored.

    Attributes:
        source: file or series.
        subject: the patient's pseudonym.
        shape: in voxels.
        spacing: in millimetres.
        labels: numbers in its mask; none where it has no mask.
        category: its class.
        site: the hospital or scanner that the table names.
    """

    source: str
    subject: str
    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, ...]
    channels: tuple[str, ...]
    labels: tuple[int, ...]
    category: int | None
    site: str | None = None


@dataclass(frozen=True)
class IngestResult(Result):
    """A new version of a data set, or with `dry_run` what it would add.

    Attributes:
        dataset, version: what was made.
        subjects, volumes, masks: how many the version holds.
        added: volumes that the version before it lacked.
        updated: volumes that it had, with another mask, class or label.
        declared: facts of the protocol.
        unit: "patient" or "file": whom the guarantee protects; None where nobody said.
        quarantined: sources that were refused.
        reasons: why, most frequent reason first.
        notes: remarks for a person, of private data.
        dry_run: nothing was stored: `version` is the newest one there is (0 for none), and the
            counts are of what was read.
        rows: the volumes of a dry run.
        sheet: the picture of them, where one was asked for.
    """

    dataset: str
    version: int
    subjects: int
    volumes: int
    added: int
    updated: int
    masks: int
    declared: Declared
    unit: str | None
    quarantined: tuple[Refused, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    dry_run: bool = False
    rows: tuple[Rehearsed, ...] = ()
    sheet: Path | None = None


@dataclass(frozen=True)
class Pulled(Result):
    """What an archive sent: studies, their instances, and the bytes of these."""

    studies: int
    instances: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class PullResult(IngestResult):
    """What an ingest of received studies gave, and what was received."""

    pulled: Pulled


@dataclass(frozen=True, kw_only=True)
class ListenResult(IngestResult):
    """What an ingest of studies that were sent to us gave, and what was received."""

    received: Pulled


@dataclass(frozen=True)
class DatasetInfo(Result):
    """One version of a data set. Counts and notes are of private data.

    Attributes:
        created: when, as ISO 8601 in UTC.
        modality, channels: those of its volumes; no channels: one grey value a voxel.
        labels, classes: how many are declared.
    """

    dataset: str
    version: int
    created: str
    subjects: int
    volumes: int
    modality: tuple[str, ...]
    channels: tuple[str, ...]
    masks: int
    labels: int
    classes: int
    declared: Declared
    unit: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Extent(Result):
    """The least and the greatest value on each of three axes."""

    min: tuple[float, ...]
    max: tuple[float, ...]


@dataclass(frozen=True)
class DatasetDetail(DatasetInfo):
    """A data set with its geometry: figures of private data, so `releasable` is False.

    Attributes:
        versions: all that are stored.
        volumes_per_subject: number of volumes -> subjects that have so many.
        shape: in voxels.
        spacing: in millimetres.
    """

    versions: tuple[int, ...]
    volumes_per_subject: Mapping[int, int]
    shape: Extent
    spacing: Extent
    releasable: bool = False


@dataclass(frozen=True)
class DatasetExport(Result):
    """Plain files of real patients that left the vault.

    Attributes:
        files: images and masks.
        tables: subjects.csv, and label_scheme.csv where a scheme is declared.
    """

    dataset: str
    files: tuple[Path, ...]
    tables: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DatasetPreview(Result):
    """A picture of real patients that left the vault.

    Attributes:
        file: the sheet.
        volumes: how many it shows.
    """

    dataset: str
    file: Path
    volumes: int


@dataclass(frozen=True)
class DatasetDeletion(Result):
    """Versions that are gone, and how many volumes nobody held any longer."""

    deleted: tuple[str, ...]
    volumes: int


@dataclass(frozen=True)
class SubjectErasure(Result):
    """A patient who was erased.

    Attributes:
        subject: the pseudonym.
        datasets: versions that were changed.
        volumes: how many were destroyed.
        models: models that were trained on this patient.
    """

    subject: str
    datasets: tuple[str, ...]
    volumes: int
    models: tuple[str, ...]


@dataclass(frozen=True)
class Damage(Result):
    """A stored object that is not as it was written."""

    object: str
    reason: str


@dataclass(frozen=True)
class IntegrityReport(Result):
    """What `verify` found.

    Attributes:
        objects: how many were checked.
        damaged: those that are not as they were written.
        unknown: files that the catalogue does not know.
        read_data: whether every object was decrypted and authenticated.
    """

    objects: int
    damaged: tuple[Damage, ...]
    unknown: int
    read_data: bool


@dataclass(frozen=True)
class Collection(Result):
    """Files that `repair` removed because nothing refers to them.

    Attributes:
        staged: half-written files of interrupted commands.
        orphans: sealed files that the catalogue does not know.
        freed: bytes of the orphans.
    """

    staged: int
    orphans: int
    freed: int


@dataclass(frozen=True)
class RepairReport(Result):
    """What `repair` did.

    Attributes:
        objects: how many were read.
        lost: those that cannot be read any longer.
        quarantined: object -> where its damaged file was moved to.
        collected: what was removed; None where that was not asked for.
    """

    objects: int
    lost: tuple[Damage, ...]
    quarantined: Mapping[str, str]
    collected: Collection | None
