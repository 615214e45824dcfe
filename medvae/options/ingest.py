"""What `ingest` is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING

from medvae.options.flags import PathLike, argument, flag, names_of
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from typing import Any

Scheme = str | os.PathLike[str] | Mapping[int, str] | Mapping[str, str]


def _channels(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read sources, and what is declared of them.

    Attributes:
        subjects: a CSV with the columns filename and subject; without it `subjects.csv` at
            the top of a source, else DICOM's PatientID, BIDS' sub-, else the file's name.
        labels: a folder of masks (or one mask) with the file names of the images.
        modality: the name of a modality; DICOM of another is refused, NIfTI is taken to be it.
            Without it NIfTI is CT or MRI where its numbers are decisive. With `channels` also one
            for each, with commas ("ct,pet").
        label_column: a further column of the table to keep as the volume's label.
        class_column: a further column to keep as the volume's class: whole numbers from 0 on,
            or nothing for a volume without one; a file with anything else is refused.
        site_column: a further column with the name of the hospital or scanner, in the same way.
        contrast: the contrast to take of cases with several (t1 of BraTS, 0000 of nnU-Net, T1w
            of BIDS), or "all" to take each as a volume of its case.
        channels: contrasts of one case (files of one name or folder, series of one study) that
            become the channels of one volume, in this order; a case that lacks one, or has two
            images for one, is refused.
        frames: frames of a moving image (the fourth axis of NIfTI; phases of a DICOM series) that
            become the channels frame01, frame02, ... of one volume: 2 to 32. Of an image with more
            that many are taken, evenly spread; one with fewer is refused.
        orientation: three letters (such as LPS: to the left, to the back, to the head) that say
            how the axes run of files whose header does not; without it they are refused.
        label_scheme: a mapping of numbers to names, "1=name,2=name" or a file; declared.
        classes: how many there are, 0 for none; declared.
        sites: their names, () for none; declared.
        files_are_patients: an image that names no patient is a subject of its own, by its file
            name; otherwise it is an error. DICOM without PatientID is refused either way:
            several series are usually of one patient.
        demographics: keep the ten-year age group and the sex.
        workers: reading processes; the result is the same for any number.
        require_sandbox: refuse where a layer of their confinement is missing; otherwise a note
            names it.
    """

    subjects: PathLike | None = field(
        default=None, metadata=flag("CSV file with the columns filename and subject.")
    )
    labels: PathLike | None = field(
        default=None, metadata=flag("Folder of masks named like the images (x or x_seg).")
    )
    modality: str | None = field(
        default=None,
        metadata=flag(
            "mri, ct, pet; xray or photo for pictures. Needed where files do not say. With "
            "--channels also one for each, such as ct,pet."
        ),
    )
    label_column: str | None = field(
        default=None, metadata=flag("CSV column to keep for evaluation; no model learns it.")
    )
    class_column: str | None = field(
        default=None,
        metadata=flag("CSV column with the class of a volume (0, 1, ...), which a model learns."),
    )
    site_column: str | None = field(
        default=None,
        metadata=flag(
            "CSV column with the hospital or scanner of a volume (default: site, where "
            "--sites declares some); its grey values are learnt apart."
        ),
    )
    contrast: str | None = field(
        default=None,
        metadata=flag(
            "Of cases with several contrasts the one to take (t1, 0000, T1w), or all, each as "
            "a volume of its case."
        ),
    )
    channels: Sequence[str] = field(
        default=(),
        metadata=flag(
            "Contrasts of one case that become the channels of one volume, such as "
            "t1,t2,flair: by the words of file names, of BIDS suffixes, of dataset.json (nnU-Net), "
            "or of series descriptions. Other images are left out.",
            read=_channels,
        ),
    )
    frames: int | None = field(
        default=None,
        metadata=flag(
            "How many frames of a moving image (4-D NIfTI, phases of a DICOM series) become the "
            "channels of one volume, evenly spread."
        ),
    )
    orientation: str | None = field(
        default=None,
        metadata=flag(
            "How the axes run of files that do not say it, such as LPS (to the left, to the "
            "back, to the head): Analyze, and headers without a direction."
        ),
    )
    label_scheme: Scheme | None = field(
        default=None,
        metadata=flag(
            "Declare the labels of the masks: 1=name,2=name, none, or a YAML, JSON, CSV or "
            "TSV file.",
            read=str,
        ),
    )
    classes: int | None = field(
        default=None, metadata=flag("Declare the number of classes; 0 for none.")
    )
    sites: Sequence[str] | None = field(
        default=None,
        metadata=flag("Declare the sites: names with commas, or none.", read=names_of),
    )
    files_are_patients: bool = field(
        default=False,
        metadata=flag(
            "Count each file that names no patient as a patient: privacy is then per file.",
            "--files-are-patients",
        ),
    )
    demographics: bool = field(
        default=False,
        metadata=flag("Keep the ten-year age group and the sex.", "--demographics"),
    )
    workers: int = field(
        default=1, metadata=flag("Confined processes that read at a time; more need more memory.")
    )
    require_sandbox: bool = field(
        default=False,
        metadata=flag(
            "Refuse (exit code 5) where Landlock or seccomp is missing to confine readers.",
            "--require-sandbox",
        ),
    )

    def reading(self) -> dict[str, Any]:
        """The fields of this class by name, without those of a class that adds some."""
        return {one.name: getattr(self, one.name) for one in fields(ReadOptions)}


@dataclass(frozen=True)
class IngestOptions(ReadOptions):
    """`medvae ingest`.

    Attributes:
        dry_run: store nothing, and list what would be stored.
        sheet: a new .png of that, which shows patients.
    """

    sources: Sequence[PathLike] = field(
        metadata=argument("source", "Files, folders, zip archives or DICOMDIRs.")
    )
    dataset: str = field(metadata=flag("Name of the data set.", "-d", "--dataset"))
    _: KW_ONLY
    dry_run: bool = field(
        default=False, metadata=flag("Read and list everything, store nothing.", "--dry-run")
    )
    sheet: PathLike | None = field(
        default=None,
        metadata=flag("With --dry-run: a new .png of the first volumes. It shows patients."),
    )
    progress: Progress = SILENT
