"""Made-up patients from one real anatomy, deformed and recoloured; no patient is involved.

The head is the average of many people with face and neck (`pydeface`); its brain is blurred by
averaging, so that the MNI152 template (T1, grey and white matter; Fonov et al. 2011; ships inside
`nilearn`) takes its place. Where the average head is not there, the brain alone is the anatomy.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.progress import SILENT, Progress

Array = npt.NDArray[np.float32]

LABELS: Final = {1: "grey matter", 2: "white matter"}
# Of a grid that just holds the head, and of the brain alone, in mm.
HEAD_MM, BRAIN_MM = 2.0, 4.0
_HEAD_SIZE_MM, _HEAD_CORNER_MM = (184.0, 248.0, 240.0), (-92.0, -122.0, -118.0)
# The MNI152 brain in the average head: scale, pitch and shift (in mm) of a least-squares fit of
# grey values, the scale a twentieth larger, since the mean of many brains is smaller than each.
_SCALE, _PITCH, _SHIFT_MM = (0.86, 0.91, 0.83), 0.116, (0.0, 16.8, -7.7)
_CENTRE_MM = np.array([0.0, -20.0, 12.0])
# Grey values of the brain's white matter in the two sources, and width of the seam in mm.
_WHITE_OF_HEAD, _SEAM_MM = 430.0, 2.5
# Standard deviations between patients: scale of each axis, folds (width and size in mm), grey of
# the brain's tissues and of the rest, shading, noise, and the scanner's gain (of its logarithm).
_SCALES, _FOLDS_MM = 0.04, ((40.0, 4.0), (16.0, 1.5))
_TISSUE, _SHADING, _NOISE, _GAIN = 0.04, 0.1, 0.015, 0.5
_SHADING_MM = 48.0


@dataclass(frozen=True)
class Anatomy:
    """T1 and tissue maps [X, Y, Z] in [0, 1] on one grid of cubes, with its affine."""

    t1: Array
    grey: Array
    white: Array
    affine: npt.NDArray[np.float64]

    @property
    def spacing(self) -> float:
        """Side of a voxel in mm."""
        return float(np.linalg.norm(self.affine[:3, 0]))


def brain() -> Anatomy:
    """The MNI152 brain at `BRAIN_MM`."""
    t1, grey, white = (load(int(BRAIN_MM)) for load in _templates())
    return Anatomy(_voxels(t1, np.max), _voxels(grey), _voxels(white), np.asarray(t1.affine))


def head(average: nib.Nifti1Image, spacing: float = HEAD_MM) -> Anatomy:
    """An average head [X, Y, Z] with the MNI152 brain, at a spacing in mm."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = _HEAD_CORNER_MM
    to_brain = np.linalg.inv(_brain_in_head()) @ affine

    def placed(voxels: npt.NDArray[Any], source: Any, target: Any, blur: float = 0.0) -> Array:
        """Voxels of about 1 mm on the head's grid, whose place in the source's mm is `target`."""
        smooth = ndimage.gaussian_filter(np.asarray(voxels, np.float32), max(blur, spacing / 3.0))
        where = np.linalg.inv(source.affine) @ target
        shape = tuple(round(size / spacing) for size in _HEAD_SIZE_MM)
        moved = ndimage.affine_transform(smooth, where[:3, :3], where[:3, 3], shape, order=1)
        return np.asarray(moved, np.float32)

    t1, grey, white = (load(1) for load in _templates())
    inside = placed(_voxels(t1) > 0.0, t1, to_brain, _SEAM_MM)
    share = np.clip(2.0 * inside - 0.5, 0.0, 1.0)
    rest = placed(np.asarray(average.dataobj) / _WHITE_OF_HEAD, average, affine)
    own = placed(_voxels(t1, lambda v: np.percentile(v[v > 0], 95.0)), t1, to_brain)
    mixed = np.clip(share * own + (1.0 - share) * rest, 0.0, None)
    tissues = [placed(_voxels(file), file, to_brain) for file in (grey, white)]
    return Anatomy(mixed / mixed.max(), tissues[0], tissues[1], affine)


