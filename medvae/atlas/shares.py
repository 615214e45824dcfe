"""Which Gaussian releases an atlas is made of, and how they share its budget.

Every release is one Gaussian mechanism on a per-patient vector: the mean over the
patient's volumes of a function of that volume and of what has been released before,
clipped to L2 norm C; the sum over patients plus noise, divided by the public number N.
Removing a patient (their vector becomes zero) moves the result by at most C / N, whatever
the function: sensitivity C / N for all of them. Registration uses the patient's own
volume and released templates only, so the releases compose adaptively (Dong, Roth and Su
2022, theorem 4).

Formal guarantee: none of its own. A plan composes the releases named here with the rest
of the run; the shares are of the squared signal-to-noise of the atlas's part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.config import RunConfig

MOMENTS, MEAN = "atlas-moments", "atlas-mean"
REFINE, AGAIN = "atlas-refine", "atlas-refine-again"
MOTION, INTENSITY = "atlas-motion", "atlas-intensity"
SCALES, COVARIANCE = "atlas-scales", "atlas-covariance"
CLASSES, SPREAD = "atlas-classes", "atlas-spread"
PROFILE = "atlas-profile"

# Shares of the atlas's budget, in the order of release. Where epsilon x patients is small,
# a second mean and a covariance would be noise.
REFINE_FROM = 60.0
STRONG = {
    MEAN: 0.08,
    MOMENTS: 0.08,
    REFINE: 0.22,
    AGAIN: 0.36,
    MOTION: 0.07,
    INTENSITY: 0.04,
    SCALES: 0.06,
    COVARIANCE: 0.09,
    PROFILE: 0.06,
}
WEAK = {MEAN: 0.32, MOMENTS: 0.32, MOTION: 0.11, INTENSITY: 0.07, SCALES: 0.08, PROFILE: 0.1}
# With a public template that has labels, moments and mean need only say where it lies, and what it
# shows across their border is as sharp as in patients: a released profile would add more noise
# than it mends. (Where such a template cannot be laid, which shows only when it has been paid for,
# there is none to mend the patients' own mean.) Where epsilon x patients is below WEAK_BELOW, a
# second residual mean and a covariance would be noise. Split while looking at mri_hippocampus.
WEAK_BELOW = 200.0
KNOWN = {
    MOMENTS: 0.08,
    MEAN: 0.06,
    REFINE: 0.18,
    AGAIN: 0.37,
    MOTION: 0.14,
    INTENSITY: 0.03,
    SCALES: 0.07,
    COVARIANCE: 0.07,
}
KNOWN_WEAK = {
    MOMENTS: 0.20,
    MEAN: 0.14,
    AGAIN: 0.32,
    MOTION: 0.16,
    INTENSITY: 0.06,
    SCALES: 0.12,
}
# What says nothing of patients without masks.
OF_MASKS = (MOMENTS, PROFILE)
# Statistics whose mean is known before they are released: the identity, no difference between
# classes, and no difference from the template, around which refinements are released already.
KNOWN_MEAN = (COVARIANCE, CLASSES, REFINE, AGAIN)
# What classes take of it, where the configuration has any.
CLASSES_PART = 0.2
# What the map of variety takes of it, of absolute grey values.
SPREAD_PART = 0.08


class Release(Protocol):
    """A Gaussian mechanism bound to a plan."""

    def __call__(
        self,
        name: str,
        vectors: Iterable[npt.NDArray[np.float64]],
        *,
        clip: float,
        dimension: int,
    ) -> npt.NDArray[np.float64]:
        """[dimension] sum of clipped per-patient vectors plus noise, over the public N."""

    def sigma(self, name: str, clip: float) -> float:
        """Noise deviation of each coordinate of the result, for that clip (0: no noise)."""


def mechanisms(cfg: RunConfig, masks: bool, patients: int = 100) -> list[tuple[str, float]]:
    """(name, share of the atlas's budget) in order of release; the shares sum to 1.

    Public: `masks` is whether the configuration has labels, `patients` the public N.
    """
    if cfg.atlas.share == 0:
        return []
    strength = cfg.privacy.epsilon * cfg.atlas.share * patients
    shares = dict(STRONG if strength >= REFINE_FROM else WEAK)
    if cfg.atlas.public_labels is not None:
        shares = dict(KNOWN if strength >= WEAK_BELOW else KNOWN_WEAK)
    if not masks:
        shares = {name: share for name, share in shares.items() if name not in OF_MASKS}
    total = sum(shares.values())
    planned = [(name, share / total) for name, share in shares.items()]
    further = {CLASSES: CLASSES_PART} if cfg.data.classes > 0 else {}
    if modalities.get(cfg.data.modality).intensity == "distribution":
        further[SPREAD] = SPREAD_PART
    # Before the scales, which are then those within a class.
    place = [name for name, _ in planned].index(SCALES)
    rest = 1.0 - sum(further.values())
    if further:
        planned = [(name, share * rest) for name, share in planned]
        planned[place:place] = further.items()
    return planned
