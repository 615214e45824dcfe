"""What a picture on an absolute scale shows without a mask: the body, and the gas in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae import modality as modalities
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.config import DataConfig

Mask = npt.NDArray[np.bool_]

# On the scale of -1 to 1: a level beyond this or its negative is at an end of the window, and does
# not separate tissues.
VISIBLE: Final = 0.95
# Things thinner than this are no body: the table, sheets, clothes.
_THIN_MM: Final = 6.0


@dataclass(frozen=True)
class Tissues:
    """Grey values, on the scale of -1 to 1, that separate tissues.

    Attributes:
        body: the body is brighter.
        gas: gas within it is darker; None: the window does not show it.
        soft: soft tissue, which stands for what is neither.
        varies: by how much the rest of the body differs from it; at most 0.5.
    """

    body: float
    gas: float | None
    soft: float
    varies: float

    @classmethod
    def of(cls, data: DataConfig) -> Tissues | None:
        """Those of a cohort; None where its grey values mean something else in every volume."""
        rule = modalities.get(data.modality).tissues
        if rule is None:
            return None
        low, high = data.window
        body, gas, soft = (
            on_scale(value, data.window) for value in (rule.body, rule.gas, rule.soft)
        )
        varies = min(2.0 * rule.varies / (high - low), 0.5)
        gas_level = gas if gas > -VISIBLE else None
        return cls(max(body, -VISIBLE), gas_level, min(max(soft, -1.0), 1.0), varies)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps, the body last."""
        return ("body",) if self.gas is None else ("gas", "body")

    def shown(self, scan: Scan) -> tuple[Mask, ...]:
        """[X, Y, Z] masks, as `names`: gas is within the body and not labelled."""
        body = body_of(scan.image > self.body, scan.spacing)
        if scan.mask is not None:
            body |= scan.mask > 0
        if self.gas is None:
            return (body,)
        gas = body & (scan.image < self.gas)
        return (gas if scan.mask is None else gas & (scan.mask == 0), body)

    def interior(
        self, image: npt.NDArray[np.float32], masks: Sequence[Mask]
    ) -> npt.NDArray[np.float32]:
        """[X, Y, Z] a picture with soft tissue in place of gas and of what is not body.

        masks: as `shown` gives them.
        """
        solid = masks[-1] if self.gas is None else masks[-1] & ~masks[0]
        return np.asarray(np.where(solid, image, np.float32(self.soft)), np.float32)


def on_scale(value: float, window: tuple[float, float]) -> float:
    """An intensity on the scale that has -1 and 1 at the ends of a window."""
    low, high = window
    return 2.0 * (value - low) / (high - low) - 1.0


def body_of(bright: Mask, spacing: Array) -> Mask:
    """The largest connected part without what is thin, filled slice by slice.

    Args:
        bright: [X, Y, Z] what is not air. spacing: [3] of a voxel, in mm.
    """
    size = [2 * max(0, round(_THIN_MM / 2.0 / float(s))) + 1 for s in spacing]
    # Opening by a box, as two passes along each axis.
    thick = ndimage.maximum_filter(ndimage.minimum_filter(bright, size), size)
    parts, count = ndimage.label(thick)
    if not count:
        return np.asarray(thick, bool)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    slices = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(largest, 2, 0)]
    return np.asarray(np.stack(slices, axis=2), bool)
