"""Small fields of view with many labels: parts of whole heads, as if nothing else were scanned."""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from comparison.bench import split

from medvae.volume import Volume
from organs.cohorts import Cohort, People, Scan, data_config, numbers_of, people_of

# How far the middle of a crop lies from that of the labels (deviation, in voxels).
AWAY = 2.0
SPACING = (2.0, 2.0, 2.0)
# Numbers of the MUSE protocol, which the labels of mri_ixi_t1 have.
DEEP_GREY = {
    1: ("right thalamus", (59,)),
    2: ("left thalamus", (60,)),
    3: ("right caudate", (36,)),
    4: ("left caudate", (37,)),
    5: ("right putamen", (57,)),
    6: ("left putamen", (58,)),
    7: ("right pallidum", (55,)),
    8: ("left pallidum", (56,)),
}
BRAIN_STEM = {
    1: ("brain stem", (35,)),
    2: ("cerebellum", (38, 39, 40, 41, 71, 72, 73)),
    3: ("fourth ventricle", (11,)),
    4: ("right hippocampus", (47,)),
    5: ("left hippocampus", (48,)),
}


@dataclass(frozen=True)
class Crops(Cohort):
    """A cohort whose scans are cut to `drawn.size` voxels near the middle of their labels."""

    def read(self, scan: Scan) -> Volume:
        whole = super().read(scan)
        assert whole.mask is not None
        # As scanners are set by hand: the same for a scan each time.
        random = np.random.default_rng(zlib.crc32(scan.image.name.encode()))
        middle = np.argwhere(whole.mask > 0).mean(axis=0) + random.normal(0.0, AWAY, 3)
        low = np.maximum(np.round(middle - np.asarray(self.drawn.size) / 2).astype(int), 0)
        where = tuple(
            slice(start, start + n) for start, n in zip(low, self.drawn.size, strict=True)
        )
        affine = whole.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        return Volume(whole.voxels[where], affine, whole.modality, whole.mask[where], {})

    def write(self, people: People, folder: Path) -> Path:
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        rows = [("filename", "subject")]
        for subject, scans in people.items():
            for scan in scans:
                cut = self.read(scan)
                for name, voxels in (("images", cut.voxels), ("labels", cut.mask)):
                    nib.save(nib.Nifti1Image(voxels, cut.affine), folder / name / scan.image.name)
                rows.append((scan.image.name, subject))
        with (folder / "subjects.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return folder


def deep_grey(root: Path, fold: int) -> Cohort:
    """Deep grey matter in 88 x 96 x 64 mm: eight labels, two thirds of 100 people train."""
    return _crops("deep-grey", DEEP_GREY, (44, 48, 32), root, fold)


def brain_stem(root: Path, fold: int) -> Cohort:
    """Brain stem and cerebellum in 96 x 104 x 80 mm: five labels, two thirds of 100 train."""
    return _crops("brain-stem", BRAIN_STEM, (48, 52, 40), root, fold)


def _crops(
    name: str,
    labels: dict[int, tuple[str, tuple[int, ...]]],
    size: tuple[int, int, int],
    root: Path,
    fold: int,
) -> Cohort:
    scheme = {number: label for number, (label, _) in labels.items()}
    train, test = split(people_of(root / "mri_ixi_t1"), 2 / 3, fold)
    grid = data_config("mri", size, SPACING, scheme)
    return Crops(
        name,
        "mri",
        scheme,
        numbers_of({number: own for number, (_, own) in labels.items()}),
        grid,
        grid,
        None,
        train,
        test,
        axis=2,
        count=300,
        compared=100,
    )
