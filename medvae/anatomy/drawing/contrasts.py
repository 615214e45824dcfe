"""Grey values of an MRI before any patient is seen: what its contrast can make of the tissues.

A contrast stands for the sequences that hospitals make it by (`sequences`), and the signal of a
tissue follows from its relaxation (`relaxation`). So what differs between scanners makes tissues of
one kind brighter or darker together: a released figure of one says something of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medvae.anatomy.drawing.relaxation import (
    FAT,
    FLUID,
    GREY,
    MUSCLE,
    WHITE,
    Relaxation,
    relaxation,
)
from medvae.anatomy.drawing.sequences import Contrast, Protocols, protocols
from medvae.anatomy.drawing.tissues import AIR, AIR_STD, is_unsure, of_white, words
from medvae.anatomy.registration.geometry import Array

# Protocols that are looked at, drawn once and for all.
COUNT: Final = 4096
# How much logarithms of relaxation times differ between people and publications; those of grey
# tissues all at once; and of proton densities.
T1_STD, GREY_T1_STD, DENSITY_STD = 0.05, 0.05, 0.03
# Tissues that relax slower than this part of grey matter differ with it.
AS_GREY = 0.8
# Of the logarithm of the scale: how bright the brightest part of an image is differs.
SCALE_STD = 0.25
# What is brightest in a T1-weighted image, relative to white matter, where little fat is seen.
OVER_WHITE = 1.4
# Part of the fat's signal that is left where it is suppressed, and how often it is.
SUPPRESSED, HOW_OFTEN = 0.3, 0.15
# Part of a voxel of a fluid space that shows its walls: mean, and deviation of its logarithm.
WALLS, WALLS_STD = 0.25, 0.6
# Part of fat in tissue that is muscle and fat, least and most.
FATTY = 0.05, 0.35
# What the equations leave out (magnetisation transfer, borders of masks), on the scale of [0, 1];
# the same of fat, blood and mixtures; and of the logarithm where no relaxation is known (bone).
REST_STD, UNSURE_REST_STD, UNKNOWN_STD = 0.02, 0.25, 0.3
# At most this part of a tissue's variance is common with others.
COMMON = 0.97


@dataclass(frozen=True)
class Greys:
    """[K] mean and standard deviation on the scale of [-1, 1], and their [K, K] correlation."""

    mean: Array
    std: Array
    correlation: Array


def greys(names: Sequence[str], contrast: Contrast) -> Greys:
    """Of structures, in images of a contrast whatever the scanner and the person."""
    random = np.random.Generator(np.random.Philox(key=0))
    tissues = _Tissues(contrast, random)
    signals = np.stack([tissues.signal(name) for name in names]) / tissues.brightest
    signals *= np.exp(SCALE_STD * random.standard_normal(COUNT))
    rest = [0.0 if name == AIR else _rest(name) for name in names]
    signals += np.array(rest)[:, None] * random.standard_normal(signals.shape)
    values = 2.0 * np.maximum(signals, 0.0) - 1.0
    mean, std = values.mean(axis=1), np.maximum(values.std(axis=1), AIR_STD)
    deviation = (values - mean[:, None]) / std[:, None]
    correlation = COMMON * (deviation @ deviation.T) / COUNT
    np.fill_diagonal(correlation, 1.0)
    return Greys(np.minimum(mean, 1.0), std, correlation)


def _rest(name: str) -> float:
    return UNSURE_REST_STD if is_unsure(name) or relaxation(name) is None else REST_STD


class _Tissues:
    """Signals of tissues in the protocols of one contrast."""

    def __init__(self, contrast: Contrast, random: np.random.Generator) -> None:
        self._random = random
        self._protocols: Protocols = protocols(contrast, COUNT, random)
        self._slower = np.exp(GREY_T1_STD * random.standard_normal(COUNT))
        is_suppressed = random.random(COUNT) < HOW_OFTEN
        left = np.where(is_suppressed, SUPPRESSED, random.uniform(0.6, 1.0, COUNT))
        self._fat = self._of(FAT) * left
        self._white, self._grey = self._of(WHITE), self._of(GREY)
        self._muscle, fluid = self._of(MUSCLE), self._of(FLUID)
        self._walls = random.beta(2.0, 8.0, COUNT) * WALLS / 0.2
        if contrast == "t1":
            white = OVER_WHITE * self._white
            # Nearer to it, for little of a field of view is fat.
            share = 0.5 * random.random(COUNT)
            brightest = white ** (1.0 - share) * np.maximum(white, self._fat) ** share
        else:
            brightest = np.max([self._white, self._grey, self._fat, fluid], axis=0)
        self.brightest: Array = np.asarray(brightest)

    def signal(self, name: str) -> Array:
        """[N] of one structure."""
        random, known = self._random, relaxation(name)
        if name == AIR:
            return np.zeros(COUNT)
        if "soft tissue" in words(name):
            fatty = random.uniform(*FATTY, COUNT)
            return np.asarray(fatty * self._fat + (1.0 - fatty) * self._muscle)
        if known is None:
            share = of_white(name) * np.exp(UNKNOWN_STD * random.standard_normal(COUNT))
            return np.asarray(share * self._white)
        if known.fat:
            return np.asarray(self._fat * known.density / FAT.density)
        signal = self._of(known)
        if known.flows:
            signal = signal * random.random(COUNT)
        if known.fluid:
            part = self._walls * np.exp(WALLS_STD * random.standard_normal(COUNT))
            part = np.minimum(part, 0.7)
            signal = (1.0 - part) * signal + part * (self._grey + self._white) / 2.0
        return np.asarray(signal)

    def _of(self, tissue: Relaxation) -> Array:
        """[N] of people who differ."""
        random = self._random
        t1 = tissue.t1(self._protocols.is_high) * np.exp(T1_STD * random.standard_normal(COUNT))
        if AS_GREY * GREY.t1_high <= tissue.t1_high < FLUID.t1_high:
            t1 = t1 * self._slower
        density = tissue.density * np.exp(DENSITY_STD * random.standard_normal(COUNT))
        return np.asarray(density * self._protocols.signal(t1, tissue.t2))
