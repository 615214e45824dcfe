"""Forty "patients" from one real anatomy: the MNI152 template, deformed and recoloured.

The template (T1, grey and white matter; Fonov et al. 2011) ships inside `nilearn`, so that
nothing is downloaded and no patient is involved.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float64]

SPACING = 4  # millimetres
PATIENTS = 40
TWICE = 8  # patients with two scans
LABELS = {1: "grey matter", 2: "white matter"}


@dataclass(frozen=True)
class Template:
    """T1 and tissue maps [X, Y, Z] in [0, 1] on one coarse grid, with its affine."""

    t1: Array
    grey: Array
    white: Array
    affine: Array


def template(spacing: int = SPACING) -> Template:
    """The MNI152 head at `spacing` millimetres."""
    from nilearn import datasets

    maps = [
        datasets.load_mni152_template(resolution=spacing),
        datasets.load_mni152_gm_template(resolution=spacing),
        datasets.load_mni152_wm_template(resolution=spacing),
    ]
    t1, grey, white = (np.asarray(m.get_fdata()) for m in maps)
    return Template(t1 / t1.max(), grey, white, np.asarray(maps[0].affine))


def write(folder: Path, patients: int = PATIENTS, twice: int = TWICE, seed: int = 0) -> Path:
    """Write the cohort as images/, labels/ and subjects.csv; the same seed, the same files.

    Masks have `LABELS`.
    """
    base = template()
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        shape = np.random.default_rng([seed, patient])
        field = displacement(shape, base.t1.shape)
        for scan in range(2 if patient < twice else 1):
            look = np.random.default_rng([seed, patient, scan])
            name = f"head{patient:03d}_{scan}.nii.gz"
            image, mask = draw(look, base, field)
            _save(image, base.affine, folder / "images" / name)
            _save(mask, base.affine, folder / "labels" / name)
            rows.append((name, f"patient{patient:03d}"))
    with (folder / "subjects.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "subject"), *rows])
    return folder


def displacement(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A smooth random field [3, X, Y, Z] in voxels: head size, and folds about 5 mm."""
    centre = (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).astype(float)
    scale = rng.normal(0, 0.04, 3)
    field = (grid - centre[:, None, None, None]) * scale[:, None, None, None]
    for sigma, millimetres in ((8.0, 5.0), (4.0, 2.5)):
        for axis in range(3):
            noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="nearest")
            field[axis] += noise / noise.std() * millimetres / SPACING
    return np.asarray(field)


def draw(
    rng: np.random.Generator, base: Template, field: Array
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """One scan: the deformed head with its own contrast, bias field, noise and gain."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in base.t1.shape], indexing="ij"))
    where = grid + field
    t1, grey, white = (
        ndimage.map_coordinates(m, where, order=1, mode="nearest")
        for m in (base.t1, base.grey, base.white)
    )
    image = t1 + rng.normal(0, 0.04) * grey + rng.normal(0, 0.04) * white
    bias = ndimage.gaussian_filter(rng.normal(size=t1.shape), 12, mode="nearest")
    image = np.clip(image, 0, None) * np.exp(0.1 * bias / bias.std())
    image = np.abs(image + rng.normal(0, 0.015, t1.shape))
    gain = rng.lognormal(np.log(800), 0.5)
    mask = np.where(white > 0.5, 2, np.where(grey > 0.5, 1, 0)).astype(np.uint8)
    return np.rint(np.clip(image * gain, 0, 32767)).astype(np.int16), mask


def _save(voxels: npt.NDArray[Any], affine: Array, path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels, affine), path)
