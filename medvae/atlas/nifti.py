"""Read a NIfTI volume from bytes, for templates that the user declares public.

Patients' scans are parsed in the sandbox of `ingest`. These files are named by the user and are
parsed here; every malformed one raises a `UsageError`.
"""

from __future__ import annotations

import zlib

import numpy as np

from medvae.atlas.basis import Array
from medvae.errors import UsageError

# A public head at half a millimetre has 50 million voxels.
MAX_BYTES = 1 << 30
GZIP, NIFTI2 = b"\x1f\x8b", (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


def parse(data: bytes, what: str) -> tuple[Array, Array]:
    """Voxels [A, B, C] of a NIfTI-1 or -2 file in R, A, S orientation, and their size [3] in mm.

    Raises:
        UsageError: the file is not one volume of real, finite numbers; `what` names it.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import OrientationError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        raw = _unpacked(data) if data[:2] == GZIP else data
        kind = nib.Nifti2Image if raw[:4] in NIFTI2 else nib.Nifti1Image
        image = nib.as_closest_canonical(kind.from_bytes(raw))
        voxels = np.asarray(image.dataobj)
        zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    except (
        *(ImageFileError, HeaderDataError, OrientationError, WrapStructError, zlib.error),
        *(OSError, ValueError, TypeError, OverflowError, AttributeError, MemoryError),
    ) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{what} cannot be read as NIfTI: {reason}") from error
    if voxels.ndim > 3:
        voxels = voxels.reshape(voxels.shape[:3]) if voxels[0, 0, 0].size == 1 else voxels
    good = voxels.ndim == 3 and voxels.dtype.kind in "iuf" and min(voxels.shape) > 1
    if not good or not np.isfinite(voxels).all() or not (np.isfinite(zooms) & (zooms > 0)).all():
        raise UsageError(f"{what} must be one volume of finite numbers on voxels with a size")
    return voxels.astype(np.float64), zooms


def _unpacked(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    raw = stream.decompress(data, MAX_BYTES)
    if not stream.eof:
        raise ValueError(f"it is cut off, or larger than {MAX_BYTES} bytes")
    return raw
