"""Versions of a stored atlas, and how one of an earlier version is brought to now."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.atlas import intensity
from medvae.atlas.basis import Array
from medvae.errors import IntegrityError

# Since format 2 quantile functions are told in `intensity.WAVES`, before in cosines.
WAVES = 2
NOW = 2


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


def from_cosines(arrays: dict[str, Array]) -> None:
    """Bring quantile functions of format 1, which were told in cosines, to what they are now.

    Nearly the same curves: but for their ends, which cosines told badly.

    Raises:
        IntegrityError: an array is of a wrong size.
    """
    for name in ("grey", "grey_deviation", "classes.grey"):
        values = arrays.get(name)
        if values is None:
            continue
        if values.ndim < 1 or values.shape[-1] != intensity.COUNT:
            raise IntegrityError(f"stored atlas has an array of a wrong size in {name}")
        if name == "grey_deviation":
            each = intensity.from_cosines(np.diag(values))
            arrays[name] = np.sqrt((each**2).sum(axis=0))
        else:
            arrays[name] = intensity.from_cosines(values)
