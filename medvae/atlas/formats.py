"""Versions of a stored atlas, and migration of earlier versions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.atlas import boundary_orientation, boundary_profile, intensity
from medvae.errors import IntegrityError

# Keys of stored arrays by field of `Atlas` and of `Classes`. They stand in models and must not
# change.
KEYS = {
    "template": "template",
    "fine_structure": "fine",
    "centre": "centre",
    "displacement_std": "deviation",
    "correlation_factor": "factor",
    "residual": "residual",
    "grey": "grey",
    "grey_std": "grey_deviation",
    "size": "size",
    "boundary_normals": "facing",
    "profile": "profile",
}
CLASS_KEYS = {
    "share": "classes.share",
    "image": "classes.image",
    "deformation": "classes.motion",
    "grey": "classes.grey",
}
# Of absolute grey values: [1] the value that a field maps to 0, and [X, Y, Z] the texture's std.
GREY_CENTRE, TEXTURE_STD = "middle", "spread"
# Format 2 replaced cosines by `intensity.WAVES` for quantile functions.
WAVES = 2
# Format 3 added the orientation of boundaries between labels.
ORIENTATION = 3
CURRENT = 3


def version_of(tensors: dict[str, npt.NDArray[Any]]) -> int:
    """The format version of a stored atlas.

    Raises:
        IntegrityError: the version is missing, or newer than this program.
    """
    try:
        version = json.loads(np.asarray(tensors["facts"], np.uint8).tobytes())["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("stored atlas does not say which format it has") from error
    if version not in range(1, CURRENT + 1):
        raise IntegrityError(
            f"stored atlas has format {version}, and this version reads 1 to {CURRENT}: it needs a "
            "newer medvae"
        )
    return int(version)


def migrate(tensors: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Stored arrays of any version as arrays of the current one.

    Raises:
        IntegrityError: see `version_of` and `migrate_cosines`.
        KeyError: the profile is missing.
    """
    version, migrated = version_of(tensors), dict(tensors)
    if version < ORIENTATION:
        # The orientation was not measured, so no boundary is rotated.
        migrated[KEYS["boundary_normals"]] = np.zeros((0, boundary_orientation.STATISTICS))
    if migrated["profile"].shape == (2, boundary_profile.FIRST_DIMENSION):
        # Earlier profiles had fewer directions; the others get a posterior weight of 0.
        more = boundary_profile.DIMENSION - boundary_profile.FIRST_DIMENSION
        migrated["profile"] = np.pad(migrated["profile"], ((0, 0), (0, more)))
    if version < WAVES and GREY_CENTRE not in migrated:
        migrate_cosines(migrated)
    return migrated


def migrate_cosines(arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Convert quantile functions of format 1 from cosines to `intensity.WAVES`, in place.

    The curves are nearly the same, except at their ends, which cosines represent badly.

    Raises:
        IntegrityError: an array has a wrong size.
    """
    for name in ("grey", "grey_deviation", "classes.grey"):
        if name not in arrays:
            continue
        values = np.asarray(arrays[name], dtype=np.float64)
        if values.ndim < 1 or values.shape[-1] != intensity.COUNT:
            raise IntegrityError(f"stored atlas has an array of a wrong size in {name}")
        if name == "grey_deviation":
            columns = intensity.from_cosines(np.diag(values))
            arrays[name] = np.sqrt((columns**2).sum(axis=0))
        else:
            arrays[name] = intensity.from_cosines(values)


def arrays_of(tensors: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Float64 arrays of the current version by key; optional ones are all there or none is.

    Raises:
        KeyError: an array is missing.
        IntegrityError: an array holds non-finite numbers, or the grey centre is not one number.
    """
    keys = list(KEYS.values())
    for optional in ((GREY_CENTRE, TEXTURE_STD), tuple(CLASS_KEYS.values())):
        if any(key in tensors for key in optional):
            keys += optional
    arrays = {key: np.asarray(tensors[key], dtype=np.float64) for key in keys}
    for key, values in arrays.items():
        if not np.isfinite(values).all():
            raise IntegrityError(f"stored atlas holds non-finite numbers in {key}")
    if GREY_CENTRE in arrays and arrays[GREY_CENTRE].shape != (1,):
        raise IntegrityError(f"stored atlas has an array of a wrong size in {GREY_CENTRE}")
    return arrays
