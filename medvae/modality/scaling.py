"""The ways to scale intensities to [-1, 1]: a fixed window, own percentiles, the whole range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from medvae.modality.base import Limits


@final
@dataclass(frozen=True)
class Window:
    """The window of the configuration, the same for all volumes."""

    absolute: bool = True

    def limits(self, voxels: npt.NDArray[Any], window: Limits, percentiles: Limits) -> Limits:
        return window

    def public_limits(self, window: Limits) -> Limits:
        return window


@final
@dataclass(frozen=True)
class Percentiles:
    """Percentiles of a volume's own finite voxels (Nyul and Udupa 1999 give the reason).

    scale: synthetic volumes run from 0 to this.
    """

    scale: float
    absolute: bool = False

    def limits(self, voxels: npt.NDArray[Any], window: Limits, percentiles: Limits) -> Limits:
        inside = voxels[np.isfinite(voxels)].astype(np.float64)
        if not inside.size:
            return 0.0, 1.0
        low, high = (float(v) for v in np.percentile(inside, percentiles, overwrite_input=True))
        # A flat volume has no contrast to scale: it becomes -1 everywhere.
        flat = 1e-6 * max(abs(low), abs(high), 1e-6)
        return low, low + max(high - low, flat)

    def public_limits(self, window: Limits) -> Limits:
        return 0.0, self.scale


@final
@dataclass(frozen=True)
class Depth:
    """From 0 to the highest value that a pixel can have, the same for all pictures."""

    most: float
    absolute: bool = False

    def limits(self, voxels: npt.NDArray[Any], window: Limits, percentiles: Limits) -> Limits:
        return 0.0, self.most

    def public_limits(self, window: Limits) -> Limits:
        return 0.0, self.most
