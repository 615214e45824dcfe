"""Made-up cohorts of several channels: CT and PET of bodies, and beating hearts.

A body has two lungs, a heart, a spine and one lesion; it differs in size and proportions, the
lesion in side, height and uptake. A heart is a bright chamber in a wall that shrinks and grows once
over its frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Voxels = npt.NDArray[np.floating]

BODY, HEART, PHASES = (32, 32, 24), (32, 32, 8), 12
# People who are shown, and the size of a voxel on the sheet.
SHOWN, UP = 10, 3


@dataclass(frozen=True)
class Cohort:
    """What the command line is given.

    Attributes:
        people: how many are made; a fourth is held out.
        write: the files of person `number` into a folder.
        ingest, train: further words.
        figures: names of what `evaluate` gives.
    """

    people: int
    write: Callable[[Path, int], None]
    ingest: tuple[str, ...]
    train: tuple[str, ...]
    figures: tuple[str, ...]


def body(random: np.random.Generator) -> tuple[Voxels, Voxels]:
    """CT in HU and PET in SUV, each [X, Y, Z] of `BODY`."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in BODY], indexing="ij"))
    size = random.normal(1.0, 0.08, 3)
    ct, pet = np.full(BODY, -1000.0), np.zeros(BODY)

    def fill(middle: Any, radii: Any, hounsfield: float, uptake: float) -> None:
        away = (grid.T - np.asarray(middle)) / np.asarray(radii)
        inside = (away**2).sum(axis=-1).T < 1.0
        ct[inside], pet[inside] = hounsfield, uptake

    fill((0, 0, 0), np.array((0.8, 0.6, 1.4)) * size, 40.0, 0.6)
    for side in (-1, 1):
        lung = np.array((0.25, 0.35, 0.8)) * size * random.normal(1.0, 0.05)
        fill((side * 0.38, 0.05, 0), lung, -850.0, 0.3)
    fill((-0.05 + random.normal(0.0, 0.03), 0.1, 0), (0.16, 0.2, 0.3), 60.0, 2.5)
    fill((0, -0.4, 0), (0.1, 0.1, 1.5), 400.0, 1.2)
    place = (random.choice((-1, 1)) * 0.38, 0.05 + random.normal(0, 0.1), random.normal(0, 0.3))
    fill(place, np.full(3, 0.15 * size[0]), 30.0, 8.0 + random.normal())
    ct = ndimage.gaussian_filter(ct, 0.5) + random.normal(0.0, 15.0, BODY)
    pet = ndimage.gaussian_filter(pet, 0.8) * np.exp(random.normal(0.0, 0.1, BODY))
    return ct.round(), pet


