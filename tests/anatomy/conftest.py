"""Folders of made-up public people."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae.anatomy.registration import pull_to_subject
from tests.anatomy.phantoms import BOX, CPU, MEANS, grid, moved, shares

SCHEME = "1=Body,2=Left-Core,3=Right-Core,4=Lens"


def person(seed: int, spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0 to 4 of somebody, and the affine."""
    affine, shape = grid(spacing)
    truth = moved(seed, strain=0.03, size=0.5)
    maps = pull_to_subject(shares(BOX.grid(2.0).centres(CPU)), truth, affine, shape)
    return maps.argmax(axis=0).astype(np.int16), affine


def write(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


@pytest.fixture(scope="session")
def label_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people's label maps, and a file that is no image."""
    folder = tmp_path_factory.mktemp("public") / "maps"
    for seed in (1, 2):
        write(folder / f"person_{seed}.nii.gz", *person(seed, (5.0, 5.0, 5.0)))
    (folder / "LICENSE.txt").write_text("free")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person's image beside its labels, in 10 mm slices."""
    folder = tmp_path_factory.mktemp("public") / "images"
    labels, affine = person(3, (5.0, 5.0, 10.0))
    noise = np.random.default_rng(0).normal(0.0, 0.02, labels.shape)
    write(folder / "labels" / "heart.nii.gz", labels, affine)
    image = (1000.0 * (MEANS[labels] + noise)).astype(np.int16)
    write(folder / "images" / "heart.nii.gz", image, affine)
    return folder
