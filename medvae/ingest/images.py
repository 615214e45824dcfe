"""Volume files of any format into volumes, with their masks (runs in the confined worker only)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest import contents, metaimage, mgh, nifti, nrrd, people
from medvae.ingest.grids import on_axes_of
from medvae.ingest.normalise import (
    Affine,
    checked,
    closest_canonical,
    ends,
    plausible,
    rescaled,
)
from medvae.ingest.numbering import segment_labels
from medvae.ingest.records import Limits
from medvae.ingest.right_angles import at_right_angles, is_sheared
from medvae.ingest.sniffing import looks_like
from medvae.ingest.stored import Image
from medvae.volume import Volume

# Label maps that were resampled or scaled are whole numbers to so much.
NEARLY_WHOLE = 1e-3
NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
FORMATS = (((".nrrd", ".nhdr"), "NRRD"), ((".mha", ".mhd"), "MetaImage"))


class OverlapError(Exception):
    """Masks of single structures that no label map holds.

    Attributes:
        kind: of `notices`: two share a voxel, or one has several labels.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def volume_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], memoryview]:
    """Job: an image and the masks that follow it -> {"ok": facts} and a volume's bytes.

    `job["image"]`: the names of the image's files, header first. `job["masks"]`: those of each
    mask. `job["numbers"]`: a label for each mask, which is then of one structure; empty where a
    single mask has the labels itself. `job["labels"]`: the image is a label map, of public
    anatomy. `job["orientation"]`: how axes run where a header does not say it.
    """
    image = _read(files, job.get("image") or ["x.nii"], job, limits)
    voxels, affine = intensities(image)
    notes = [*image.notes, *_notes(voxels, affine)]
    if contents.is_fraction(voxels):
        notes.append("fraction")
    if not job.get("labels"):
        if image.shows:
            raise InputError(
                f"its header says that it holds {image.shows}, not a scan: leave it out"
            )
        contents.check_scan(voxels)
    guessed = job["modality"] is None
    modality = contents.guess_modality(voxels) if guessed else job["modality"]
    if guessed and job.get("named") not in (None, modality):
        raise InputError(
            f"its name says {job['named']} and its numbers {modality}: say which with --modality"
        )
    found = ends(voxels)
    plausible(found, modality)
    contents.check_wrapped(voxels, found)
    if modality == "ct":
        notes += [] if contents.check_ct(voxels, found) else ["soft"]
    elif not job.get("labels") and contents.is_negative(voxels):
        notes.append("negative")
    mask, note = None, ""
    try:
        mask = _mask(job, files, limits, voxels.shape, affine, notes)
    except OverlapError as error:
        notes.append(error.kind)
    except InputError as error:
        if not job["mask_optional"]:
            raise InputError(f"its mask cannot be used: {error}") from error
        note = f"a mask was left out: {error}"
    volume = _volume(voxels, affine, mask, modality, job, limits)
    facts = {"guessed": guessed, "note": note, "notes": notes, "space": image.space}
    return {"ok": facts}, volume.to_bytes()


def _notes(voxels: npt.NDArray[Any], affine: Affine) -> list[str]:
    """Kinds of `notices` that voxels are of; those that are not finite become NaN.

    Raises:
        InputError: the grid is sheared more than can be.
    """
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    kinds = {
        "holes": contents.clear(voxels),
        "sheared": is_sheared(affine),
        "sizes": people.is_unusual(spacing.tolist(), voxels.shape),
        "single": min(voxels.shape) == 1,
    }
    return [kind for kind, holds in kinds.items() if holds]


def _volume(
    voxels: npt.NDArray[Any],
    affine: Affine,
    mask: npt.NDArray[np.uint8] | None,
    modality: str,
    job: dict[str, Any],
    limits: Limits,
) -> Volume:
    """A volume whose axes are at right angles and point as `Volume` says. Raises InputError."""
    empty, labels = modalities.get(modality).dicom.padding, bool(job.get("labels"))
    if mask is not None:
        mask, own = at_right_angles(mask, affine, 0, limits, labels=True)
        mask, _ = closest_canonical(mask, own)
    voxels, affine = at_right_angles(voxels, affine, 0 if labels else empty, limits, labels=labels)
    voxels, affine = closest_canonical(voxels, affine)
    return Volume(voxels, affine, modality, mask, job["meta"])


