"""NIfTI-1 and NIfTI-2 into volumes (runs in the sandboxed worker only).

The header's fixed fields are read through nibabel; nothing else of the file is. The
free-text fields (descrip, aux_file, db_name, intent_name) and the extensions are skipped
unparsed, so they cannot reach a volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import apply_orientation, inv_ornt_aff
from nibabel.spatialimages import HeaderDataError

from medvae.errors import InputError
from medvae.ingest import contents
from medvae.ingest.normalise import (
    Affine,
    Voxels,
    checked,
    closest_canonical,
    plausible,
    rescaled,
)
from medvae.ingest.records import Limits
from medvae.ingest.streams import Stream, open_stream
from medvae.volume import Volume

MOST_OFFSET = 1 << 26
# NIfTI-1 standard, xyzt_units: metres, millimetres, micrometres; 0 is unknown, taken as mm.
UNITS = {
    0: ("unknown", 1.0),
    1: ("the metre", 1000.0),
    2: ("the millimetre", 1.0),
    3: ("the micrometre", 0.001),
}
MOST_METRES, LEAST_MM, MOST_MICROMETRES = 0.1, 0.1, 10.0
BINARY = 1
NO_START = "the start of its voxels is impossible: the header is damaged"
SAME_PLACE = 0.5
MASK_SHIFT = 0.1


class OverlapError(Exception):
    """Two masks of single structures share a voxel: no label map holds both."""


def volume_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: an image and the masks that follow it -> {"ok": facts} and a volume's bytes.

    `job["pair"]`: the image is two files, header and voxels. `job["numbers"]`: a label for each
    mask, which is then of one structure; empty where a single mask has the labels itself.
    `job["labels"]`: the image is a label map, of public anatomy.
    """
    voxels, affine = read_image(files, limits, pair=bool(job.get("pair")))
    if not job.get("labels"):
        contents.check_scan(voxels)
    guessed = job["modality"] is None
    modality = contents.guess_modality(voxels) if guessed else job["modality"]
    if guessed and job.get("named") not in (None, modality):
        raise InputError(
            f"its name says {job['named']} and its numbers {modality}: say which with --modality"
        )
    plausible(voxels, modality)
    notes = ["soft"] if modality == "ct" and not contents.check_ct(voxels) else []
    mask, note = None, ""
    try:
        mask = _mask(job, files, limits, voxels.shape, affine)
    except OverlapError:
        notes.append("overlap")
    except InputError as error:
        if not job["mask_optional"]:
            raise InputError(f"its mask cannot be used: {error}") from error
        note = f"a mask was left out: {error}"
    if mask is not None:
        mask, _ = closest_canonical(mask, affine)
    voxels, affine = closest_canonical(voxels, affine)
    volume = Volume(voxels, affine, modality, mask, job["meta"])
    return {"ok": {"guessed": guessed, "note": note, "notes": notes}}, volume.to_bytes()


def _mask(
    job: dict[str, Any],
    files: Iterator[BinaryIO],
    limits: Limits,
    shape: tuple[int, ...],
    affine: Affine,
) -> npt.NDArray[np.uint8] | None:
    """The mask of an image, from one file or from one a structure; None where there is none.

    Raises:
        InputError: as `read_mask`.
        OverlapError: two structures share a voxel.
    """
    numbers: list[int] = job.get("numbers") or []
    if not numbers:
        for file in files:
            return read_mask(file, limits, shape, affine)
        return None
    merged = np.zeros(shape, np.uint8)
    for file, number, name in zip(files, numbers, job["structures"], strict=True):
        labels = read_mask(file, limits, shape, affine)
        inside = labels > 0
        if np.unique(labels[inside]).size > 1:
            raise InputError(f"{name} has several labels, and it is one of several masks")
        if (merged[inside] > 0).any():
            raise OverlapError
        merged[inside] = number
    return merged


def read_image(
    files: Iterator[BinaryIO], limits: Limits, pair: bool = False
) -> tuple[Voxels, Affine]:
    """Voxels [X, Y, Z] (int16 or float32, scale applied) and affine as stored, in mm.

    Args:
        pair: the next two files are header and voxels; otherwise the next one is both.

    Raises:
        InputError: not NIfTI, damaged, too large, not one scalar 3-D image.
    """
    stored, header, affine = _read_pair(files, limits) if pair else _read(next(files), limits)
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError("its intensity scale is not a finite number") from error
    voxels = rescaled(
        stored, 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    )
    return voxels, affine


