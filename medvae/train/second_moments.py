"""Second moments of a hospital's patients, moved from its own released mean to another point.

Of values x, a released mean r with noise e, and what was made of it, n: the moment around another
point m is that around n, and 2 (n - m) (r - n) + (n - m)^2. n and m have parts of the same noise e,
so that the product is too large by 2 cov(n - m, e) in the mean; by Stein's lemma (1981) that is
the noise's variance times what n and m keep of r. It is taken off. Noise that a product has of its
own is said, so that it is not taken for how people differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array


@dataclass(frozen=True)
class Around:
    """A point that a noisy mean was made into; all of it like the public mean, in its units.

    Attributes:
        at: the point, as a deviation from the public mean.
        shown: the mean as released, before noise was taken off it.
        groups: of each number the group that noise was taken off together.
    """

    at: Array
    shown: Array
    groups: npt.NDArray[np.intp]

    @cached_property
    def kept(self) -> Array:
        """What the point kept of the mean in its group, 0 to 1."""
        groups = self.groups.reshape(-1)
        along = np.bincount(groups, (self.at * self.shown).reshape(-1))
        whole = np.bincount(groups, (self.shown**2).reshape(-1))
        part = np.divide(along, whole, out=np.zeros_like(along), where=whole > 0.0)
        return np.asarray(np.clip(part, 0.0, 1.0)[self.groups])


def moved(own: Around, common: Around, sigma: Array, weight: float) -> tuple[Array, Array]:
    """What the moments around `own.at` change by around `common.at`, and the variance of that.

    sigma: noise deviation of `own.shown`; weight: its part of `common.shown`.
    """
    apart = own.at - common.at
    product = 2.0 * apart * (own.shown - own.at) + apart**2
    excess = 2.0 * sigma**2 * (own.kept - weight * common.kept)
    return product - excess, 4.0 * apart**2 * sigma**2