def _mask(
    job: dict[str, Any],
    files: Iterator[BinaryIO],
    limits: Limits,
    shape: tuple[int, ...],
    affine: Affine,
    notes: list[str],
) -> npt.NDArray[np.uint8] | None:
    """The mask of an image, from one file or from one a structure; None where there is none.

    Segments that a file names get the labels that the scheme has for these names.

    Raises:
        InputError: as `labels_on`.
        OverlapError: two structures share a voxel, or one has several labels.
    """
    masks: list[list[str]] = job.get("masks") or []
    numbers: list[int] = job.get("numbers") or []
    if not numbers:
        for names in masks:
            image = _read(files, names, job, limits, is_mask=True)
            labels, scheme = labels_on(image, shape, affine), job.get("scheme")
            if image.names and not scheme:
                notes.append("segments")
            return _renumbered(labels, image, scheme) if image.names and scheme else labels
        return None
    merged = np.zeros(shape, np.uint8)
    for names, number in zip(masks, numbers, strict=True):
        labels = labels_on(_read(files, names, job, limits, is_mask=True), shape, affine)
        inside = labels > 0
        if np.unique(labels[inside]).size > 1:
            raise OverlapError("manifold")
        if (merged[inside] > 0).any():
            raise OverlapError("overlap")
        merged[inside] = number
    return merged


def _renumbered(
    labels: npt.NDArray[np.uint8], image: Image, scheme: Mapping[str, str]
) -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    numbers = segment_labels({number: [name] for number, name in image.names}, scheme)
    for number, label in numbers.items():
        table[number] = label
    renumbered: npt.NDArray[np.uint8] = table[labels]
    return renumbered


def _read(
    files: Iterator[BinaryIO],
    names: list[str],
    job: dict[str, Any],
    limits: Limits,
    *,
    is_mask: bool = False,
) -> Image:
    """The next image of a job, in the format that its name says; its files are all asked for.

    is_mask: of all frames, where the job is one of them.

    Raises:
        InputError: its content is of another format, damaged, too large, not one scalar 3-D image.
    """
    name, orientation = names[0].lower(), job.get("orientation")
    frame = (int(job["frame"]), int(job["frames"])) if "frames" in job else None
    if frame is not None and not is_mask and not name.endswith(NIFTI):
        raise InputError("frames are read of NIfTI and DICOM alone: convert it to NIfTI")
    own = iter([_as_named(next(files), name)]) if len(names) == 1 else _next(files, len(names))
    if name.endswith((".nrrd", ".nhdr")):
        image = nrrd.read(own, names, limits, orientation)
    elif name.endswith((".mha", ".mhd")):
        image = metaimage.read(own, names, limits, orientation)
    elif name.endswith((".mgh", ".mgz", ".mgh.gz")):
        image = mgh.read(next(own), limits, orientation)
    else:
        asked = nifti.Asked() if is_mask else _asked(job, frame)
        image = nifti.read(own, names, limits, orientation, asked)
    for _ in own:
        continue
    return image


def _asked(job: dict[str, Any], frame: tuple[int, int] | None) -> nifti.Asked:
    return nifti.Asked(frame, bool(job.get("exact")), tuple(job.get("layers") or ()))


def _as_named(file: BinaryIO, name: str) -> BinaryIO:
    """The file, where its first bytes are not those of another format. Raises InputError."""
    looks = looks_like(file)
    own = (kind for endings, kind in FORMATS if name.endswith(endings))
    if looks and looks.partition(":")[0] not in (next(own, "NIfTI"), "compressed by gzip"):
        raise InputError(f"it is {looks}")
    return file


def _next(files: Iterator[BinaryIO], count: int) -> Iterator[BinaryIO]:
    for _ in range(count):
        yield next(files)


def intensities(image: Image) -> tuple[npt.NDArray[Any], Affine]:
    """Voxels [X, Y, Z] (int16 or float32, scale applied) and affine as stored, in mm.

    Raises:
        InputError: the geometry or the scale is impossible.
    """
    affine = checked(image.affine, image.voxels.shape)
    return rescaled(image.voxels, image.slope, image.intercept, reuse=True), affine


def labels_on(image: Image, shape: tuple[int, ...], affine: Affine) -> npt.NDArray[np.uint8]:
    """A label image on the grid of its scan, whichever way its axes run: [X, Y, Z] uint8.

    Raises:
        InputError: an image, not whole numbers 0 to 255, or on another grid.
    """
    voxels, own = intensities(image)
    voxels = on_axes_of(voxels, own, shape, affine, is_part=image.is_part)
    if voxels.dtype == np.float32 and np.isfinite(voxels).all():
        whole = np.rint(voxels)
        if np.abs(voxels - whole).max() <= NEARLY_WHOLE and np.abs(whole).max() <= 255:
            voxels = whole.astype(np.int16)
    if voxels.dtype != np.int16 or voxels.min() < 0 or voxels.max() > 255:
        raise InputError("its labels are not whole numbers from 0 to 255")
    contents.check_labels(voxels)
    return voxels.astype(np.uint8)
