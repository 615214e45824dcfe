"""From the files of a tree to jobs for the worker: which is a scan, a mask, a slice, whose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest import bids, facts
from medvae.ingest.records import Limits, Quarantined, printable
from medvae.ingest.subjects import MOST_BYTES, Subjects, clean_subject, parse_subjects
from medvae.ingest.trees import File, SingleFile, Tree

TABLES = ("subjects.csv", "subjects.tsv")
PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
# Companions of images that are no images themselves; passed over without a word.
COMPANIONS = (".json", ".tsv", ".bval", ".bvec", ".bvals", ".bvecs")
PAPERS = ("readme", "license", "licence", "changes", "citation")
# Folders of a BIDS data set that hold no source images.
NOT_SOURCE = ("derivatives", "code", "stimuli")


@dataclass(frozen=True)
class Task:
    """One job for the worker, and who the result belongs to.

    Attributes:
        weight: how many files it consumes, for progress.
        own_subject: the subject is only the file's own name, for want of anything better.
        several: that name stands for several files.
    """

    source: str
    subject: str
    name: str
    files: tuple[File, ...]
    job: dict[str, Any]
    weight: int = 1
    own_subject: bool = False
    several: bool = False


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
    require_patients: bool = False


@dataclass
class Scanning:
    """One source being looked through.

    Attributes:
        table: whose each file is, or None to take it from the files.
        masks: a tree of masks given apart from the source, or None.
        unrecognised: files that are not NIfTI by name, for the DICOM pass.
    """

    tree: Tree
    options: ReadOptions
    table: Subjects | None
    masks: Tree | None
    unrecognised: list[File] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pairs = [p for p in PAIRS if all(self.tree.has_folder(folder) for folder in p)]
        self._bids = bids.is_dataset(self.tree, self.tree.top())
        self._people = self._participants()
        self._folder: tuple[str, list[File]] = "", []

    def tasks(self) -> Iterator[Step]:
        """All NIfTI tasks; what may be DICOM is left in `unrecognised`."""
        for file in self.tree.walk():
            if isinstance(file, Quarantined):
                yield file
            elif bids.is_nifti(file.name or file.source):
                yield self._nifti(file)
            elif self._is_companion(file):
                yield Passed()
            elif file.name and file.name.lower().endswith((".zip", ".gz", ".tar", ".7z")):
                yield Quarantined(file.source, "it is an archive inside the source: unpack it")
            else:
                self.unrecognised.append(file)

    def survey(self) -> tuple[int, File | None]:
        """How many files there are, and the first image that names no patient; by name only."""
        count, unnamed = 0, None
        for file in self.tree.walk():
            count += 1
            if unnamed is None and isinstance(file, File) and self._names_no_patient(file):
                unnamed = file
        return count, unnamed

    def _names_no_patient(self, file: File) -> bool:
        if self.table is not None or not bids.is_nifti(file.name or file.source):
            return False
        step = self._nifti(file)
        return isinstance(step, Task) and step.own_subject

    def _nifti(self, file: File) -> Step:
        parts = PurePosixPath(file.name).parts
        for images, labels in self._pairs:
            if parts[0] == labels:
                if self._image_of(file.name, images, labels):
                    return Passed()
                return Quarantined(file.source, f"it is a mask without an image in {images}/")
        if self._bids:
            if parts[0] in NOT_SOURCE or bids.is_segmentation(file.name):
                return Passed()
            if not bids.is_scan(file.name):
                return Quarantined(
                    file.source, f"it is not in a folder of scans ({bids.scan_folders()})"
                )
            if reason := self._other_modality(file):
                return Quarantined(file.source, reason)
        try:
            subject, own, meta = self._whose(file)
            mask, optional = self._mask_of(file)
        except InputError as error:
            return Quarantined(file.source, str(error))
        modality = self.options.modality or (bids.modality_of(file.name) if self._bids else None)
        job = {"modality": modality, "mask_optional": optional, "meta": meta}
        files = (file, mask) if mask else (file,)
        return Task(file.source, subject, "nifti", files, job, own_subject=own)

    def _other_modality(self, file: File) -> str:
        """Why a scan of a BIDS data set is not of the modality that was asked for, or empty."""
        wanted, named = self.options.modality, bids.modality_of(file.name)
        if wanted is None:
            # Uptake values and activity concentrations look alike: a person has to say which.
            if named is not None and modalities.get(named).recognised is None:
                units = modalities.get(named).units.words
                return f"say that its intensities are {units} with --modality {named}"
            return ""
        if bids.may_be(file.name, wanted):
            return ""
        return f"it is in a folder for {named}, and {wanted} was asked for"

    def _whose(self, file: File) -> tuple[str, bool, dict[str, Any]]:
        """Subject, whether it is only the file's own name, and what to keep of the table."""
        meta: dict[str, Any] = {}
        name = file.name or PurePosixPath(file.source).name
        named = bids.subject_of(name)
        if named and self.options.keep_demographics:
            person = self._people.get(named, {})
            meta |= facts.demographics(person.get("age", ""), person.get("sex", ""))
        if self.table is not None:
            row = self.table.of(name)
            return row.subject, row.own, meta | self.table.kept(row)
        if named:
            return named, False, meta
        return clean_subject(bids.stem(name)), True, meta

    def _image_of(self, name: str, images: str, labels: str) -> bool:
        rest = name.removeprefix(f"{labels}/")
        return any(
            self.tree.find(f"{images}/{candidate}") for candidate in (rest, _channel_0(rest))
        )

    def _mask_of(self, file: File) -> tuple[File | None, bool]:
        """The mask, and whether the image may go without it."""
        if self.masks is not None:
            bare = PurePosixPath(file.name or file.source).name
            inside = file.name.partition("/")[2]
            for name in (file.name, inside, bare):
                if name and (found := self.masks.find(name)):
                    return found, False
            return (self.masks.find(""), False) if not file.name else (None, False)
        for images, labels in self._pairs:
            if file.name.startswith(f"{images}/"):
                rest = file.name.removeprefix(f"{images}/")
                for name in (rest, rest.replace("_0000.nii", ".nii")):
                    if found := self.tree.find(f"{labels}/{name}"):
                        return found, False
        if self._bids:
            return bids.segmentation_for(file.name, self._siblings(file)), True
        return None, False

    def _siblings(self, file: File) -> list[File]:
        folder = str(PurePosixPath(file.name).parent)
        if self._folder[0] != folder:
            self._folder = folder, self.tree.beside(folder)
        return self._folder[1]

    def _is_companion(self, file: File) -> bool:
        name = PurePosixPath(file.name).name.lower()
        if not name:
            return False
        if "/" not in file.name and (name in TABLES or name.startswith(PAPERS)):
            return True
        return name.endswith(COMPANIONS) or name == "dicomdir" or self._is_table(file)

    def _is_table(self, file: File) -> bool:
        return self.table is not None and self.table.source == file.source

    def _participants(self) -> dict[str, dict[str, str]]:
        """Ages and sexes of a BIDS data set, only if they were asked for."""
        found = self.tree.find("participants.tsv")
        if not self.options.keep_demographics or found is None:
            return {}
        try:
            return bids.participants(self.tree.read(found.name, bids.MOST_PARTICIPANTS))
        except InputError:
            return {}


def _channel_0(name: str) -> str:
    """nnU-Net's name of the first channel of a case."""
    return f"{bids.stem(name)}_0000{name[len(bids.stem(name)) :]}"


def table_at_top(tree: Tree, options: ReadOptions) -> Subjects | None:
    """The table at the top of a source, if there is one.

    Raises:
        InputError: there are two, or as `table_for`.
    """
    # Names are as different systems write them: Subjects.csv is the same table.
    found = sorted(name for name in tree.top() if name.lower() in TABLES)
    if len(found) > 1:
        raise InputError(
            f"{printable(tree.label)} holds {' and '.join(found)}: keep one table of subjects"
        )
    file = tree.find(found[0]) if found else None
    return None if file is None else _table(file, options)


def table_for(given: SingleFile, options: ReadOptions) -> Subjects:
    """The table that the user named.

    Raises:
        InputError: it cannot be opened, or is not such a table.
    """
    return _table(given.file, options)


def _table(file: File, options: ReadOptions) -> Subjects:
    try:
        data = file.tree.read(file.name, MOST_BYTES + 1)
    except InputError as error:
        raise InputError(f"{file.source}: {error}") from error
    return parse_subjects(data, file.source, options.label_column, options.class_column)
