"""Private Evolution (Lin et al. 2023) whose generator is a public simulator, without training.

The simulator is the public law of cosines. In each round every patient votes for the nearest sample
of his or her class; samples are taken as often as noisy votes say, and varied by new draws of the
simulator, less from round to round.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from medvae.cosines.basis import Array, Basis
from pictures.budget import one_shot
from pictures.cohort import Classes, Pictures

# Public, as all of the constants here. A round costs one vote a patient.
ROUNDS: Final = 12
SAMPLES: Final = 1000
FIRST_CHANGE, LAST_CHANGE = 0.9, 0.15
# Votes are for what a patient looks like by so many of the slowest cosines.
FUNCTIONS: Final = 55
# Fewer votes than so many deviations of the noise count as none.
THRESHOLD: Final = 2.0
LEAST_SHARE: Final = 0.01


def evolution(
    train: Pictures, epsilon: float, count: int, seed: int, steps: int = ROUNDS
) -> Pictures:
    """Samples of the last round, varied once more."""
    basis, random = Basis.of(train.data), np.random.default_rng([seed, 8])
    kept = np.argsort(basis.radius, kind="stable")[: min(FUNCTIONS, len(basis))]
    scale = np.sqrt(basis.law)
    people = np.stack([basis.analyse(image[..., None]) for image in train.images])[:, kept]
    names = [f"votes {step}" for step in range(steps)]
    release = one_shot([(name, 1.0 / steps) for name in names], len(train), epsilon, seed)
    samples = scale * random.standard_normal((train.n_classes, SAMPLES, len(basis)))
    shares, changes = np.zeros(train.n_classes), np.geomspace(FIRST_CHANGE, LAST_CHANGE, steps)
    for name, change in zip(names, changes, strict=True):
        votes = _votes(people, train.classes, samples[..., kept])
        dimension = samples.shape[0] * SAMPLES
        noisy = len(train) * release(name, votes, clip=1.0, dimension=dimension)
        sigma = len(train) * release.sigma(name, 1.0)
        counts = noisy.reshape(len(samples), SAMPLES)
        shares = counts.sum(axis=1)
        for own, voted in enumerate(np.where(counts > THRESHOLD * sigma, counts, 0.0)):
            samples[own] = _varied(samples[own], voted, SAMPLES, change, scale, random)
    shares = np.maximum(shares / shares.sum(), LEAST_SHARE)
    classes = random.choice(len(shares), size=count, p=shares / shares.sum())
    images = np.empty((count, *train.images.shape[1:]), np.float32)
    for image, own in zip(images, classes, strict=True):
        found = _varied(samples[own], np.ones(SAMPLES), 1, LAST_CHANGE, scale, random)
        image[:] = basis.synthesise(found[0]).reshape(image.shape)
    return train.like(images, classes.astype(np.int64))


def _votes(people: Array, classes: Classes, samples: Array) -> Array:
    """[n, K S]: 1 at the nearest sample [K, S, F] of each person's [n, F] class."""
    votes = np.zeros((len(people), samples.shape[0] * samples.shape[1]))
    for own, candidates in enumerate(samples):
        chosen = np.flatnonzero(classes == own)
        if len(chosen):
            _, nearest = cKDTree(candidates).query(people[chosen])
            votes[chosen, own * samples.shape[1] + nearest] = 1.0
    return votes


def _varied(
    samples: Array,
    votes: Array,
    count: int,
    change: float,
    scale: Array,
    random: np.random.Generator,
) -> Array:
    """[count, F] of samples [S, F] taken as often as votes [S] say, part of each drawn again."""
    weight = votes if votes.sum() > 0 else np.ones(len(votes))
    taken = random.choice(len(samples), size=count, p=weight / weight.sum())
    fresh = scale * random.standard_normal((count, samples.shape[1]))
    return np.asarray(math.sqrt(1.0 - change**2) * samples[taken] + change * fresh)
