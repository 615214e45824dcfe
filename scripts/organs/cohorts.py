"""Cohorts of the anatomy benchmark: scans of people, their split, and public people beside them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from comparison.bench import split

from medvae.config import DataConfig
from medvae.grid import Gridded, to_grid
from medvae.volume import Volume


@dataclass(frozen=True)
class Scan:
    """Files of one scan; `category` is its class, where the cohort has classes."""

    image: Path
    labels: Path | None = None
    category: int | None = None


People = dict[str, list[Scan]]


@dataclass(frozen=True)
class PublicPeople:
    """A folder that a user would add to the library, and what is declared of it."""

    folder: Path
    licence: str
    source: str
    scheme: Mapping[int, str]
    images: bool


@dataclass(frozen=True)
class Cohort:
    """Patients, split by person, and the grids on which volumes are drawn and compared.

    Attributes:
        preset: the shipped configuration that a user would take.
        scheme: number in the masks -> name, of the labels after `merged`.
        merged: number in the files -> number in the scheme, or None where they are the same.
        drawn: the grid that the product draws on; measured: the one that rows are compared on.
        public: public people of this region, or None where there are none.
        axis: what contact sheets cut across; count: volumes that a row makes; compared: of them.
    """

    name: str
    preset: str
    scheme: Mapping[int, str]
    merged: Mapping[int, int] | None
    drawn: DataConfig
    measured: DataConfig
    public: PublicPeople | None
    train: People
    test: People
    axis: int
    count: int
    compared: int
    classes: int = 0
    overrides: tuple[str, ...] = field(default=())

    def set_aside(self) -> tuple[People, People]:
        """A quarter of all people as a library of the cohort's own, and the patients left."""
        part = (len(self.train) + len(self.test)) / 4 / len(self.train)
        return split(self.train, part, seed=7)

    def read(self, scan: Scan) -> Volume:
        """A scan with its axes closest to RAS+ and its labels merged."""
        image = nib.as_closest_canonical(nib.load(scan.image))
        mask = None
        if scan.labels is not None:
            labels = nib.as_closest_canonical(nib.load(scan.labels))
            mask = self.merge(np.asarray(labels.dataobj))
        meta = {} if scan.category is None else {"class": scan.category}
        affine = np.asarray(image.affine, np.float64)
        return Volume(np.asarray(image.dataobj), affine, self.drawn.modality, mask, meta)

    def merge(self, labels: np.ndarray) -> np.ndarray:
        """Numbers of the scheme, uint8, from those of the files; what is not merged is 0."""
        if self.merged is None:
            return labels.astype(np.uint8)
        table = np.zeros(1 << 15, np.uint8)
        table[list(self.merged)] = list(self.merged.values())
        return table[labels.astype(np.int64)]

    def gridded(self, people: Iterable[list[Scan]], data: DataConfig) -> list[Gridded]:
        return [to_grid(self.read(scan), data) for scans in people for scan in scans]

    def write(self, people: People, folder: Path) -> Path:
        """A folder as a hospital has it: images/, labels/ and subjects.csv."""
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        rows = [("filename", "subject", "class")]
        for subject, scans in people.items():
            for scan in scans:
                shutil.copyfile(scan.image, folder / "images" / scan.image.name)
                category = "" if scan.category is None else str(scan.category)
                rows.append((scan.image.name, subject, category))
                if scan.labels is not None:
                    held = nib.load(scan.labels)
                    merged = self.merge(np.asarray(held.dataobj))
                    target = folder / "labels" / scan.image.name
                    nib.save(nib.Nifti1Image(merged, held.affine), target)
        if not any((folder / "labels").iterdir()):
            (folder / "labels").rmdir()
        with (folder / "subjects.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return folder


def people_of(folder: Path, class_column: str | None = None) -> People:
    """The scans of a folder's table, by person."""
    found: People = {}
    labelled = (folder / "labels").is_dir()
    with (folder / "subjects.csv").open() as file:
        for row in csv.DictReader(file):
            labels = folder / "labels" / row["filename"] if labelled else None
            category = int(row[class_column]) if class_column else None
            scan = Scan(folder / "images" / row["filename"], labels, category)
            found.setdefault(row["subject"], []).append(scan)
    return found


TISSUES = {
    1: "white matter",
    2: "cortex",
    3: "deep grey matter",
    4: "ventricles",
    5: "cerebellum",
    6: "brain stem",
}
# Numbers of the MUSE protocol, which the labels of mri_ixi_t1 have.
_MUSE = {
    1: [*range(81, 96), 69],
    2: list(range(100, 208)),
    3: [23, *range(30, 35), 36, 37, 47, 48, *range(55, 63)],
    4: [4, 11, 49, 50, 51, 52],
    5: [*range(38, 42), *range(71, 74)],
    6: [35],
}
# Names of the numbers that the label maps of public_head_labels have (left, right);
# those from 502 on are the head's outside of the brain.
_SIDES = {
    "cerebral white matter": (2, 41),
    "cerebral cortex": (3, 42),
    "lateral ventricle": (4, 43),
    "inferior lateral ventricle": (5, 44),
    "cerebellum white matter": (7, 46),
    "cerebellum cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "lesion": (25, 57),
    "accumbens area": (26, 58),
    "ventral DC": (28, 60),
    "vessel": (30, 62),
    "choroid plexus": (136, 163),
    "inferior choroid plexus": (137, 164),
}
_MIDDLE = {
    14: "3rd ventricle",
    15: "4th ventricle",
    16: "brain-stem",
    24: "CSF",
    72: "5th ventricle",
    85: "optic chiasm",
    502: "artery",
    506: "eyeball",
    507: "other soft tissue",
    508: "rectus muscle",
    509: "mucosa",
    511: "skin",
    512: "spinal cord",
    514: "vein",
    515: "cortical bone",
    516: "cancellous bone",
    530: "optic nerve",
}


def _freesurfer() -> dict[int, str]:
    """Number -> name of all labels of public_head_labels."""
    found = dict(_MIDDLE)
    for name, (left, right) in _SIDES.items():
        found |= {left: f"left {name}", right: f"right {name}"}
    return dict(sorted(found.items()))


def numbers_of(groups: Mapping[int, Iterable[int]]) -> dict[int, int]:
    return {number: tissue for tissue, numbers in groups.items() for number in numbers}


def data_config(
    modality: str,
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    scheme: Mapping[int, str],
    classes: int = 0,
) -> DataConfig:
    names = {str(number): name for number, name in scheme.items()}
    return DataConfig.model_validate(
        {
            "modality": modality,
            "size": size,
            "spacing": spacing,
            "label_scheme": names,
            "labels": len(names),
            "classes": classes,
        }
    )


def heads(root: Path, fold: int) -> Cohort:
    """Whole heads at 2 mm, compared at 4 mm: two thirds of 100 people train, six tissues."""
    train, test = split(people_of(root / "mri_ixi_t1"), 2 / 3, fold)
    public = PublicPeople(
        root / "public_head_labels",
        "Apache-2.0",
        "SynthSeg",
        _freesurfer(),
        images=False,
    )
    return Cohort(
        "heads",
        "mri",
        TISSUES,
        numbers_of(_MUSE),
        data_config("mri", (88, 120, 120), (2.0, 2.0, 2.0), TISSUES),
        data_config("mri", (44, 60, 60), (4.0, 4.0, 4.0), TISSUES),
        public,
        train,
        test,
        axis=2,
        count=100,
        compared=100,
    )


def heart(root: Path, fold: int) -> Cohort:
    """Short-axis hearts of 8 mm slices: two thirds of 66 people train, three labels."""
    scheme = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
    train, test = split(people_of(root / "mri_cardiac_acdc"), 2 / 3, fold)
    public = PublicPeople(
        root / "public_heart", "research use", "MS-CMRSeg 2019", scheme, images=True
    )
    grid = data_config("mri", (64, 64, 8), (2.0, 2.0, 8.0), scheme)
    return Cohort(
        "heart",
        "mri",
        scheme,
        None,
        grid,
        grid,
        public,
        train,
        test,
        axis=2,
        count=300,
        compared=200,
    )


def hippocampus(root: Path, fold: int) -> Cohort:
    """Crops round the hippocampus at 1 mm: five sixths of 118 people train, two labels."""
    scheme = {1: "anterior", 2: "posterior"}
    train, test = split(people_of(root / "mri_hippocampus"), 5 / 6, fold)
    grid = data_config("mri", (32, 48, 32), (1.0, 1.0, 1.0), scheme)
    return Cohort(
        "hippocampus",
        "mri",
        scheme,
        None,
        grid,
        grid,
        None,
        train,
        test,
        axis=0,
        count=400,
        compared=183,
    )


def nodules(root: Path, fold: int) -> Cohort:
    """CT round lung nodules at 1 mm: two thirds of 372 people train, malignancy as the class."""
    train, test = split(people_of(root / "ct_lung_nodule", "malignant"), 2 / 3, fold)
    grid = data_config("ct", (32, 32, 16), (1.0, 1.0, 1.0), {}, classes=2)
    return Cohort(
        "nodules",
        "ct",
        {},
        None,
        grid,
        grid,
        None,
        train,
        test,
        axis=2,
        count=1200,
        compared=600,
        classes=2,
    )


def public_scans(public: PublicPeople) -> People:
    """The public people's images with labels, by person."""
    paths = sorted((public.folder / "images").glob("*.nii.gz"))
    return {path.name: [Scan(path, public.folder / "labels" / path.name)] for path in paths}
