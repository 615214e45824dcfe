"""A one-shot release of a sum of vectors, one vector a patient."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from medvae.errors import UsageError
from medvae.privacy.accounting import Mechanism
from medvae.privacy.noise import NoiseSource, release


def gaussian_release(
    vectors: Iterable[np.ndarray],
    *,
    clip: float,
    mechanism: Mechanism,
    divisor: float,
    noise: NoiseSource,
    dimension: int,
    step: int = 0,
) -> np.ndarray:
    """The noised mean of per-patient vectors: (sum of clipped vectors + noise) / divisor.

    Formal guarantee: one run of `mechanism` (Gaussian, noise_multiplier, q = 1). Removing or
    zeroing one patient moves the sum by at most `clip` in L2 (1 + 1e-12 for rounding); noise
    has standard deviation noise_multiplier * clip; the divisor is public.

    | case | what happens |
    |---|---|
    | a vector with NaN or infinity | counts as zero |
    | a vector longer than `clip` | scaled to `clip` |
    | no vectors at all | noise only |

    Args:
        vectors: float arrays [dimension], ONE PER PATIENT: average a patient's volumes before.
        clip: largest L2 norm of a vector, in the vectors' unit.
        mechanism: q = 1; its name is the noise stream.
        divisor: public, usually the number of patients.
        noise: the run's source. The pair (mechanism.name, step) must not have been used before.
        dimension: public length of the vectors.
        step: 0..mechanism.steps - 1, which of its repetitions this is.

    Returns:
        float64 [dimension].

    Raises:
        UsageError: a vector of another shape, q other than 1, or a constant out of range.
    """
    _check(clip, divisor, dimension, mechanism, step)
    total = np.zeros(dimension, dtype=np.float64)
    for vector in vectors:
        total += _clipped(vector, clip, dimension)
    normal = noise.normal((dimension,), stream=mechanism.name, step=step)
    noisy = release(torch.from_numpy(total), normal, mechanism.noise_multiplier * clip)
    return np.asarray(noisy.numpy() / divisor)


def _clipped(vector: np.ndarray, clip: float, dimension: int) -> np.ndarray:
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (dimension,):
        raise UsageError(f"a patient's vector must have shape ({dimension},), not {values.shape}")
    # The largest element is taken out first: squares of 1e200 would overflow to infinity.
    largest = float(np.abs(values).max(initial=0.0))
    if not math.isfinite(largest) or largest == 0.0:
        return np.zeros(dimension)
    norm = largest * float(np.linalg.norm(values / largest))
    return values if norm <= clip else (values / largest) * (clip / (norm / largest))


def _check(clip: float, divisor: float, dimension: int, mechanism: Mechanism, step: int) -> None:
    for name, value in (("clip", clip), ("divisor", divisor)):
        if not math.isfinite(value) or value <= 0:
            raise UsageError(f"{mechanism.name}: {name} must be positive, not {value!r}")
    if type(dimension) is not int or dimension < 1:
        raise UsageError(f"{mechanism.name}: dimension must be 1 or more, not {dimension!r}")
    if mechanism.sample_rate != 1:
        raise UsageError(f"{mechanism.name}: a one-shot release takes every patient, q must be 1")
    if not 0 <= step < mechanism.steps:
        raise UsageError(
            f"{mechanism.name}: step {step} is outside the {mechanism.steps} that were charged"
        )
