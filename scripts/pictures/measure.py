"""Figures of a row: a classifier's AUC, and distances of texture features."""

from __future__ import annotations

from dataclasses import dataclass

import bench_images
import numpy as np

from medvae.evaluate.distances import Features, frechet, manifold
from medvae.evaluate.texture import texture
from pictures.cohort import Pictures


@dataclass(frozen=True)
class HeldOut:
    """The pictures that rows are tested on, and the unit of each feature."""

    pictures: Pictures
    features: Features
    centre: Features
    scale: Features

    @classmethod
    def of(cls, pictures: Pictures) -> HeldOut:
        """Features are in deviations of the held-out pictures."""
        values = features_of(pictures)
        centre, scale = values.mean(axis=0), values.std(axis=0) + 1e-9
        return cls(pictures, (values - centre) / scale, centre, scale)


def features_of(pictures: Pictures) -> Features:
    """[n, 46 C] `medvae-texture-1`, channel by channel."""
    return np.stack(
        [np.concatenate([texture(one[..., None]) for one in image]) for image in pictures.images]
    )


def figures(samples: Pictures, held_out: HeldOut, seed: int) -> dict[str, float]:
    """AUC of a classifier trained on all samples; distances of as many as are held out."""
    test = held_out.pictures
    auc = float("nan")
    if len(np.unique(samples.classes)) > 1:
        auc = bench_images.auc(samples.images, samples.classes, test.images, test.classes, seed)
    order = np.random.default_rng([seed, 5]).permutation(len(samples))[: len(test)]
    return {"auc": auc, **distances(samples.part(order), held_out)}


def distances(samples: Pictures, held_out: HeldOut) -> dict[str, float]:
    """Between texture features of two sets of one size."""
    features = (features_of(samples) - held_out.centre) / held_out.scale
    shape = manifold(features, held_out.features)
    return {
        "frechet": frechet(features, held_out.features),
        "precision": shape.precision,
        "recall": shape.recall,
        "coverage": shape.coverage,
    }
