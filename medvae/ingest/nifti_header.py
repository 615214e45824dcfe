"""What the fields of a NIfTI header say: place in space, unit of length, scale and intent.

Where fields contradict each other or leave something out, the image is read as the standard has
it and a kind of `medvae.ingest.notices` says so, or it is refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError

from medvae.errors import InputError
from medvae.ingest import stored
from medvae.ingest.places import farthest
from medvae.ingest.stored import Affine

# NIfTI-1 standard, xyzt_units: metres, millimetres, micrometres; 0 is unknown, taken as mm.
UNITS = {
    0: ("unknown", 1.0),
    1: ("the metre", 1000.0),
    2: ("the millimetre", 1.0),
    3: ("the micrometre", 0.001),
}
MOST_METRES, LEAST_MM, MOST_MICROMETRES = 0.1, 0.1, 10.0
SAME_PLACE = 0.5
# What rounding to 32 bits, twice, leaves of the square of a quaternion's first part.
ROUNDED_QUATERNION = -1e-5
# Part of a voxel's size by which pixdim and sform may differ.
SAME_SIZE = 0.01
DISAGREE = "its two descriptions of orientation (sform and qform) disagree: correct one"
# nifti1.h: first and last intent code, and what such an image holds.
INTENTS = (
    (2, 24, "values of a statistic"),
    (1001, 1001, "estimates of a parameter"),
    (1002, 1003, "labels"),
    (1004, 1010, "vectors, matrices or points"),
    (2001, 2018, "a time series, a surface or coefficients of a warp"),
)


def scale(header: Nifti1Header) -> tuple[float, float, list[str]]:
    """Slope, intercept and kinds of notices. A slope of 0 or NaN means no scale at all.

    Raises:
        InputError: the slope is infinite, or the intercept beside a slope not finite.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isnan(slope) or slope == 0:
        lost = np.isfinite(intercept) and intercept != 0
        return 1.0, 0.0, ["unscaled"] if lost else []
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise InputError("its intensity scale is not a finite number")
    return slope, intercept, []


def intent(header: Nifti1Header) -> str:
    """What an image holds that is no scan, by its intent code; empty where it may be one."""
    code = int(header["intent_code"])
    return next((what for first, last, what in INTENTS if first <= code <= last), "")


def space(header: Nifti1Header) -> str:
    """The space that the form in use is in: codes 1 and 2 scanner, 3 and 4 a template."""
    code = int(header["sform_code"]) if header["sform_code"] > 0 else int(header["qform_code"])
    return "scanner" if code in (1, 2) else "template" if code in (3, 4) else ""


def affine(
    header: Nifti1Header, shape: tuple[int, ...], orientation: str | None
) -> tuple[Affine, list[str]]:
    """Voxel index to mm (RAS+) and kinds of notices: sform before qform before voxel sizes.

    Args:
        orientation: how the axes run where neither form says it; None takes them to run to the
            left, to the front and to the head, as nibabel does.

    Raises:
        InputError: both forms claim the same space and disagree by half a voxel or more, one
            mirrors the other, or the unit of length cannot be that of the numbers.
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
    steps = np.abs(steps)
    header["pixdim"][1:4] = steps
    notes = []
    header.quaternion_threshold = ROUNDED_QUATERNION
    try:
        matrix = np.array(header.get_best_affine(), dtype=np.float64)
        if sform > 0 and qform > 0:
            _check_forms(matrix, np.array(header.get_qform(), np.float64), header, shape)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError("its orientation cannot be computed: the header is damaged") from error
    if sform <= 0 and qform <= 0:
        if orientation is not None:
            matrix = stored.along(orientation, steps)
        else:
            notes.append("sideless")
    if sform > 0 and not _is_sized(matrix, steps):
        notes.append("resized")
    matrix[:3] *= _millimetres(header, matrix)
    return matrix, notes


def _check_forms(
    sform: Affine, qform: Affine, header: Nifti1Header, shape: tuple[int, ...]
) -> None:
    same_space = int(header["sform_code"]) == int(header["qform_code"])
    least = SAME_PLACE * float(header["pixdim"][1:4].min())
    if same_space and not farthest(sform, qform, shape) <= least:
        raise InputError(DISAGREE)
    # Whatever space each is in: no scanner and no template turns a left hand into a right one.
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise InputError(
            "one of its descriptions of orientation (sform and qform) mirrors the other, so that "
            "left and right are unknown: correct one"
        )


def _is_sized(affine: Affine, steps: npt.NDArray[np.float64]) -> bool:
    """Whether voxels are as large as pixdim says, where it says it."""
    own = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return bool((steps <= 0).any() or (np.abs(own - steps) <= SAME_SIZE * steps).all())


def _millimetres(header: Nifti1Header, affine: Affine) -> float:
    """How many millimetres the header's unit of length is."""
    code = int(header["xyzt_units"]) & 0x07
    if code not in UNITS:
        raise InputError("its unit of length is unknown to NIfTI")
    name, factor = UNITS[code]
    longest = float(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).max())
    # Millimetres under another unit's name: a voxel of 10 cm, or one smaller than a cell.
    metres = factor > 1 and longest >= MOST_METRES
    micrometres = factor < 1 and LEAST_MM <= longest < MOST_MICROMETRES
    if metres or micrometres:
        raise InputError(
            f"its unit of length is {name}, which makes its voxels {longest * factor:g} mm long: "
            "if its numbers are millimetres, set xyzt_units to 2"
        )
    return factor
