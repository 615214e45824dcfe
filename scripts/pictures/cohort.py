"""Cohorts of pictures with classes, one picture a patient: real ones, or made up."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import bench_images
import nibabel as nib
import numpy as np
import numpy.typing as npt

from medvae.config_data import DataConfig
from medvae.grid import Gridded, to_grid
from medvae.ingest import Ingested, read
from medvae.volume import Volume

Images = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

REAL = "xray_pneumonia"
HELD_OUT = 0.2
# Of the pictures that are made up.
EDGE, RARE = 16, 0.25


@dataclass(frozen=True)
class Pictures:
    """Pictures of a cohort, or a generator's samples.

    Attributes:
        images: [n, C, X, Y] in [-1, 1].
        classes: [n] class of each.
        data: the grid.
    """

    images: Images
    classes: Classes
    data: DataConfig

    def __len__(self) -> int:
        return len(self.images)

    @property
    def n_classes(self) -> int:
        """How many classes the cohort declares."""
        return self.data.classes

    def volumes(self, index: int) -> list[Gridded]:
        """The picture of one patient, as the product's stages read it."""
        image = self.images[index][..., None]
        image = image if len(image) > 1 else image[0]
        return [Gridded(image, None, int(self.classes[index]))]

    def part(self, indices: npt.NDArray[np.int64]) -> Pictures:
        """The pictures at these places."""
        return replace(self, images=self.images[indices], classes=self.classes[indices])

    def like(self, images: Images, classes: Classes) -> Pictures:
        """Other pictures on this grid, rounded to 8 bits as files hold them."""
        levels = np.round((np.clip(images, -1.0, 1.0) + 1.0) * 127.5)
        return replace(self, images=(levels / 127.5 - 1.0).astype(np.float32), classes=classes)


def load(count: int | None, cohort: str = REAL) -> tuple[str, Pictures]:
    """(name, pictures): of `MEDVAE_REAL_DATA`, or made up where it is not set.

    count: how many at most, taken at random; None: all.
    """
    root = os.environ.get("MEDVAE_REAL_DATA")
    if not root:
        return "made up", made_up(count or 4000, seed=0)
    pictures = _READERS[cohort](Path(root) / cohort)
    order = np.sort(np.random.default_rng(0).permutation(len(pictures))[:count])
    return cohort, pictures.part(order)


def _listed(folder: Path) -> Pictures:
    """A cohort of pictures whose table names a class for each, one picture a patient."""
    case = bench_images.CASES[folder.name]
    volumes = bench_images.opened(folder, case)
    data = bench_images.configuration(case, 1.0)
    return Pictures(*bench_images.Cohort(sorted(volumes), volumes, data).arrays(), data.data)


def _radiographs(folder: Path) -> Pictures:
    """`xray_hannover`: the first radiograph of each person, and sex as the class."""
    cfg = bench_images.configuration(bench_images.Case("", "xray", (32, 32, 1), 2, False), 1.0)
    table = folder / "subjects.csv"
    first: dict[str, tuple[Gridded, bool]] = {}
    with table.open(encoding="utf-8") as file:
        sexes = {row["subject"]: row["sex"] == "f" for row in csv.DictReader(file)}
    images = [folder / "images" if (folder / "images").exists() else folder]
    for item in read(images, modality="xray", subjects=table):
        if isinstance(item, Ingested) and item.subject not in first:
            first[item.subject] = to_grid(item.volume, cfg.data), sexes[item.subject]
    pictures = np.stack([own.image.reshape(1, 32, 32) for own, _ in first.values()])
    return Pictures(pictures, np.array([sex for _, sex in first.values()], np.int64), cfg.data)


def _nodules(folder: Path) -> Pictures:
    """`ct_lung_nodule`: the middle slice of one nodule of each person, benign or malignant."""
    cfg = bench_images.configuration(bench_images.Case("", "xray", (32, 32, 1), 2, False), 1.0)
    grid = DataConfig(
        modality="ct", size=(32, 32, 16), spacing=(1.0, 1.0, 1.0), labels=0, classes=2
    )
    first: dict[str, tuple[Gridded, int]] = {}
    with (folder / "subjects.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["subject"] not in first:
                image = nib.load(folder / "images" / row["filename"])
                affine = np.asarray(image.affine, np.float64)
                volume = Volume(np.asarray(image.dataobj), affine, "ct", None, {})
                first[row["subject"]] = to_grid(volume, grid), int(row["malignant"])
    slices = np.stack([own.image[None, :, :, 8] for own, _ in first.values()])
    return Pictures(slices, np.array([own for _, own in first.values()], np.int64), cfg.data)


_READERS: dict[str, Callable[[Path], Pictures]] = {
    REAL: _listed,
    "rgb_skin": _listed,
    "xray_hannover": _radiographs,
    "ct_lung_nodule": _nodules,
}
COHORTS = tuple(_READERS)


def made_up(count: int, seed: int) -> Pictures:
    """Bright trunks with two dark ovals; the rare class has a blurred spot in one of them."""
    case = bench_images.Case("", "xray", (EDGE, EDGE, 1), 2, False)
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, EDGE), np.linspace(-1, 1, EDGE), indexing="ij")
    classes = (random.random(count) < RARE).astype(np.int64)
    images = np.empty((count, 1, EDGE, EDGE), np.float32)
    for image, category in zip(images, classes, strict=True):
        shift, width, height = random.normal(0, [0.08, 0.04, 0.08])
        value = 0.6 - 0.5 * y**2 + random.normal(0, 0.1)
        for side in (-0.45, 0.45):
            inside = ((x - side - shift) / (0.3 + width)) ** 2 + (y / (0.7 + height)) ** 2
            value = value - 0.55 * (1.0 - np.tanh(4.0 * (inside - 1.0)))
        if category:
            place = random.choice([-0.45, 0.45]) + shift, random.uniform(-0.3, 0.3)
            distance = (x - place[0]) ** 2 + (y - place[1]) ** 2
            value = value + 0.8 * np.exp(-distance / 0.08)
        image[0] = value + random.normal(0, 0.03, value.shape)
    cohort = Pictures(images, classes, bench_images.configuration(case, 1.0).data)
    return cohort.like(images, classes)


def split(cohort: Pictures, seed: int, develop: bool = False) -> tuple[Pictures, Pictures]:
    """(training part, test part) of a seed.

    develop: both are of the training part, so that no choice is made on the test part.
    """
    order = np.random.default_rng(seed).permutation(len(cohort))
    held = max(4, int(HELD_OUT * len(order)))
    test, rest = order[:held], order[held:]
    if develop:
        held = max(4, int(HELD_OUT * len(rest)))
        test, rest = rest[:held], rest[held:]
    return cohort.part(rest), cohort.part(test)
