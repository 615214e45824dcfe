"""From the files of a tree to jobs for the worker: which is a scan, a mask, a slice, whose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest import (
    bids,
    channel_names,
    layouts,
    names,
    picture_files,
    unread,
)
from medvae.ingest.file_channels import FileChannels
from medvae.ingest.file_subjects import FileSubjects, path_of
from medvae.ingest.notices import Notices
from medvae.ingest.pairing import EVERY_CONTRAST, Masks, Pairing
from medvae.ingest.processed import processed
from medvae.ingest.records import Quarantined, printable
from medvae.ingest.steps import Passed, ReadRequest, Step, Task
from medvae.ingest.subjects import Subjects
from medvae.ingest.trees import File, Tree

MASK_ALONE = (
    "it is named like a label map, and no scan beside it has a name that fits: put it into labels/ "
    "beside images/, give its folder with --labels, or, with scans of DICOM, as DICOM SEG"
)


@dataclass
class Scanning:
    """One source being looked through.

    Attributes:
        table: whose each file is, or None to take it from the files.
        masks: a tree of masks given apart from the source, or None.
        notices: receives what the user should know.
        unrecognised: files that are no volumes by name, for the DICOM pass.
    """

    tree: Tree
    options: ReadRequest
    table: Subjects | None
    masks: Tree | None
    notices: Notices
    unrecognised: list[File] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bids = bids.is_dataset(self.tree, self.tree.top())
        self._suffixes: set[str] = set()
        self._subjects = FileSubjects(
            self.tree, self.table, self.notices, demographics=self.options.demographics
        )
        self._pairing = Pairing(
            self.tree,
            self.masks,
            self._bids,
            self.options.contrast,
            self.options.scheme,
            self.options.channels,
            self._planar,
        )
        self._channels = FileChannels(self.tree, self._pairing, self.options, is_bids=self._bids)

    def tasks(self) -> Iterator[Step]:
        """All tasks of volume files; what may be DICOM is left in `unrecognised`."""
        for file in self.tree.walk():
            name = (file.name or file.source).lower() if isinstance(file, File) else ""
            if isinstance(file, Quarantined):
                yield file
            elif self._bids and bids.is_source(file.name):
                self.notices.add("before", file.source)
                yield Passed()
            elif self._planar:
                if (step := self._picture(file, name)) is not None:
                    yield step
            elif names.is_volume(name):
                if self._bids and bids.is_other_mask(file.name):
                    self.notices.add("unread", file.source)
                yield from self._channels.steps_of(file, self._volume(file))
            elif step := self._beside_volumes(file, name):
                yield step
            else:
                self.unrecognised.append(file)
        self._pairing.add_notices(self.notices)
        self._subjects.add_notices(self.notices)
        if len(self._suffixes) > 1 and not (self.options.contrast or self.options.channels):
            suffixes = printable(", ".join(sorted(self._suffixes)))
            self.notices.add("suffixes", printable(self.tree.label), suffixes)

    def _beside_volumes(self, file: File, name: str) -> Step | None:
        """What becomes of a file that is no volume by its name; None: it may be DICOM."""
        if unread.is_deep_table(file.name):
            return Quarantined(file.source, unread.DEEP_TABLE)
        if self._is_companion(file):
            return Passed()
        if name.endswith(names.HEADERS) and len(self._pairing.parts(file)) > 1:
            return self._volume(file)
        if self._pairing.holds_voxels(file):
            return Passed()
        reason = unread.why_unread(name, is_source=not file.name)
        return Quarantined(file.source, reason) if reason else None

    def survey(self) -> tuple[int, File | None]:
        """How many files there are, and the first image that names no patient; by name only.

        Raises:
            UsageError: cases have several contrasts, and neither --contrast nor a table says
                what they are.
        """
        count, unnamed = 0, None
        self._pairing.check_contrasts(self.table is not None)
        for file in self.tree.walk():
            count += 1
            if self.table is not None and isinstance(file, File) and self._may_be_scan(file):
                self.table.see(path_of(file), id(self.tree))
            if unnamed is None and isinstance(file, File) and self._names_no_patient(file):
                unnamed = file
        return count, unnamed

    def _may_be_scan(self, file: File) -> bool:
        """Whether a table may name a file: no mask, no other contrast, by name only."""
        is_mask = file.name in self._pairing.layout.alone
        return not (is_mask or self._is_left_out(file) or self._is_companion(file))

    def _names_no_patient(self, file: File) -> bool:
        name = file.name or file.source
        is_image = picture_files.is_picture if self._planar else names.is_volume
        before = self._bids and bids.is_source(file.name)
        if self.table is not None or before or not is_image(name):
            return False
        step = self._picture(file, name) if self._planar else self._volume(file)
        return isinstance(step, Task) and step.own_subject

    def _volume(self, file: File) -> Step:
        if reason := self._no_scan(file):
            return Quarantined(file.source, reason)
        if self._is_left_out(file):
            return Passed()
        try:
            subject, own, meta = self._subjects.of(file, self._pairing.layout.images)
            masks = self._pairing.of(file)
        except InputError as error:
            return Quarantined(file.source, str(error))
        if own and not self.options.files_are_patients and self._is_named_mask(file):
            return Quarantined(file.source, MASK_ALONE)
        if self._bids:
            self._suffixes.add(bids.suffix(file.name))
        modality = self.options.modality or (bids.modality_of(file.name) if self._bids else None)
        image_files = self._pairing.parts(file)
        job = {
            "modality": modality,
            "named": channel_names.modality_in(file.name or file.source),
            "image": _bare(image_files),
            "masks": [_bare(mask) for mask in masks.files],
            "orientation": self.options.orientation,
            "scheme": None if self.options.scheme is None else dict(self.options.scheme),
            "mask_optional": masks.optional,
            "numbers": masks.numbers,
            "meta": meta,
            "kinds": self._kinds(file, subject, own, masks),
        }
        image = self._pairing.layout.images.get(file.name)
        several = own and image is not None and bool(image.contrast)
        files = (*image_files, *(part for mask in masks.files for part in mask))
        task = Task(file.source, subject, "nifti", files, job, 1, own, several)
        return self._channels.with_case(file, task)

    @property
    def _planar(self) -> bool:
        return picture_files.is_planar(self.options.modality)

    def _may_be_dicom(self, name: str) -> bool:
        """Whether a name is one that DICOM files have: none, a number, or their own ending."""
        suffix = PurePosixPath(name).suffix
        return suffix in ("", ".dcm", ".dicom", ".ima") or suffix[1:].isdigit()

    def _picture(self, file: File, name: str) -> Step | None:
        """What becomes of a file where pictures were asked for; None: it may be DICOM."""
        if self._is_companion(file):
            return Passed()
        if not picture_files.is_picture(name):
            if modalities.get(str(self.options.modality)).dicom.read and self._may_be_dicom(name):
                self.unrecognised.append(file)
                return None
            return Quarantined(file.source, picture_files.no_picture(self.options.modality))
        if self.masks is None and file.name in self._pairing.paired:
            return Passed()
        if file.name in self._pairing.layout.alone:
            return Quarantined(
                file.source, "it is a mask without a picture in the folder of images beside it"
            )
        try:
            subject, own, meta = self._subjects.of(file, self._pairing.layout.images)
            masks = self._pairing.of(file)
        except InputError as error:
            return Quarantined(file.source, str(error))
        job = {
            "modality": self.options.modality,
            "meta": meta,
            "kinds": [("burned", "")],
            "numbers": masks.numbers,
            "masks": len(masks.files),
            "scheme": None if self.options.scheme is None else dict(self.options.scheme),
        }
        files = (file, *(part for mask in masks.files for part in mask))
        return Task(file.source, subject, "picture", files, job, 1, own)

    def _kinds(self, file: File, subject: str, own: bool, masks: Masks) -> list[tuple[str, str]]:
        """Kinds of `medvae.ingest.notices` that an image is of by its name."""
        named, asked = channel_names.modality_in(path_of(file)), self.options.modality
        kinds = {
            ("adni", ""): not self._bids and self._subjects.is_by_adni(file, subject),
            ("processed", ""): own and file.name in self._made,
            ("undecided", ""): masks.undecided,
            # Of other layouts by name alone, before a file is read (`Pairing.add_notices`).
            ("unmasked", ""): self._bids and self.masks is not None and not masks.files,
            ("nameless", ""): self._names_no_contrast(file),
            ("misnamed", named or ""): None not in (named, asked) and named != asked,
            ("apart", ", ".join(sorted(set(self._apart.values())))): own
            and file.name in self._apart,
        }
        return [kind for kind, holds in kinds.items() if holds]

    def _names_no_contrast(self, file: File) -> bool:
        image = self._pairing.layout.images.get(file.name)
        asked = self.options.contrast not in (None, EVERY_CONTRAST)
        return asked and image is not None and not (image.contrast or image.named)

    @cached_property
    def _apart(self) -> dict[str, str]:
        return layouts.contrasts_apart(self._pairing.layout.images.values())

    @cached_property
    def _made(self) -> set[str]:
        return processed(self._pairing.layout.images)

    def _no_scan(self, file: File) -> str:
        """Why a NIfTI file is not read, by its name; empty where it is."""
        if file.name in self._pairing.layout.alone:
            return "it is a mask without an image in the folder of images beside it"
        if file.name in self._pairing.layout.twins:
            return (
                "another file has its name, but for how Unicode spells a letter of it: rename one"
            )
        if not self._bids or self._is_left_out(file):
            return ""
        if not bids.is_scan(file.name):
            return f"it is not in a folder of scans ({bids.scan_folders()})"
        return bids.no_scan(file.name) or self._other_modality(file)

    def _is_named_mask(self, file: File) -> bool:
        """Whether a file has the name of a label map, and no scan has one that fits."""
        return bool(file.name) and not self._bids and file.name not in self._pairing.layout.images

    def _is_left_out(self, file: File) -> bool:
        """Whether a file is a mask of an image, or of a contrast that was not asked for."""
        if self._bids:
            top = file.name.partition("/")[0]
            if top in bids.NO_SCANS or bids.is_segmentation(file.name):
                return True
            other = bids.suffix(file.name).lower() if bids.is_scan(file.name) else ""
        else:
            if self.masks is None and file.name in self._pairing.paired:
                return True
            if self._pairing.is_of_freesurfer(file):
                return True
            image = self._pairing.layout.images.get(file.name)
            other = (image.contrast or image.named) if image else ""
        return self._pairing.is_other_contrast(other)

    def _other_modality(self, file: File) -> str:
        """Why a scan of a BIDS data set is not of the modality that was asked for, or empty."""
        modality, named = self.options.modality, bids.modality_of(file.name)
        if modality is None:
            # Uptake values and activity concentrations look alike: a person has to say which.
            if named is not None and modalities.get(named).recognised is None:
                if named in self.options.modalities:
                    return ""
                units = modalities.get(named).units.words
                several = " (of several channels one each)" if self.options.channels else ""
                return f"say that its intensities are {units} with --modality {named}{several}"
            return ""
        if bids.is_weighted(file.name) and modality != "mri":
            return f"it is a {bids.suffix(file.name)} image, and {modality} was asked for"
        if bids.may_be(file.name, modality):
            return ""
        return f"it is in a folder for {named}, and {modality} was asked for"

    def _is_companion(self, file: File) -> bool:
        return unread.is_companion(file.name) or self._is_table(file)

    def _is_table(self, file: File) -> bool:
        return self.table is not None and self.table.source == file.source


def _bare(files: tuple[File, ...]) -> list[str]:
    """The names of files without their folders."""
    return [PurePosixPath(file.name or file.source).name for file in files]
