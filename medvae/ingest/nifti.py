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
from nibabel.spatialimages import HeaderDataError

from medvae import modality as modalities
from medvae.errors import InputError
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
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
SAME_PLACE = 0.5
MASK_SHIFT = 0.1


def volume_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: an image and, where `files` is 2, its mask -> {"ok": facts} and a volume's bytes."""
    voxels, affine = read_image(next(files), limits)
    guessed = job["modality"] is None
    modality = guess_modality(voxels) if guessed else job["modality"]
    plausible(voxels, modality)
    mask, note = None, ""
    if job["files"] > 1:
        try:
            mask = read_mask(next(files), limits, voxels.shape, affine)
        except InputError as error:
            if not job["mask_optional"]:
                raise InputError(f"its mask cannot be used: {error}") from error
            note = f"a mask was left out: {error}"
    if mask is not None:
        mask, _ = closest_canonical(mask, affine)
    voxels, affine = closest_canonical(voxels, affine)
    volume = Volume(voxels, affine, modality, mask, job["meta"])
    return {"ok": {"guessed": guessed, "note": note}}, volume.to_bytes()


def read_image(file: BinaryIO, limits: Limits) -> tuple[Voxels, Affine]:
    """Voxels [X, Y, Z] (int16 or float32, scale applied) and affine as stored, in mm.

    Raises:
        InputError: not a single-file NIfTI, damaged, too large, not one scalar 3-D image.
    """
    stored, header, affine = _read(file, limits)
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
    """A label image on the grid of its scan: [X, Y, Z] uint8.

    Raises:
        InputError: unreadable, not whole numbers 0 to 255, or on another grid.
    """
    voxels, own = read_image(file, limits)
    if voxels.shape != shape:
        raise InputError(f"its size is {_times(voxels.shape)}, the image's is {_times(shape)}")
    if _farthest(own, affine, shape) > MASK_SHIFT * np.sqrt((affine[:3, :3] ** 2).sum(0)).min():
        raise InputError("its grid is not that of the image in space")
    labels = voxels.astype(np.uint8) if voxels.dtype == np.int16 else None
    if labels is None or voxels.min() < 0 or voxels.max() > 255:
        raise InputError("its labels are not whole numbers from 0 to 255")
    return labels


def guess_modality(voxels: Voxels) -> str:
    """The modality from the numbers alone, where they are decisive (`Modality.recognised`).

    Raises:
        InputError: no modality or more than one recognises the numbers as its own.
    """
    low = float(np.nanmin(np.where(np.isfinite(voxels), voxels, np.nan)))
    whole = voxels.dtype == np.int16
    fitting = [
        one.name
        for one in modalities.registered()
        if one.recognised is not None and one.recognised(low, whole)
    ]
    if len(fitting) != 1:
        raise InputError(
            "its numbers do not say what it is: give --modality, one of "
            + ", ".join(modalities.names())
        )
    return fitting[0]


def _read(file: BinaryIO, limits: Limits) -> tuple[Voxels, Nifti1Header, Affine]:
    stream = open_stream(file)
    header = _header(stream)
    shape = _shape(header, limits)
    kind = _kind(header)
    _skip_to_voxels(stream, header)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    data = stream.read(size)
    stream.finish()
    affine = checked(_affine(header, shape), shape)
    return data.view(kind).reshape(shape, order="F"), header, affine


def _header(stream: Stream) -> Nifti1Header:
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
    if magic in (b"ni1", b"ni2"):
        raise InputError("its voxels lie in a separate .img file: convert it to one .nii file")
    if magic not in (b"n+1", b"n+2"):
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
        raise InputError("the start of its voxels is impossible: the header is damaged")
    stream.read(int(offset) - header.sizeof_hdr)


def _affine(header: Nifti1Header, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """sform before qform before voxel sizes, as nibabel has it, but in millimetres.

    Raises:
        InputError: both claim the same space and disagree by half a voxel or more.
    """
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        scale = UNITS.get(int(header["xyzt_units"]) & 0x07)
        if scale is None:
            raise InputError("its unit of length is unknown to NIfTI")
        same_space = 0 < int(header["sform_code"]) == int(header["qform_code"])
        if same_space:
            other = np.array(header.get_qform(), dtype=np.float64)
            voxel = np.abs(header["pixdim"][1:4]).min()
            if not _farthest(affine, other, shape) <= SAME_PLACE * voxel:
                raise InputError(
                    "its two descriptions of orientation (sform and qform) disagree: correct one"
                )
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError("its orientation cannot be computed: the header is damaged") from error
    affine[:3] *= scale
    return affine


def _farthest(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """The largest distance between the two places of a corner voxel."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    return float(np.sqrt((((one - other) @ corners)[:3] ** 2).sum(axis=0)).max())


def _times(shape: tuple[int, ...] | list[int]) -> str:
    return " x ".join(str(n) for n in shape)