def read_mask(
    file: BinaryIO, limits: Limits, shape: tuple[int, ...], affine: Affine
) -> npt.NDArray[np.uint8]:
    """A label image on the grid of its scan, whichever way its axes run: [X, Y, Z] uint8.

    Raises:
        InputError: unreadable, an image, not whole numbers 0 to 255, or on another grid.
    """
    voxels, own = read_image(iter([file]), limits)
    voxels = _on_axes_of(voxels, own, shape, affine)
    if voxels.dtype != np.int16 or voxels.min() < 0 or voxels.max() > 255:
        raise InputError("its labels are not whole numbers from 0 to 255")
    contents.check_labels(voxels)
    return voxels.astype(np.uint8)


def _on_axes_of(
    voxels: Voxels, own: Affine, shape: tuple[int, ...], affine: Affine
) -> npt.NDArray[Any]:
    """Voxels with their axes permuted and flipped to be those of another grid of the same place.

    Raises:
        InputError: no permutation and flip makes the two grids one.
    """
    axes = np.rint(np.linalg.solve(affine, own)[:3, :3])
    elsewhere = InputError("its grid is not that of the image in space")
    if not (np.abs(axes).sum(0) == 1).all() or not (np.abs(axes).sum(1) == 1).all():
        raise (
            InputError(f"its size is {_times(voxels.shape)}, the image's is {_times(shape)}")
            if (voxels.shape != shape)
            else elsewhere
        )
    to = np.abs(axes).argmax(axis=0)
    orientation = np.stack([to, axes[to, range(3)]], axis=1)
    moved = own @ inv_ornt_aff(orientation, voxels.shape)
    turned = np.asarray(apply_orientation(voxels, orientation))
    if turned.shape != shape:
        raise InputError(f"its size is {_times(turned.shape)}, the image's is {_times(shape)}")
    if _farthest(moved, affine, shape) > MASK_SHIFT * np.sqrt((affine[:3, :3] ** 2).sum(0)).min():
        raise elsewhere
    return turned


def _read(file: BinaryIO, limits: Limits) -> tuple[Voxels, Nifti1Header, Affine]:
    stream = open_stream(file)
    header = _header(stream, (b"n+1", b"n+2"))
    shape, kind = _shape(header, limits), _kind(header)
    _skip_to_voxels(stream, header)
    return _voxels(stream, shape, kind), header, checked(_affine(header, shape), shape)


def _read_pair(files: Iterator[BinaryIO], limits: Limits) -> tuple[Voxels, Nifti1Header, Affine]:
    """A header file and a file of voxels (NIfTI-1, `magic` ni1)."""
    header = _header(open_stream(next(files)), (b"ni1", b"ni2"))
    shape, kind = _shape(header, limits), _kind(header)
    affine = checked(_affine(header, shape), shape)
    stream = open_stream(next(files))
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MOST_OFFSET:
        raise InputError(NO_START)
    stream.read(int(offset))
    return _voxels(stream, shape, kind), header, affine


