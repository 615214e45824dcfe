"""A DICOM series to one volume: slices, order, geometry, intensities, label map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest import contents, facts, people
from medvae.ingest.dicom.frames import Frame
from medvae.ingest.dicom.intensities import check_scales, voxels_of
from medvae.ingest.dicom.marks import Labels, labels_of
from medvae.ingest.dicom.slices import read_slices
from medvae.ingest.dicom.stack import geometry, in_order, is_sparse
from medvae.ingest.dicom.values import number, text
from medvae.ingest.normalise import Affine, Voxels, closest_canonical, ends, plausible
from medvae.ingest.records import Limits
from medvae.ingest.upright import Stack, brought_upright
from medvae.modality.base import HeaderNumber, Modality
from medvae.volume import Volume

THICKNESS = HeaderNumber("slice_thickness", "SliceThickness", "PixelMeasuresSequence")


def series_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], memoryview]:
    """Job: the files of one volume -> {"ok": {"notes": [kind, ...]}} and the volume's bytes.

    Each file's key must be one of `keys`; the kinds are those of `medvae.ingest.notices`. Objects
    that mark the volume follow, one for each of `mark_keys`; `unmarked` says why they were left.
    """
    notes: set[str] = set()
    frames, first, modality = read_slices(job, islice(files, job["images"]), limits, notes)
    frames = in_order(frames)
    stack = geometry(frames)
    notes.update(_notes_of_stack("scan" in job, frames, stack))
    check_scales(frames)
    voxels, padded = voxels_of(frames, modality)
    notes.update(["padding"] if padded else [])
    mask, unmarked = _mask(job, files, limits, voxels.shape, stack, notes)
    voxels, affine, mask = _canonical(voxels, mask, stack, modality.dicom.padding)
    extremes = ends(voxels)
    plausible(extremes, modality.name)
    _check_content(voxels, extremes, modality, notes)
    meta = describe(first, modality) | job["meta"]
    volume = Volume(voxels, affine, modality.name, mask, meta)
    if people.is_unusual(volume.spacing, volume.shape):
        notes.add("sizes")
    return {"ok": {"notes": sorted(notes), "unmarked": unmarked}}, volume.to_bytes()


def _canonical(
    voxels: Voxels, mask: Labels | None, stack: Stack, padding: float
) -> tuple[Voxels, Affine, Labels | None]:
    """Voxels, affine and mask on an upright grid, its axes nearest to RAS+."""
    if not stack.is_upright and mask is not None:
        mask, _ = brought_upright(mask, stack, 0, labels=True)
    voxels, affine = brought_upright(voxels, stack, padding)
    mask = None if mask is None else closest_canonical(mask, affine)[0]
    voxels, affine = closest_canonical(voxels, affine)
    return voxels, affine, mask


def _notes_of_stack(is_whole: bool, frames: list[Frame], stack: Stack) -> list[str]:
    """Kinds of `notices` of slices in order; `is_whole`: of one file."""
    kinds = {
        "single": is_whole and len(frames) == 1,
        "sparse": is_sparse(frames),
        "upright": stack.shift is not None,
        "evened": stack.along is not None,
    }
    return [kind for kind, holds in kinds.items() if holds]


def _check_content(
    voxels: Voxels, extremes: tuple[float, float], modality: Modality, notes: set[str]
) -> None:
    """Refuse what is no scan by its voxels, as of volumes of other formats. Raises InputError.

    extremes: their `ends`.
    """
    if voxels.size >= contents.LEAST_VOXELS:
        if extremes[0] == extremes[1] and voxels.min() == voxels.max():
            raise InputError(contents.CONSTANT)
        if contents.is_label_map(voxels):
            raise InputError(
                "it is a label map, not a scan: give it as DICOM SEG, or as NIfTI with its scan"
            )
    contents.check_wrapped(voxels, extremes)
    if modality.name != "ct":
        notes.update(["negative"] if contents.is_negative(voxels) else [])
    elif not contents.check_ct(voxels, extremes):
        notes.add("soft")


def _mask(
    job: dict[str, Any],
    files: Iterator[BinaryIO],
    limits: Limits,
    shape: tuple[int, ...],
    stack: Stack,
    notes: set[str],
) -> tuple[Labels | None, str]:
    """The label map of the objects that mark a series, and why there is none."""
    if not job["mark_keys"]:
        return None, ""
    columns, rows, count = shape
    try:
        labels, fractional = labels_of(job, files, limits, (columns, rows, count), stack)
        notes.update(["fractions"] if fractional else [])
        notes.update([] if job["scheme"] else ["segments"])
        return labels, ""
    except InputError as error:
        return None, str(error)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a parser's errors cannot be listed
        # The scan itself was read: a damaged object must not cost it.
        return None, f"it is damaged or not what it claims ({type(error).__name__})"


def describe(data: Dataset, modality: Modality) -> dict[str, Any]:
    """The allow-listed description of a series."""
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    meta: dict[str, Any] = {}
    for where in (THICKNESS, *modality.dicom.numbers):
        value = number(data, where.keyword)
        if value is None and where.group:
            group = (shared.get(where.group) or [Dataset()])[0]
            value = number(group, where.enhanced or where.keyword)
        fact = facts.number(where.key, value)
        if fact is not None:
            meta[where.key] = fact
    kernel = text(data, "ConvolutionKernel")
    if modality.dicom.kernel and kernel:
        meta["convolution_kernel_class"] = facts.kernel_class(kernel.partition("\\")[0])
    return meta | facts.demographics(text(data, "PatientAge"), text(data, "PatientSex"))
