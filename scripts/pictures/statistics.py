"""Rows without a network: the product's cosine model, and a plain Gaussian of cosines."""

from __future__ import annotations

from typing import Final

import bench_images
import numpy as np

from medvae.cosines.basis import Array, Basis
from medvae.cosines.borders import bordered_images
from medvae.cosines.model import CosineModel
from medvae.cosines.planned import mechanisms
from medvae.progress import SILENT
from medvae.train import cosines as cosine_stage
from medvae.train.release import PlannedRelease
from pictures.budget import one_shot
from pictures.cohort import Classes, Pictures

# Public, as all of the constants here. Coefficients have norm about 1 in units of the public law
# times the root of their number.
FUNCTIONS: Final = 55
SHARES: Final = (("shares", 0.04), ("means", 0.15), ("seconds", 0.81))
MEAN_CLIP, SECOND_CLIP = 1.5 * FUNCTIONS**0.5, 1.25 * FUNCTIONS
LEAST_SHARE: Final = 0.01
# Images whose borders are made in one go.
TOGETHER: Final = 500


def cosine_model(train: Pictures, epsilon: float, count: int, seed: int) -> Pictures:
    """Samples of the product's statistics alone, with the whole budget."""
    release = one_shot(mechanisms(Basis.of(train.data)), len(train), epsilon, seed)
    return sampled(fitted(train, release), train, count, seed)


def fitted(train: Pictures, release: PlannedRelease) -> CosineModel:
    """The product's cosine model, measured by `release`."""
    case = bench_images.Case("", train.data.modality, train.data.size, train.n_classes, False)
    cfg = bench_images.configuration(case, 1.0)
    return cosine_stage.fit(cfg, train, release, progress=SILENT)


def sampled(model: CosineModel, like: Pictures, count: int, seed: int) -> Pictures:
    """`count` samples of a cosine model, as `draw` makes them, classes as often as measured."""
    random, numbers = np.random.default_rng([seed, 1]), model.numbers
    classes = np.array([model.pick(random) or 0 for _ in range(count)], np.int64)
    images = np.empty((count, *like.images.shape[1:]), np.float32)
    for start in range(0, count, TOGETHER):
        own = classes[start : start + TOGETHER]
        values = np.stack([model.coefficients(random, int(category)) for category in own])
        if len(numbers.borders):
            rounds = int(numbers.borders[0])
            values = bordered_images(model.basis, values, numbers.kept, rounds)
        drawn = np.stack([model.image(one) for one in values])
        images[start : start + TOGETHER] = drawn.reshape(len(own), *images.shape[1:])
    return like.like(images, classes)


def dct_gaussian(train: Pictures, epsilon: float, count: int, seed: int) -> Pictures:
    """Mean and covariance of the 55 slowest cosines of each class; no shrinkage, nothing finer."""
    basis = Basis.of(train.data)
    release = one_shot(SHARES, len(train), epsilon, seed)
    kept = np.argsort(basis.radius, kind="stable")[: min(FUNCTIONS, len(basis))]
    scale = np.sqrt(basis.law[kept])
    values = [basis.analyse(image[..., None])[kept] / scale for image in train.images]
    coefficients = np.stack(values)
    shares = _class_shares(train.classes, train.n_classes, release)
    means = _class_means(coefficients, train.classes, shares, release)
    roots = _class_roots(coefficients, train.classes, shares, means, release)

    random = np.random.default_rng([seed, 2])
    classes = random.choice(len(shares), size=count, p=shares)
    images = np.empty((count, *train.images.shape[1:]), np.float32)
    for image, own in zip(images, classes, strict=True):
        full = np.zeros(len(basis))
        full[kept] = scale * (means[own] + roots[own] @ random.standard_normal(len(kept)))
        image[:] = basis.synthesise(full).reshape(image.shape)
    return train.like(images, classes.astype(np.int64))


def _class_shares(classes: Classes, n_classes: int, release: PlannedRelease) -> Array:
    """[K] how often each class is."""
    noisy = release("shares", np.eye(n_classes)[classes], clip=1.0, dimension=n_classes)
    positive = np.maximum(noisy, LEAST_SHARE)
    return np.asarray(positive / positive.sum())


def _class_means(
    coefficients: Array, classes: Classes, shares: Array, release: PlannedRelease
) -> Array:
    """[K, F] mean of each class."""
    vectors = _by_class(coefficients, classes, len(shares))
    noisy = release("means", vectors, clip=MEAN_CLIP, dimension=vectors.shape[1])
    return np.asarray(noisy.reshape(len(shares), -1) / shares[:, None])


def _class_roots(
    coefficients: Array, classes: Classes, shares: Array, means: Array, release: PlannedRelease
) -> Array:
    """[K, F, F] a root of the covariance of each class."""
    centred = coefficients - means[classes]
    size = centred.shape[1]
    rows, columns = np.triu_indices(size)
    weight = np.where(rows == columns, 1.0, np.sqrt(2.0))
    products = centred[:, rows] * centred[:, columns] * weight
    vectors = _by_class(products, classes, len(shares))
    noisy = release("seconds", vectors, clip=SECOND_CLIP, dimension=vectors.shape[1])
    roots = np.zeros((len(shares), size, size))
    for own, packed in enumerate(noisy.reshape(len(shares), -1)):
        matrix = np.zeros((size, size))
        matrix[rows, columns] = packed / weight / shares[own]
        values, vectors = np.linalg.eigh(matrix + np.triu(matrix, 1).T)
        roots[own] = vectors * np.sqrt(np.maximum(values, 0.0))
    return roots


def _by_class(values: Array, classes: Classes, n_classes: int) -> Array:
    """[n, K F]: each row's values at its class, zeros elsewhere."""
    placed = np.zeros((len(values), n_classes, values.shape[1]))
    placed[np.arange(len(values)), classes] = values
    return placed.reshape(len(values), -1)
