"""Versions of a stored atlas, and how one of an earlier version is brought to now."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.atlas import facing, intensity, profile
from medvae.errors import IntegrityError

# Since format 2 quantile functions are told in `intensity.WAVES`, before in cosines.
WAVES = 2
# Since format 3 an atlas holds what borders between labels face.
FACING = 3
NOW = 3


def of(tensors: dict[str, npt.NDArray[Any]]) -> int:
    """The version that a stored atlas is of.

    Raises:
        IntegrityError: it does not say, or is of a version to come.
    """
    try:
        found = json.loads(np.asarray(tensors["facts"], np.uint8).tobytes())["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("stored atlas does not say which format it has") from error
    if found not in range(1, NOW + 1):
        raise IntegrityError(
            f"stored atlas has format {found}, and this version reads 1 to {NOW}: it needs a "
            "newer medvae"
        )
    return int(found)


def current(tensors: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Stored arrays of any version as those of now.

    Raises:
        IntegrityError: see `of` and `from_cosines`.
        KeyError: the profile is missing.
    """
    version, found = of(tensors), dict(tensors)
    if version < FACING:
        # Nothing is known of it, so nothing is turned.
        found["facing"] = np.zeros((0, facing.FIGURES))
    if found["profile"].shape == (2, profile.FIRST_DIMENSION):
        # Of fewer directions: of the others nothing is believed.
        more = profile.DIMENSION - profile.FIRST_DIMENSION
        found["profile"] = np.pad(found["profile"], ((0, 0), (0, more)))
    if version < WAVES and "middle" not in found:
        from_cosines(found)
    return found


def from_cosines(arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Bring quantile functions of format 1, which were told in cosines, to what they are now.

    Nearly the same curves: but for their ends, which cosines told badly.

    Raises:
        IntegrityError: an array is of a wrong size.
    """
    for name in ("grey", "grey_deviation", "classes.grey"):
        if name not in arrays:
            continue
        values = np.asarray(arrays[name], dtype=np.float64)
        if values.ndim < 1 or values.shape[-1] != intensity.COUNT:
            raise IntegrityError(f"stored atlas has an array of a wrong size in {name}")
        if name == "grey_deviation":
            each = intensity.from_cosines(np.diag(values))
            arrays[name] = np.sqrt((each**2).sum(axis=0))
        else:
            arrays[name] = intensity.from_cosines(values)
