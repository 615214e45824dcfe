"""The mechanisms of an atlas, and how its privacy budget is allocated to them.

Each mechanism is Gaussian, on one vector a patient: the mean over the patient's volumes of a
function of that volume and of earlier outputs, clipped to L2 norm C. The sum over patients plus
noise is divided by the public number N. Removing a patient (the vector becomes zero) changes the
result by at most C / N, whatever the function. Registration uses the patient's own volume and
released templates only, so the mechanisms compose adaptively (Dong, Roth and Su 2022, theorem 4).

Formal guarantee: none of its own. A plan composes these mechanisms with the rest of the run; a
share is a fraction of the atlas's squared signal-to-noise ratio.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.config import RunConfig

# Names of mechanisms, which stand in stored plans and must not change.
MOMENTS, MEAN = "atlas-moments", "atlas-mean"
REFINE, REFINE_AGAIN = "atlas-refine", "atlas-refine-again"
DEFORMATION, INTENSITY = "atlas-motion", "atlas-intensity"
SCALES, CORRELATION = "atlas-scales", "atlas-covariance"
CLASSES, TEXTURE_VARIANCE = "atlas-classes", "atlas-spread"
PROFILE = "atlas-profile"

# Signal-to-noise is judged by epsilon x share x patients. Below this value, a second mean and a
# correlation would be noise.
HIGH_SNR_FROM = 60.0
# Shares of the atlas's budget, in the order of measurement.
HIGH_SNR = {
    MEAN: 0.08,
    MOMENTS: 0.08,
    REFINE: 0.22,
    REFINE_AGAIN: 0.36,
    DEFORMATION: 0.07,
    INTENSITY: 0.04,
    SCALES: 0.06,
    CORRELATION: 0.09,
    PROFILE: 0.06,
}
LOW_SNR = {
    MEAN: 0.32,
    MOMENTS: 0.32,
    DEFORMATION: 0.11,
    INTENSITY: 0.07,
    SCALES: 0.08,
    PROFILE: 0.1,
}
# With a public template that has labels, moments and mean only locate it, and its image is as
# sharp across the labels' boundary as a patient's: a measured profile would add more noise than it
# corrects. If such a template cannot be aligned, which is known only after the budget is spent,
# the patients' mean is used without a profile. Chosen on mri_hippocampus.
PUBLIC_HIGH_SNR_FROM = 200.0
PUBLIC_HIGH_SNR = {
    MOMENTS: 0.08,
    MEAN: 0.06,
    REFINE: 0.18,
    REFINE_AGAIN: 0.37,
    DEFORMATION: 0.14,
    INTENSITY: 0.03,
    SCALES: 0.07,
    CORRELATION: 0.07,
}
PUBLIC_LOW_SNR = {
    MOMENTS: 0.20,
    MEAN: 0.14,
    REFINE_AGAIN: 0.32,
    DEFORMATION: 0.16,
    INTENSITY: 0.06,
    SCALES: 0.12,
}
# Mechanisms that need masks.
OF_MASKS = (MOMENTS, PROFILE)
# Statistics whose mean is known beforehand: the identity; no difference between classes; no
# difference from the template, around which refinements are already measured.
KNOWN_MEAN = (CORRELATION, CLASSES, REFINE, REFINE_AGAIN)
# Share of the classes, where the configuration has any.
CLASSES_SHARE = 0.2
# Share of the texture variance map, for absolute grey values.
TEXTURE_VARIANCE_SHARE = 0.08


class NoisyMean(Protocol):
    """Gaussian mechanisms that are bound to a plan, by name."""

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
        """Noise std of each coordinate of the result for this clip (0: no noise)."""


def mechanisms(cfg: RunConfig, masks: bool, patients: int = 100) -> list[tuple[str, float]]:
    """(name, share of the atlas's budget) in order of measurement; the shares sum to 1.

    Public: `masks` says whether the configuration has labels; `patients` is the public N.
    """
    if cfg.atlas.share == 0:
        return []
    snr = cfg.privacy.epsilon * cfg.atlas.share * patients
    shares = dict(HIGH_SNR if snr >= HIGH_SNR_FROM else LOW_SNR)
    if cfg.atlas.public_labels is not None:
        shares = dict(PUBLIC_HIGH_SNR if snr >= PUBLIC_HIGH_SNR_FROM else PUBLIC_LOW_SNR)
    if not masks:
        shares = {name: share for name, share in shares.items() if name not in OF_MASKS}
    total = sum(shares.values())
    planned = [(name, share / total) for name, share in shares.items()]
    additional = {CLASSES: CLASSES_SHARE} if cfg.data.classes > 0 else {}
    if modalities.get(cfg.data.modality).intensity == "distribution":
        additional[TEXTURE_VARIANCE] = TEXTURE_VARIANCE_SHARE
    if additional:
        rest = 1.0 - sum(additional.values())
        # Before the scales, which then describe variation within a class.
        position = [name for name, _ in planned].index(SCALES)
        planned = [(name, share * rest) for name, share in planned]
        planned[position:position] = additional.items()
    return planned
