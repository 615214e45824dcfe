"""A Gaussian of cosine coefficients, with released mean, spectrum and covariance."""

from __future__ import annotations

import math

import numpy as np

from medvae.atlas.basis import Array, pack, unpack
from medvae.atlas.spectrum import SHELLS, frequencies, shell_of
from medvae.atlas.template import REACH
from medvae.grid import Gridded
from utility.codes import Codes
from utility.cohorts import Cohort
from utility.layout import Layout
from utility.methods import release_for

# Public, as all of the constants here; chosen on the procedural cohort. Where the covariance
# would be noise (`functions` finds none for its share), the mean has its share.
STRONG = {"mean": 0.65, "power": 0.1, "covariance": 0.25}
WEAK = {"mean": 0.85, "power": 0.15}
MEAN_CLIP, POWER_CLIP, COVARIANCE_CLIP = 1.0, 1.0, 1.2
IMAGE_PART = 0.5
# Part of the released deviation that is drawn: tails of a Gaussian are no anatomy.
TEMPERATURE = 0.7
# Logarithms of power over the public law: what is expected of them, and where they are cut off.
LOG_MEAN, LOG_DEVIATION, LOG_REACH = math.log(0.5), 1.0, 2.0
# Coefficients of a channel that the covariance is of, at most and at least (with fewer it is not
# worth its share); and the largest eigenvalue that may be left to noise.
FUNCTIONS, FEWEST, EDGE = 24, 4, 3.0


def dct_gaussian(cohort: Cohort, epsilon: float, count: int, seed: int) -> list[Gridded]:
    """Draws of the Gaussian whose mean, spectrum and low covariance are released."""
    codes = Codes(cohort)
    patients, shapes = len(codes.patients), 1 + codes.labels
    release = release_for(list(STRONG.items()), patients, epsilon, seed)
    unit = release.sigma("covariance", COVARIANCE_CLIP)
    count_low = functions(shapes, unit, patients)
    if not count_low:
        release = release_for(list(WEAK.items()), patients, epsilon, seed)

    noise = release.sigma("mean", MEAN_CLIP)
    layout = Layout.plan(codes.grid, codes.labels, noise, REACH, IMAGE_PART)
    seen = codes.each(layout.encode)
    mean = release("mean", seen, clip=MEAN_CLIP, dimension=layout.dimension)
    centre = codes.analyse(layout.decode(mean, noise))

    power = Power(codes, centre)
    told = release("power", codes.each(power.encode), clip=POWER_CLIP, dimension=power.dimension)
    deviation = power.decode(told, release.sigma("power", POWER_CLIP))

    low = Low(codes, centre, deviation, count_low)
    factor = np.eye(low.size)
    if count_low:
        told = release(
            "covariance", codes.each(low.encode), clip=COVARIANCE_CLIP, dimension=low.dimension
        )
        factor = low.decode(told, unit, patients)

    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        drawn = rng.standard_normal(deviation.shape)
        drawn[low.kept] = factor @ drawn[low.kept]
        made.append(codes.volume(codes.synthesise(centre + TEMPERATURE * deviation * drawn)))
    return made


class Power:
    """How much individuals differ from the mean, by channel and shell of frequency.

    A patient's vector holds logarithms, for spectra range over decades; each is cut off, so
    one shell cannot use up the clip.
    """

    def __init__(self, codes: Codes, centre: Array) -> None:
        self.codes, self.centre = codes, centre
        self.shell = shell_of(codes.grid)
        self.dimension = len(codes.deviation) * SHELLS

    def encode(self, fields: Array) -> Array:
        """[(1 + L) * SHELLS] log ratios to the expected ones, over the root of their number."""
        relative = (self.codes.analyse(fields) - self.centre) / self.codes.deviation
        count = np.bincount(self.shell.ravel(), minlength=SHELLS)
        sums = [
            np.bincount(self.shell.ravel(), (one**2).ravel(), minlength=SHELLS) for one in relative
        ]
        ratio = np.array(sums) / np.maximum(count, 1)
        logs = np.log(np.maximum(ratio, 1e-9)) - LOG_MEAN
        return np.asarray(np.clip(logs, -LOG_REACH, LOG_REACH).ravel() / math.sqrt(self.dimension))

    def decode(self, released: Array, noise: float) -> Array:
        """[1 + L, X, Y, Z] deviations of coefficients around the mean."""
        root = math.sqrt(self.dimension)
        trust = LOG_DEVIATION**2 / (LOG_DEVIATION**2 + (noise * root) ** 2)
        logs = trust * released.reshape(-1, SHELLS) * root + LOG_MEAN
        return np.asarray(self.codes.deviation * np.exp(logs / 2.0)[:, self.shell])


def edge(size: int, unit: float, patients: int) -> float:
    """Largest eigenvalue that noise and chance alone give a correlation matrix [size, size].

    The semicircle's edge (Wigner 1958): off the diagonal the release leaves `unit` * size over
    the root of two, and so few patients leave 1 / sqrt(N).
    """
    return 2.0 * math.sqrt(size * ((unit * size) ** 2 / 2.0 + 1.0 / patients))


def functions(channels: int, unit: float, patients: int) -> int:
    """Coefficients a channel whose correlations can stand out of the noise, or 0; public."""
    able = [f for f in range(1, FUNCTIONS + 1) if edge(channels * f, unit, patients) <= EDGE]
    most = max(able, default=0)
    return most if most >= FEWEST else 0


class Low:
    """Correlation of the lowest coefficients of all channels, each over its deviation."""

    def __init__(self, codes: Codes, centre: Array, deviation: Array, count: int) -> None:
        self.codes, self.centre, self.deviation = codes, centre, deviation
        order = np.argsort(frequencies(codes.grid).ravel(), kind="stable")[:count]
        self.kept = np.zeros(deviation.shape, bool)
        self.kept.reshape(len(deviation), -1)[:, order] = True
        self.size = int(self.kept.sum())
        self.dimension = self.size * (self.size + 1) // 2

    def encode(self, fields: Array) -> Array:
        """[dimension] packed outer product, of norm about 1."""
        z = ((self.codes.analyse(fields) - self.centre) / self.deviation)[self.kept]
        return pack(np.outer(z, z)) / self.size

    def decode(self, released: Array, unit: float, patients: int) -> Array:
        """[R, R] factor of the estimate, shrunk to independence.

        Eigenvalues beyond 1 are what noise did not make; each shrinks to sqrt(l^2 - edge^2),
        the best for a few directions in noise (Gavish and Donoho 2017).
        """
        values, vectors = np.linalg.eigh(unpack(released) * self.size - np.eye(self.size))
        limit = edge(self.size, unit, patients)
        kept = np.sign(values) * np.sqrt(np.maximum(values**2 - limit**2, 0.0))
        return np.asarray(vectors * np.sqrt(np.clip(1.0 + kept, 0.05, 12.0)))
