"""Real cohorts, split by patient, and a procedural one to choose constants on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from comparison.bench import split
from scipy import ndimage

from medvae.config import DataConfig
from medvae.grid import Gridded, to_grid
from medvae.volume import Volume
from utility.template import labelled_head

# Where public files are made once.
CACHE = Path("bench-out/public")


@dataclass(frozen=True)
class Cohort:
    """Patients on the grid, some to learn from and others to test on.

    Attributes:
        public: a public template that shows its region, and labels of it, as configurations say.
        train: subject -> volumes; test: the same of other subjects.
    """

    name: str
    data: DataConfig
    public: tuple[str, str | None]
    train: dict[str, list[Gridded]]
    test: dict[str, list[Gridded]]

    def first(self, patients: int) -> list[Gridded]:
        """All volumes of the first patients of the training part."""
        return [v for subject in list(self.train)[:patients] for v in self.train[subject]]

    @property
    def held_out(self) -> list[Gridded]:
        return [v for volumes in self.test.values() for v in volumes]


class Memory:
    """Patients as the atlas and a run want them."""

    def __init__(self, train: dict[str, list[Gridded]]) -> None:
        self.subjects = list(train)
        self._volumes = [train[subject] for subject in self.subjects]

    def __len__(self) -> int:
        return len(self._volumes)

    def volumes(self, index: int) -> list[Gridded]:
        return self._volumes[index]


def hippocampus(folder: Path, seed: int = 0, cache: Path = CACHE) -> Cohort:
    """mri_hippocampus: 118 patients, of whom 98 train and 20 test.

    The goals of the benchmark were set for 118 that train. Noise falls with their number, so five
    sixths of them are nearer to that than two thirds would be.
    """
    data = DataConfig(modality="mri", size=(32, 48, 32), labels=2)
    found: dict[str, list[Gridded]] = {}
    with (folder / "mri_hippocampus" / "subjects.csv").open() as file:
        for row in csv.DictReader(file):
            image = nib.load(folder / "mri_hippocampus" / "images" / row["filename"])
            labels = nib.load(folder / "mri_hippocampus" / "labels" / row["filename"])
            mask = np.asarray(labels.dataobj).astype(np.uint8)
            voxels = np.asarray(image.dataobj).astype(np.float32)
            volume = Volume(voxels, np.asarray(image.affine, np.float64), "mri", mask)
            found.setdefault(row["subject"], []).append(to_grid(volume, data))
    train, test = split(found, 5 / 6, seed)
    return Cohort("mri_hippocampus", data, labelled_head(cache), train, test)


def lung_nodule(folder: Path, seed: int = 0) -> Cohort:
    """ct_lung_nodule with malignancy as its class: 372 patients, of whom 248 train and 124 test.

    A millimetre a voxel, 32 mm across and 16 mm along the body: the crops are 30 x 30 x 8 mm in
    the median, and what is missing repeats the border.
    """
    data = DataConfig(
        modality="ct", size=(32, 32, 16), spacing=(1.0, 1.0, 1.0), labels=0, classes=2
    )
    found: dict[str, list[Gridded]] = {}
    with (folder / "ct_lung_nodule" / "subjects.csv").open() as file:
        for row in csv.DictReader(file):
            image = nib.load(folder / "ct_lung_nodule" / "images" / row["filename"])
            affine = np.asarray(image.affine, np.float64)
            meta = {"class": int(row["malignant"])}
            volume = Volume(np.asarray(image.dataobj), affine, "ct", None, meta)
            found.setdefault(row["subject"], []).append(to_grid(volume, data))
    train, test = split(found, 2 / 3, seed)
    return Cohort("ct_lung_nodule", data, ("none", None), train, test)


def procedural(seed: int = 0, patients: int = 120, fold: int = 0) -> Cohort:
    """Two bent, touching bodies in a layered surrounding, deformed from patient to patient.

    Nothing of it was measured on anybody: constants may be chosen on it.
    """
    size = (32, 40, 32)
    data = DataConfig(modality="mri", size=size, labels=2)
    rng = np.random.default_rng([seed, 1])
    layers = ndimage.gaussian_filter(rng.standard_normal(size), 5.0)
    found = {f"P{i:03d}": [_body(size, layers, rng)] for i in range(patients)}
    train, test = split(found, 2 / 3, fold)
    return Cohort("procedural", data, ("none", None), train, test)


def _body(size: tuple[int, int, int], layers: np.ndarray, rng: np.random.Generator) -> Gridded:
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"))
    bend = [ndimage.gaussian_filter(rng.standard_normal(size), 6.0) for _ in range(3)]
    bend = [3.0 * b / b.std() for b in bend]
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"))
    seen = ndimage.map_coordinates(layers, voxels + np.stack(bend), order=1, mode="nearest")
    half = np.array(size).reshape(3, 1, 1, 1) / 2
    x, y, z = place + np.stack(bend) / half + rng.normal(0, 0.04, (3, 1, 1, 1))
    radius = np.sqrt((x / 0.28) ** 2 + ((z + 0.5 * y**2) / 0.25) ** 2 + (y / 0.8) ** 2)
    mask = np.where(radius < 1, np.where(y > 0.1, 1, 2), 0).astype(np.uint8)
    tissue = np.digitize(seen / layers.std(), [-1.0, -0.2, 0.6])
    image = np.array([-0.9, -0.2, 0.4, 0.8])[tissue]
    image = np.where(mask > 0, np.where(mask == 1, 0.05, -0.05), image)
    image = ndimage.gaussian_filter(image, 0.7) + rng.normal(0, 0.06, size)
    return Gridded(np.clip(image, -1, 1).astype(np.float32), mask)


def procedural_nodules(seed: int = 0, patients: int = 240, fold: int = 0) -> Cohort:
    """CT of a dark ground with vessels, a wall in some, and a body in the middle of two classes.

    Bodies of class 1 are larger and less round. Nothing of it was measured on anybody.
    """
    size = (32, 32, 16)
    data = DataConfig(modality="ct", size=size, labels=0, classes=2)
    rng = np.random.default_rng([seed, 2])
    found = {f"P{i:03d}": [_nodule(size, int(rng.random() < 0.4), rng)] for i in range(patients)}
    train, test = split(found, 2 / 3, fold)
    return Cohort("procedural nodules", data, ("none", None), train, test)


def _nodule(size: tuple[int, int, int], category: int, rng: np.random.Generator) -> Gridded:
    place = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"))
    smooth = [ndimage.gaussian_filter(rng.standard_normal(size), 3.0) for _ in range(3)]
    smooth = [s / s.std() for s in smooth]
    image = -0.86 + 0.03 * smooth[0] + rng.normal(0, 0.04, size)
    vessels = np.abs(smooth[1]) + np.abs(smooth[2])
    image = np.where(vessels < 0.12, -0.3, image)
    if rng.random() < 0.5:
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        depth = np.tensordot(normal, place, axes=1) + 1.5 * smooth[2]
        image = np.where(depth > rng.uniform(6, 14), 0.04 + 0.03 * smooth[0], image)
    # Few and many voxels across, overlapping between the classes.
    radius = np.exp(rng.normal(np.log(4.5 if category else 2.8), 0.3))
    distance = np.sqrt((place**2).sum(axis=0)) + (0.9 if category else 0.4) * smooth[1]
    image = np.where(distance < radius, 0.03 + rng.normal(0, 0.05), image)
    image = ndimage.gaussian_filter(image, 0.5)
    return Gridded(np.clip(image, -1, 1).astype(np.float32), None, category)