def write(
    folder: Path,
    base: Anatomy,
    patients: int,
    twice: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """Write the cohort as images/, labels/ and subjects.csv; the same seed, the same files.

    Masks have `LABELS`.

    Args:
        twice: how many of the patients have two scans.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    progress.start("Making the cohort", patients)
    for patient in range(patients):
        field = displacement(np.random.default_rng([seed, patient]), base)
        for scan in range(2 if patient < twice else 1):
            look = np.random.default_rng([seed, patient, scan])
            name = f"head{patient:03d}_{scan}.nii.gz"
            image, mask = draw(look, base, field)
            _save(image, base.affine, folder / "images" / name)
            _save(mask, base.affine, folder / "labels" / name)
            rows.append((name, f"patient{patient:03d}"))
        progress.advance(patient + 1)
    progress.finish(f"{patients} patients")
    with (folder / "subjects.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "subject"), *rows])
    return folder


def displacement(rng: np.random.Generator, base: Anatomy) -> Array:
    """A smooth random field [3, X, Y, Z] in voxels: head size, and folds of some mm."""
    shape = base.t1.shape
    centre = (np.array(shape) - 1) / 2
    grid = np.indices(shape, np.float32)
    scale = rng.normal(0, _SCALES, 3)
    field = (grid - centre[:, None, None, None]) * scale[:, None, None, None]
    for width, size in _FOLDS_MM:
        for axis in range(3):
            field[axis] += _smooth(rng, base, width) * (size / base.spacing)
    return np.asarray(field, np.float32)


def draw(
    rng: np.random.Generator, base: Anatomy, field: Array
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """One scan: the deformed head with its own contrast, shading, noise and gain."""
    where = np.indices(base.t1.shape, np.float32) + field
    t1, grey, white = (
        ndimage.map_coordinates(m, where, order=1, mode="nearest")
        for m in (base.t1, base.grey, base.white)
    )
    image = t1 + rng.normal(0, _TISSUE) * grey + rng.normal(0, _TISSUE) * white
    image = np.clip(image, 0, None) * np.exp(_SHADING * _smooth(rng, base, _SHADING_MM))
    # Magnitude of a complex signal, so that air has a Rayleigh distribution.
    first, second = rng.normal(0, _NOISE, (2, *t1.shape))
    image = np.hypot(image + first, second)
    gain = rng.lognormal(np.log(800), _GAIN)
    mask = np.where(white > 0.5, 2, np.where(grey > 0.5, 1, 0)).astype(np.uint8)
    return np.rint(np.clip(image * gain, 0, 32767)).astype(np.int16), mask


def _smooth(rng: np.random.Generator, base: Anatomy, width_mm: float) -> Array:
    """A Gaussian field [X, Y, Z] of a standard deviation of 1, made on a coarser grid."""
    shape = base.t1.shape
    step = max(1, round(width_mm / 4.0 / base.spacing))
    coarse = rng.normal(size=[-(-n // step) + 2 for n in shape])
    values = ndimage.gaussian_filter(coarse, width_mm / step / base.spacing, mode="nearest")
    for axis, n in enumerate(shape):
        # Linear between the coarse points, one axis after the other.
        at = np.arange(n) / step
        weights = np.maximum(1.0 - np.abs(at[:, None] - np.arange(values.shape[axis])), 0.0)
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return np.asarray(values / values.std(), np.float32)


def _brain_in_head() -> npt.NDArray[np.float64]:
    """[4, 4] from mm of the MNI152 brain to mm of the average head."""
    c, s = np.cos(_PITCH), np.sin(_PITCH)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag(_SCALE)
    matrix[:3, 3] = _CENTRE_MM + _SHIFT_MM - matrix[:3, :3] @ _CENTRE_MM
    return matrix


def _templates() -> tuple[Callable[[int], Any], ...]:
    """Loaders of T1, grey and white matter at a voxel size in mm."""
    from nilearn import datasets

    return (
        datasets.load_mni152_template,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
    )


def _voxels(image: Any, most: Callable[[Array], Any] | None = None) -> Array:
    """Voxels [X, Y, Z], divided by what `most` finds in them."""
    voxels = np.asarray(image.dataobj, np.float32)
    return voxels / np.float32(1.0 if most is None else most(voxels))


def _save(voxels: npt.NDArray[Any], affine: npt.NDArray[np.float64], path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels, affine), path)