def _voxels(stream: Stream, shape: tuple[int, ...], kind: np.dtype[Any]) -> Voxels:
    data = stream.read(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
    stream.finish()
    return data.view(kind).reshape(shape, order="F")


def _header(stream: Stream, marks: tuple[bytes, bytes]) -> Nifti1Header:
    """The header, with one of these marks in it."""
    start = stream.read(4).tobytes()
    for order, endianness in (("little", "<"), ("big", ">")):
        size = int.from_bytes(start, order)  # type: ignore[arg-type]
        if size in (348, 540):
            block = start + stream.read(size - 4).tobytes()
            kind = Nifti1Header if size == 348 else Nifti2Header
            header = kind(block, endianness=endianness, check=False)
            break
    else:
        raise InputError("it is not a NIfTI file: the header does not begin as one")
    magic = header["magic"].item()[:3]
    if magic not in marks:
        if magic in (b"ni1", b"ni2"):
            raise InputError("its voxels lie in a separate .img file: put it beside the .hdr file")
        if magic in (b"n+1", b"n+2"):
            raise InputError("its header is that of a single NIfTI file: name it .nii")
        if b"ni1" in marks:
            raise InputError(
                "it is an Analyze file without the NIfTI mark, which does not say which side is "
                "left: convert it to NIfTI"
            )
        raise InputError("it is not a NIfTI file: the header lacks the NIfTI mark")
    return header


def _shape(header: Nifti1Header, limits: Limits) -> tuple[int, ...]:
    dims = [int(d) for d in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise InputError("its number of dimensions is impossible: the header is damaged")
    shape = dims[1 : dims[0] + 1]
    if len(shape) < 3:
        raise InputError(f"it is a {len(shape)}-D image: expected a 3-D volume")
    if min(shape) < 1:
        raise InputError(f"its size is {_times(shape)}: a volume has at least one voxel an axis")
    if max(shape[3:], default=1) > 1:
        raise InputError(f"it is a series of volumes ({_times(shape)}): split it into 3-D files")
    # Python's integers cannot overflow, as a product of claimed sizes would.
    count = shape[0] * shape[1] * shape[2]
    if count > limits.voxels:
        raise InputError(f"it claims {_times(shape)} voxels, more than the {limits.voxels} allowed")
    return tuple(shape[:3])


def _kind(header: Nifti1Header) -> np.dtype[Any]:
    if int(header["datatype"]) == BINARY:
        raise InputError("its voxels are single bits (NIfTI type 1): store a mask as uint8")
    try:
        kind: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise InputError("its voxel type is unknown to NIfTI") from error
    if kind.fields or kind.kind == "V":
        raise InputError("it is a colour image: expected one grey value a voxel")
    if kind.kind == "c":
        raise InputError("its voxels are complex numbers: store the magnitude")
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise InputError("its voxel type is not supported: store int16 or float32")
    return kind


def _skip_to_voxels(stream: Stream, header: Nifti1Header) -> None:
    offset = float(header["vox_offset"])
    smallest = header.single_vox_offset
    if offset == 0:
        offset = smallest
    if not smallest <= offset <= MOST_OFFSET:
        raise InputError(NO_START)
    stream.read(int(offset) - header.sizeof_hdr)


def _affine(header: Nifti1Header, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """sform before qform before voxel sizes, as nibabel has it, but in millimetres.

    Raises:
        InputError: both claim the same space and disagree by half a voxel or more, or the unit
            of length cannot be that of the numbers.
    """
    steps = np.array(header["pixdim"][1:4], np.float64)
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and (steps < 0).any():
        # Programs disagree on what they mean: their size alone, or a flip.
        raise InputError(
            "its voxel sizes are negative and no sform gives its orientation: set the sform"
        )
    if header["pixdim"][0] not in (-1, 1):
        # 0 counts as 1, says the standard (qfac); what is neither counts as unset too.
        header["pixdim"][0] = 1
    header["pixdim"][1:4] = np.abs(steps)
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        if 0 < sform == qform:
            other = np.array(header.get_qform(), dtype=np.float64)
            if not _farthest(affine, other, shape) <= SAME_PLACE * np.abs(steps).min():
                raise InputError(
                    "its two descriptions of orientation (sform and qform) disagree: correct one"
                )
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError("its orientation cannot be computed: the header is damaged") from error
    affine[:3] *= _millimetres(header, affine)
    return affine


def _millimetres(header: Nifti1Header, affine: npt.NDArray[Any]) -> float:
    """How many millimetres the header's unit of length is."""
    code = int(header["xyzt_units"]) & 0x07
    if code not in UNITS:
        raise InputError("its unit of length is unknown to NIfTI")
    name, scale = UNITS[code]
    longest = float(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).max())
    # Millimetres under another unit's name: a voxel of 10 cm, or one smaller than a cell.
    metres = scale > 1 and longest >= MOST_METRES
    micrometres = scale < 1 and LEAST_MM <= longest < MOST_MICROMETRES
    if metres or micrometres:
        raise InputError(
            f"its unit of length is {name}, which makes its voxels {longest * scale:g} mm long: "
            "if its numbers are millimetres, set xyzt_units to 2"
        )
    return scale


def _farthest(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """The largest distance between the two places of a corner voxel."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    return float(np.sqrt((((one - other) @ corners)[:3] ** 2).sum(axis=0)).max())


def _times(shape: tuple[int, ...] | list[int]) -> str:
    return " x ".join(str(n) for n in shape)