def heart(random: np.random.Generator) -> Voxels:
    """[X, Y, Z, T] of `HEART` and `PHASES`."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in HEART], indexing="ij"))
    middle, radius = random.normal(0.0, 0.1, 2), random.normal(0.45, 0.05)
    stroke, phase = random.normal(0.3, 0.05), random.uniform(0.0, 0.1)
    chest = ndimage.gaussian_filter(random.normal(size=HEART), (4, 4, 2))
    chest = 300.0 + 60.0 * chest / chest.std()
    away = np.hypot(grid[0] - middle[0], grid[1] - middle[1]) / (1.0 - 0.25 * np.abs(grid[2]))
    frames = []
    for time in np.arange(PHASES) / PHASES:
        beat = 0.5 - 0.5 * np.cos(2 * np.pi * (time + phase))
        wall = np.where(away < radius + 0.18 + 0.04 * beat, 250.0, chest)
        chamber = 650.0 / (1.0 + np.exp((away - radius * (1.0 - stroke * beat)) / 0.03))
        frames.append(ndimage.gaussian_filter(wall + chamber, 0.6))
    return (np.stack(frames, axis=-1) + random.normal(0.0, 12.0, (*HEART, PHASES))).round()


def write_body(folder: Path, number: int) -> None:
    """Two files."""
    affine = np.diag([10.0, 10.0, 8.0, 1.0])
    ct, pet = body(np.random.default_rng(number))
    for name, voxels in (("ct", ct.astype(np.int16)), ("pet", pet.astype(np.float32))):
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"p{number:03}_{name}.nii.gz")


def write_heart(folder: Path, number: int) -> None:
    """One file of four axes."""
    voxels = heart(np.random.default_rng(number)).astype(np.int16)
    image = nib.Nifti1Image(voxels, np.diag([6.0, 6.0, 8.0, 1.0]))
    image.header["pixdim"][4] = 0.04
    nib.save(image, folder / f"h{number:03}.nii.gz")


COHORTS = {
    "ct-pet": Cohort(
        160,
        write_body,
        ("--channels", "ct,pet", "--modality", "ct,pet"),
        ("--set", "data.modality=ct", "--set", "data.size=[32, 32, 24]"),
        ("ct_hu_wasserstein", "pet_suv_wasserstein", "channel_correlation", "texture_precision"),
    ),
    "hearts": Cohort(
        140,
        write_heart,
        ("--frames", "8", "--modality", "mri"),
        ("--set", "data.size=[32, 32, 8]"),
        ("frame_correlation", "channel_correlation", "intensity_wasserstein", "texture_precision"),
    ),
}


def run(name: str, work: Path, medvae: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The figures of one made-up cohort, by the command line, and a sheet beside its vault.

    work: an empty folder, which keeps the sheet `NAME.png`.
    """
    cohort = COHORTS[name]
    medvae(work, "tenant", "create", "bench", "--recovery-out", work / "spare")
    held = cohort.people // 4
    parts = {"held": range(held), "rest": range(held, cohort.people)}
    for part, numbers in parts.items():
        (work / part).mkdir()
        for number in numbers:
            cohort.write(work / part, number)
        medvae(work, "ingest", work / part, "-d", part, "--files-are-patients", *cohort.ingest)
    medvae(work, "train", "-c", "contrasts", "-d", "rest", "--name", "m", *cohort.train)
    metrics = medvae(work, "evaluate", "m", "--against", "held")["metrics"]
    medvae(work, "generate", "m", "-n", str(SHOWN), "--seed", "1", "-o", work / "drawn")
    sheet([work / "held", work / "drawn"], work / f"{name}.png")
    return {figure: metrics[figure] for figure in cohort.figures if figure in metrics}


def sheet(folders: list[Path], path: Path) -> None:
    """A row for each folder and channel: middle slices, on one scale a channel."""
    shown = [_channels(folder) for folder in folders]
    rows = []
    for channel in range(len(shown[0])):
        low, high = np.percentile(np.stack(shown[0][channel]), (0.5, 99.5))
        for own in shown:
            scaled = [np.clip((one - low) / (high - low), 0, 1) * 255 for one in own[channel]]
            tiles = [np.kron(one.T[::-1], np.ones((UP, UP))) for one in scaled]
            rows.append(np.concatenate([np.pad(tile, 1) for tile in tiles], axis=1))
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(path)


def _channels(folder: Path) -> list[list[Voxels]]:
    """Middle slices of each channel, or of the first and the middle frame, of the first people."""
    files = sorted(folder.rglob("*.nii.gz"))
    images = [(path, np.asarray(nib.load(path).dataobj, np.float32)) for path in files]
    if images[0][1].ndim == 4:
        frames = [image for _, image in images[:SHOWN]]
        return [[one[:, :, one.shape[2] // 2, one.shape[3] // part] for one in frames]
                for part in (8, 2)]  # fmt: skip
    kinds = [[image for path, image in images if kind in path.name] for kind in ("ct.", "pet.")]
    return [[one[:, :, one.shape[2] // 2] for one in own[:SHOWN]] for own in kinds]
