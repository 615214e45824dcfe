"""The figures of one set of synthetic volumes beside the test patients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from medvae.evaluate import network, shells, texture
from medvae.evaluate.distances import frechet, in_deviations, manifold, mmd, spread
from medvae.evaluate.downstream import classification_auc, segmentation_dice
from medvae.grid import Gridded


@cache
def _network() -> network.Network | None:
    return network.Network() if network.available() else None


def features(volumes: Sequence[Gridded]) -> dict[str, np.ndarray]:
    """Extractor -> [n, rows, d]."""
    found = {"texture": np.stack([texture.texture(v.image)[None] for v in volumes])}
    extractor = _network()
    if extractor is not None:
        found["efficientnet"] = np.stack([extractor.features(v.image) for v in volumes])
    return found


def measure(
    volumes: Sequence[Gridded],
    real: dict[str, np.ndarray],
    test: Sequence[Gridded],
    labels: int,
    *,
    seed: int,
    iterations: int,
    compared: int,
) -> dict[str, Any]:
    """Dice or AUC and, for each extractor, distances, manifold and diversity over that of real.

    compared: distances are of the first so many, for they depend on how many there are.
    """
    row: dict[str, Any] = {"n": len(volumes), "n_compared": min(compared, len(volumes))}
    if labels and all(v.mask is not None for v in volumes):
        found = segmentation_dice(volumes, test, labels, iterations=iterations, seed=seed)
        row |= {"dice": float(np.nanmean(found)), "dice_labels": [float(v) for v in found]}
    if all(v.category is not None for v in (*volumes, *test)):
        row |= _classification(volumes, test)
    for name, one in features(volumes[:compared]).items():
        two = real[name]
        if name == "texture":
            one, two = in_deviations(one, two)
        flat, flat_real = one.reshape(-1, one.shape[-1]), two.reshape(-1, two.shape[-1])
        by_volume, by_real = one.reshape(len(one), -1), two.reshape(len(two), -1)
        shape = manifold(by_volume, by_real)
        row |= {
            f"{name}_frechet": frechet(flat, flat_real),
            f"{name}_mmd": mmd(flat, flat_real),
            f"{name}_diversity": spread(by_volume) / max(spread(by_real), 1e-12),
            f"{name}_precision": shape.precision,
            f"{name}_recall": shape.recall,
            f"{name}_density": shape.density,
            f"{name}_coverage": shape.coverage,
        }
    return row


def _classification(volumes: Sequence[Gridded], test: Sequence[Gridded]) -> dict[str, float]:
    """AUC of logistic regression on shells, which was chosen between real patients, and texture."""
    found = {}
    for name, extract in (("auc", shells.shells), ("auc_texture", texture.texture)):
        sides = [
            (np.stack([extract(v.image) for v in side]), [v.category for v in side])
            for side in (volumes, test)
        ]
        found[name] = classification_auc(*sides[0], *sides[1])
    return found
