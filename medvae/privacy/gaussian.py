"""One-shot mechanism: the noised mean of vectors, one vector a patient."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from medvae.errors import UsageError
from medvae.privacy.accounting import Mechanism
from medvae.privacy.discrete import Integers
from medvae.privacy.lattice import MARGIN, Lattice
from medvae.privacy.noise import NoiseSource
from medvae.privacy.ranks import ALONE, Ranks


def gaussian_release(
    vectors: Iterable[np.ndarray],
    *,
    clip: float,
    mechanism: Mechanism,
    divisor: float,
    noise: NoiseSource,
    dimension: int,
    step: int = 0,
    ranks: Ranks = ALONE,
) -> np.ndarray:
    """The noised mean of per-patient vectors: grid * (sum of integers + noise) / divisor.

    Formal guarantee: one run of `mechanism` (Gaussian, noise_multiplier, q = 1). Removing or
    zeroing one patient moves the integer sum by at most clip / grid in L2, exactly; the noise is
    the discrete Gaussian of standard deviation noise_multiplier * clip / grid >= 2^30 on the
    same integers, drawn by exact arithmetic; multiplication and divisor are post-processing.

    The discrete Gaussian is accounted as the continuous one. Rounding the continuous Gaussian
    to integers is post-processing of the continuous mechanism, because the sum is an integer;
    and at sigma >= 2^30 the probabilities of the discrete and of the rounded Gaussian differ by
    a factor within 1 +- (z^2 + 1) / (24 sigma^2) at z standard deviations: below 1e-17 a number
    up to z = 14, beyond which nothing is drawn (probability 2^-146). A million numbers add less
    than 3e-11 to epsilon; the accountant is rounded up by more (Canonne, Kamath, Steinke 2020).

    | case | what happens |
    |---|---|
    | a vector with NaN or infinity | counts as zero |
    | a vector longer than `clip` | scaled to `clip` (less 2^-26 of it) |
    | no vectors at all | noise only |

    Args:
        vectors: float arrays [dimension], ONE PER PATIENT: average a patient's volumes before.
        clip: largest L2 norm of a vector, in the vectors' unit.
        mechanism: q = 1; its name is the noise stream.
        divisor: public, usually the number of patients.
        noise: the run's source. The pair (mechanism.name, step) must not have been used before.
        dimension: public length of the vectors.
        step: 0..mechanism.steps - 1, which of its repetitions this is.
        ranks: processes that hold other patients of the same run; each calls this with its own.
            The first one alone adds the noise, once, to the sum of all; all get the result.

    Returns:
        float64 [dimension].

    Raises:
        UsageError: a vector of another shape, q other than 1, or a constant out of range.
    """
    _check(clip, divisor, dimension, mechanism, step)
    lattice = Lattice.of(mechanism.noise_multiplier, clip)
    lattice.check_patients(ranks.patients)
    own, count = np.zeros(dimension, dtype=np.int64), 0
    for count, vector in enumerate(vectors, 1):
        lattice.check_patients(count)
        own += clipped(vector, clip, lattice, dimension)
    total = ranks.collect(f"{mechanism.name} {step}", own, count, lattice.reach)
    if total is None:
        return np.frombuffer(ranks.same(b"")).copy()
    total += noise.discrete_gaussian(dimension, lattice.sigma, stream=mechanism.name, step=step)
    released = np.asarray(total * lattice.grid / divisor)
    ranks.same(released.tobytes())
    return released


def clipped(vector: np.ndarray, clip: float, lattice: Lattice, dimension: int) -> Integers:
    """A patient's vector in steps of the grid, of L2 norm at most clip / grid, exactly.

    Returns:
        int64 [dimension]; zeros for a vector that is not finite.

    Raises:
        UsageError: the vector has another shape.
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (dimension,):
        raise UsageError(f"a patient's vector must have shape ({dimension},), not {values.shape}")
    # The largest element is taken out first: squares of 1e200 would overflow to infinity.
    largest = float(np.abs(values).max(initial=0.0))
    if not math.isfinite(largest) or largest == 0.0:
        return np.zeros(dimension, dtype=np.int64)
    norm = float(np.linalg.norm(values / largest))
    most = clip * (1 - MARGIN)
    if norm * largest > most:
        values = (values / largest) * (most / norm)
    return np.trunc(values / lattice.grid).astype(np.int64)


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
