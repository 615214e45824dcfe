"""NIfTI-1 files that are the same, byte for byte, whenever they are written."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.grid import to_steps
from medvae.volume import Volume

# NIfTI code for "scanner anatomical": millimetres, RAS+.
_SCANNER = 1


# In each synthetic file itself, should it be parted from its folder (at most 79 characters).
SYNTHETIC = "synthetic (medvae)"
PUBLIC = "public image, resampled (medvae)"


def nifti(
    voxels: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    *,
    step: float = 1.0,
    display: tuple[float, float] = (0.0, 0.0),
    description: str = "",
) -> bytes:
    """A NIfTI-1 file of voxels [X, Y, Z] (int16, uint8 or float32), in multiples of `step`.

    Of [X, Y, Z, T] a moving image, whose time between frames is not stated (0).

    The affine is in sform and qform (a shear only in sform). `display` is the window that
    viewers open with; (0, 0) leaves it to them.
    """
    import nibabel as nib

    image = nib.Nifti1Image(voxels, affine)
    header = image.header
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    header.set_xyzt_units("mm", "sec")
    if voxels.ndim > 3:
        header["pixdim"][4] = 0.0
    header.set_slope_inter(step, 0.0)
    header["descrip"] = description.encode("ascii")
    header["cal_min"], header["cal_max"] = display
    return bytes(image.to_bytes())


def gzipped(data: bytes) -> bytes:
    """gzip whose header carries neither a time nor a name."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as packed:
        packed.write(data)
    return out.getvalue()


def write_nifti(
    volume: Volume, folder: Path, stem: str, *, suffix: str = ".nii.gz", description: str = ""
) -> list[Path]:
    """Write `stem` + suffix, and `stem_dseg` + suffix when there is a mask.

    A volume with channels becomes one file a channel (`stem_t1` + suffix and so on), a moving image
    one file [X, Y, Z, T]. Voxels keep their type (int16 or float32). Where channels are of several
    modalities, those with whole numbers are written as int16. Returns the files written.
    """
    parts = {stem: np.moveaxis(volume.voxels, 0, -1) if volume.is_cine else volume.voxels}
    if volume.channels and not volume.is_cine:
        parts = {
            f"{stem}_{name}": _alone(voxels) if volume.modalities else voxels
            for name, voxels in zip(volume.channels, volume.voxels, strict=True)
        }
    if volume.mask is not None:
        parts[f"{stem}_dseg"] = volume.mask
    files: list[Path] = []
    try:
        for name, voxels in parts.items():
            data = nifti(voxels, volume.affine, description=description)
            files.append(folder / f"{name}{suffix}")
            files[-1].write_bytes(gzipped(data) if suffix.endswith(".gz") else data)
    except BaseException:
        # Of a full disk: half an image, or an image without its mask.
        for path in files:
            path.unlink(missing_ok=True)
        raise
    return files


def _alone(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A channel that was stored as float32 beside one of fractions, in the type it had."""
    ends = np.iinfo(np.int16)
    # NaN, outside the image, is no whole number.
    fits = (
        np.rint(voxels) == voxels
    ).all() and ends.min <= voxels.min() <= voxels.max() <= ends.max
    return voxels.astype(np.int16) if fits else voxels


def as_int16(voxels: npt.NDArray[Any], step: float = 1.0) -> npt.NDArray[np.int16]:
    """Intensities as whole multiples of `step`; the gate has seen that they fit."""
    if step == 1.0 and voxels.dtype == np.int16:
        return voxels
    return to_steps(voxels, step)
