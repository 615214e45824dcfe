"""Slices into one volume: order, geometry, scale."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest import contents, facts, people
from medvae.ingest.dicom import dimensions, whole
from medvae.ingest.dicom.files import CONTENT, DEMOGRAPHICS, IDENTITY, read_dataset, shared_part
from medvae.ingest.dicom.following import Following
from medvae.ingest.dicom.frames import Frame, frame_like, frames_of
from medvae.ingest.dicom.headers import file_key
from medvae.ingest.dicom.kinds import is_mosaic, modality_of, notes_of, why_not
from medvae.ingest.dicom.marks import labels_of
from medvae.ingest.dicom.repeated import repeated
from medvae.ingest.dicom.values import number, text
from medvae.ingest.normalise import (
    Voxels,
    checked,
    closest_canonical,
    ends,
    plausible,
    rescaled,
)
from medvae.ingest.records import Limits
from medvae.ingest.stacks import (
    SAME_DIRECTION,
    SAME_SPACING,
    UNEVEN,
    is_only_uneven,
    median,
    problem,
    same_place,
)
from medvae.ingest.upright import Stack, brought_upright, can_be_evened, check_tilt
from medvae.modality.base import HeaderNumber, Modality
from medvae.volume import Volume

# Of the distance between slices: shift against the neighbour within the plane; more is a
# tilted gantry, which is resampled.
TILT = 0.01
# Times their thickness; gaps between slices of MRI are up to the thickness of one.
FAR_APART = 1.99
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def series_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], memoryview]:
    """Job: the files of one volume -> {"ok": {"notes": [kind, ...]}} and the volume's bytes.

    Each file's key must be one of `keys`; the kinds are those of `medvae.ingest.notices`. Objects
    that mark the volume follow, one for each of `mark_keys`; `unmarked` says why they were left.
    """
    tags = IDENTITY + CONTENT + (DEMOGRAPHICS if job["keep_demographics"] else [])
    salt, keys = bytes.fromhex(job["salt"]), set(job["keys"])
    frames: list[Frame] = []
    notes: set[str] = set()
    first: Dataset | None = None
    modality: Modality | None = None
    known: tuple[object, ...] | None = None
    room = limits.voxels
    following: Following | None = None
    for file in islice(files, job["images"]):
        next_frame = None if following is None else following.frame(file, frames[-1], room)
        if next_frame is not None:
            frames.append(next_frame)
            room -= next_frame.pixels.size
            continue
        file.seek(0)
        data = whole.opened(file, tags) if "scan" in job else read_dataset(file, tags, pixels=True)
        shared = None if "scan" in job else shared_part(data)
        if shared is not None and shared == known:
            next_by = repeated(file, data, tags, pixels=True)
            following = None if next_by is None else Following(next_by, data)
            frames.append(frame_like(frames[-1], data, room))
            room -= frames[-1].pixels.size
            continue
        if why_not(data) or file_key(data, salt) not in keys:
            raise InputError("its files changed while they were being read: try again")
        modality = modality_of(data)
        assert modality is not None, "why_not has refused it"
        notes.update(notes_of(data))
        frames.extend(frames_of(data, room, modality, _frames_of_scan(job, data)))
        _check_depth(data, frames[-1], modality)
        known, following = None if is_mosaic(data) else shared, None
        room = limits.voxels - len(frames) * frames[0].pixels.size
        first = first if first is not None else data if "scan" in job else _without_pixels(data)
    if first is None or modality is None:
        raise InputError("it has no files")
    frames = in_order(frames)
    stack = geometry(frames)
    notes.update(_notes_of_stack("scan" in job, frames, stack))
    _check_scales(frames)
    voxels, padded = _voxels(frames, modality)
    if padded:
        notes.add("padding")
    mask, unmarked = _mask(job, files, limits, voxels.shape, stack, notes)
    if mask is not None and not job["scheme"]:
        notes.add("segments")
    if not stack.is_upright and mask is not None:
        mask, _ = brought_upright(mask, stack, 0, labels=True)
    voxels, affine = brought_upright(voxels, stack, modality.dicom.padding)
    mask = None if mask is None else closest_canonical(mask, affine)[0]
    voxels, affine = closest_canonical(voxels, affine)
    found = ends(voxels)
    plausible(found, modality.name)
    _check_content(voxels, found, modality, notes)
    meta = describe(first, modality) | job["meta"]
    volume = Volume(voxels, affine, modality.name, mask, meta)
    if people.is_unusual(volume.spacing, volume.shape):
        notes.add("sizes")
    return {"ok": {"notes": sorted(notes), "unmarked": unmarked}}, volume.to_bytes()


def _notes_of_stack(is_whole: bool, frames: list[Frame], stack: Stack) -> list[str]:
    """Kinds of `notices` of slices in order; `is_whole`: of one file."""
    kinds = {
        "single": is_whole and len(frames) == 1,
        "sparse": _is_sparse(frames),
        "upright": stack.shift is not None,
        "evened": stack.along is not None,
    }
    return [kind for kind, holds in kinds.items() if holds]


def _is_sparse(frames: list[Frame]) -> bool:
    """Whether slices are at least twice as far apart as they are thick (frames in order)."""
    thickness = [frame.thickness for frame in frames if frame.thickness]
    if len(frames) < 2 or len(thickness) < len(frames):
        return False
    normal = frames[0].normal
    along = [float(frame.position @ normal) for frame in frames]
    return median(np.diff(along)) >= FAR_APART * median(np.array(thickness))


def _check_content(
    voxels: Voxels, found: tuple[float, float], modality: Modality, notes: set[str]
) -> None:
    """Refuse what is no scan by its voxels, as of volumes of other formats. Raises InputError.

    found: their `ends`.
    """
    if voxels.size >= contents.LEAST_VOXELS:
        if found[0] == found[1] and voxels.min() == voxels.max():
            raise InputError(contents.CONSTANT)
        if contents.is_label_map(voxels):
            raise InputError(
                "it is a label map, not a scan: give it as DICOM SEG, or as NIfTI with its scan"
            )
    contents.check_wrapped(voxels, found)
    if modality.name != "ct":
        notes.update(["negative"] if contents.is_negative(voxels) else [])
    elif not contents.check_ct(voxels, found):
        notes.add("soft")


def _check_depth(data: Dataset, frame: Frame, modality: Modality) -> None:
    """Refuse CT of so few bits that they hold no Hounsfield units of a body. Raises InputError."""
    bits = number(data, "BitsStored")
    if modality.name == "ct" and bits and 0 < abs(frame.slope) * 2**bits < contents.LEAST_DEPTH_HU:
        raise InputError(
            f"its pixels have {bits:g} bits, which hold {abs(frame.slope) * 2**bits:g} HU, less "
            "than there are from air to bone: it is a picture of a window; give the original"
        )


def _frames_of_scan(job: dict[str, Any], data: Dataset) -> tuple[int, ...] | None:
    """Which frames of an image are of the scan that was asked for; None for all."""
    if "scan" not in job:
        return None
    scans = whole.scans(data)
    if len(scans) != job["scans"] or scans[int(job["scan"])].refusal:
        raise InputError("its files changed while they were being read: try again")
    return scans[int(job["scan"])].frames


def _mask(
    job: dict[str, Any],
    files: Iterator[BinaryIO],
    limits: Limits,
    shape: tuple[int, ...],
    stack: Stack,
    notes: set[str],
) -> tuple[npt.NDArray[np.uint8] | None, str]:
    """The label map of the objects that mark a series, and why there is none."""
    if not job["mark_keys"]:
        return None, ""
    columns, rows, count = shape
    try:
        labels, fractional = labels_of(job, files, limits, (columns, rows, count), stack)
        notes.update(["fractions"] if fractional else [])
        return labels, ""
    except InputError as error:
        return None, str(error)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a parser's errors cannot be listed
        # The scan itself was read: a damaged object must not cost it.
        return None, f"it is damaged or not what it claims ({type(error).__name__})"


def _without_pixels(data: Dataset) -> Dataset:
    if "PixelData" in data:
        del data.PixelData
    return data


def in_order(frames: list[Frame]) -> list[Frame]:
    """Frames by position along the normal; copies of one frame once.

    Raises:
        InputError: different directions, sizes or spacings; two frames at one position.
    """
    first = frames[0]
    for frame in frames:
        if frame.pixels.shape != first.pixels.shape:
            raise InputError("its slices differ in size")
        if frame.orientation is first.orientation and frame.spacing is first.spacing:
            continue  # of a slice that repeats the first one's header
        if np.abs(frame.orientation - first.orientation).max() > SAME_DIRECTION:
            raise InputError("its slices differ in direction")
        if np.abs(frame.spacing - first.spacing).max() > SAME_SPACING * first.spacing.max():
            raise InputError("its slices differ in pixel spacing")
    normal = first.normal
    frames = sorted(frames, key=lambda frame: float(frame.position @ normal))
    places = np.array([frame.position @ normal for frame in frames])
    steps, same = np.diff(places), same_place(places)
    ordered = [frames[0]]
    clashes = 0
    for frame, step in zip(frames[1:], steps, strict=True):
        if step > same:
            ordered.append(frame)
        elif not _is_copy(frame, ordered[-1]):
            clashes += 1
    if len(ordered) == 1 and clashes > 1:
        raise InputError(
            f"its {clashes + 1} slices all have one place (ImagePositionPatient): several time "
            "points of one slice, or a damaged header"
        )
    if clashes:
        raise InputError(
            f"{clashes} of its slices are where another one is: several time points, acquisitions "
            "or reconstructions in one series, to be split first"
        )
    return ordered


def _is_copy(frame: Frame, other: Frame) -> bool:
    same_place = np.abs(frame.position - other.position).max() < 1e-3
    same_scale = (frame.slope, frame.intercept) == (other.slope, other.intercept)
    return bool(same_place and same_scale and np.array_equal(frame.pixels, other.pixels))


def geometry(frames: list[Frame]) -> Stack:
    """How slices are stacked: voxel index [column, row, slice] to RAS+ mm (PS3.3 C.7.6.2.1.1).

    Raises:
        InputError: missing slices, distances that differ too much, a tilt beyond that of any
            gantry, slices shifted against one another, no known spacing.
    """
    first = frames[0]
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * first.spacing[1]
    affine[:3, 1] = first.orientation[3:] * first.spacing[0]
    affine[:3, 3] = first.position
    shift = along = None
    if len(frames) == 1:
        if first.thickness is None or first.thickness <= 0:
            raise InputError("it is a single slice of unknown thickness")
        affine[:3, 2] = first.normal * first.thickness
    else:
        affine[:3, 2], shift, along = _steps(frames)
    rows, columns = first.pixels.shape
    return Stack(checked(LPS_TO_RAS @ affine, (columns, rows, len(frames))), shift, along)


Places = npt.NDArray[np.float64]


def _steps(frames: list[Frame]) -> tuple[Places, Places | None, Places | None]:
    """The mean step from one slice to the next; `shift` and `along` of a `Stack`."""
    first = frames[0]
    positions = np.array([frame.position for frame in frames])
    along = positions @ first.normal
    thickness = np.array([np.nan if f.thickness is None else f.thickness for f in frames])
    uneven = problem(along, thickness)
    if uneven and not (is_only_uneven(along, thickness) and can_be_evened(along)):
        raise InputError(uneven)
    dimensions.check_one_scan(along, [frame.traits for frame in frames])
    usual = median(np.diff(along))
    step: Places = (positions[-1] - positions[0]) / (len(frames) - 1)
    within = positions - positions[0] - np.outer(along - along[0], first.normal)
    lean = within[-1] / (along[-1] - along[0])
    if np.abs(within - np.outer(along - along[0], lean)).max() > UNEVEN * usual:
        raise InputError("its slices are shifted against one another: resample it first")
    shift = None
    if (tilt := float(np.sqrt(lean @ lean))) > TILT:
        check_tilt(float(np.degrees(np.arctan(tilt))))
        across = np.stack([first.orientation[:3], first.orientation[3:]], axis=1)
        leaning: Places = np.outer(along - along[0], lean)
        shift = leaning @ across / first.spacing[::-1]
    return step, shift, along if uneven else None


def _check_scales(frames: list[Frame]) -> None:
    """Refuse slices of several scales, some of which the header does not give."""
    unscaled = sum(not frame.is_scaled for frame in frames)
    scales = {(frame.slope, frame.intercept) for frame in frames}
    if len(scales) > 1 and 0 < unscaled < len(frames):
        raise InputError(
            f"{unscaled} of its {len(frames)} slices lack the RescaleSlope that the others have, "
            "so that their intensities cannot be compared: export it again with its rescale values"
        )


def _voxels(frames: list[Frame], modality: Modality) -> tuple[Voxels, bool]:
    """[column, row, slice], rescaled, with what is outside the image as the modality has it.

    Empties `frames` as it goes, so that the slices are not held twice.

    Returns:
        The voxels, and whether some padding has an intensity of tissue.
    """
    first = frames[0]
    scales = {(frame.slope, frame.intercept) for frame in frames}
    kind = np.result_type(*{frame.pixels.dtype for frame in frames})
    shape = (*reversed(first.pixels.shape), len(frames))
    stored = np.empty(shape, kind if len(scales) == 1 else np.float64, order="F")
    outside: dict[int, npt.NDArray[np.bool_]] = {}
    for z in reversed(range(shape[2])):
        frame = frames.pop()
        pixels = frame.pixels.T
        if frame.padding is not None:
            low, high = frame.padding
            padded = (pixels >= low) & (pixels <= high)
            if padded.any():
                outside[z] = padded
        stored[:, :, z] = pixels if len(scales) == 1 else pixels * frame.slope + frame.intercept
    voxels = rescaled(stored, *(scales.pop() if len(scales) == 1 else (1.0, 0.0)), reuse=True)
    if outside and not _is_outside(voxels, outside, modality.dicom.empty):
        return voxels, True
    for z, where in outside.items():
        voxels[:, :, z][where] = modality.dicom.padding
    return voxels, False


def _is_outside(voxels: Voxels, padded: dict[int, npt.NDArray[np.bool_]], empty: float) -> bool:
    """Whether padding is at most `empty`, or beyond all other intensities.

    Some writers declare a padding value that the body has, too (0 in Hounsfield units).
    """
    values = np.concatenate([voxels[:, :, z][where] for z, where in padded.items()])
    if values.max() <= empty:
        return True
    others = []
    for z in range(voxels.shape[2]):
        rest = voxels[:, :, z][~padded[z]] if z in padded else voxels[:, :, z]
        if rest.size:
            others.append((rest.min(), rest.max()))
    if not others:
        return True
    low, high = min(part[0] for part in others), max(part[1] for part in others)
    return bool(values.max() < low or values.min() > high)


THICKNESS = HeaderNumber("slice_thickness", "SliceThickness", "PixelMeasuresSequence")


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
