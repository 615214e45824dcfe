"""A small library of made-up people with images, and a cohort that differs from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medvae.anatomy.scan import Scan
from medvae.api import add_anatomy
from tests.anatomy.conftest import person, write
from tests.anatomy.phantoms import MEANS

SCHEME = {1: "Body", 2: "Left-Core", 3: "Right-Core", 4: "Lens"}
NAMES = {str(number): name for number, name in SCHEME.items()}
SPACING = (6.0, 6.0, 9.0)


def picture(labels: np.ndarray, seed: int, means: np.ndarray = MEANS) -> np.ndarray:
    """[X, Y, Z] int16 image of labels."""
    noise = np.random.default_rng(seed).normal(0.0, 0.02, labels.shape)
    return (1000.0 * (means[labels] + noise)).astype(np.int16)


def add_people(
    vault: Path, folder: Path, count: int = 3, name: str = "people", licence: str = "free"
) -> None:
    """An entry of `count` people with images."""
    for seed in range(count):
        labels, affine = person(20 + seed, SPACING)
        write(folder / "labels" / f"p{seed}.nii.gz", labels, affine)
        write(folder / "images" / f"p{seed}.nii.gz", picture(labels, seed), affine)
    add_anatomy(folder, name, licence=licence, source="made up", label_scheme=SCHEME, vault=vault)


def scan(seed: int, contrast: float = 1.0) -> Scan:
    """A patient; `contrast` bends the grey values."""
    labels, affine = person(seed, SPACING)
    grey = picture(labels, seed, MEANS**contrast)
    low, high = np.percentile(grey, [0.5, 99.5])
    image = np.clip((grey - low) / (high - low) * 2.0 - 1.0, -1.0, 1.0).astype(np.float32)
    return Scan(image, affine, labels.astype(np.uint8))
