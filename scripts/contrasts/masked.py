"""Cohorts with masks in two contrasts, by the command line: from public people where there are any
that can be drawn so, from the patients' own mean maps, and by cosines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from organs.cohorts import Cohort, People, heart
from organs.cohorts import heads as whole_heads
from PIL import Image

from contrasts import heads, prediction, ventricles
from medvae.config import DataConfig

EPSILON = 8.0
# Cohort -> who it is, what makes its contrasts, and its models with their `anatomy.library`.
COHORTS: dict[str, tuple[Callable[[Path, int], Cohort], ModuleType, dict[str, str]]] = {
    "heads": (whole_heads, heads, {"anatomy": "heads", "maps": "patients", "cosines": "none"}),
    "ventricles": (heart, ventricles, {"maps": "patients", "cosines": "none"}),
}
SHOWN, UP = 8, 3
FIGURES = (
    "segmentation_dice",
    "efficientnet_frechet",
    "texture_frechet",
    "texture_precision",
    "texture_recall",
    "channel_correlation",
)

Words = Callable[..., dict[str, Any]]


def run(name: str, root: Path, work: Path, medvae: Words) -> dict[str, dict[str, Any]]:
    """Model -> figures of its draws beside the people held out; a contact sheet as NAME.png."""
    of_fold, made, models = COHORTS[name]
    cohort = of_fold(root, 0)
    medvae(work, "tenant", "create", "bench", "--recovery-out", work / "spare")
    for part, own in (("rest", cohort.train), ("held", cohort.test)):
        write(cohort, made, own, work / part)
        medvae(
            work, "ingest", work / part, "-d", part, "--modality", "mri",
            "--channels", ",".join(made.CHANNELS), "--files-are-patients",
            "--label-scheme", ",".join(f"{n}={label}" for n, label in cohort.scheme.items()),
        )  # fmt: skip
    if "anatomy" in models:
        _add_library(cohort, work, models["anatomy"], medvae)
    grid = cohort.measured
    settings = [f"data.size={list(grid.size)}", f"data.spacing={list(grid.spacing or ())}"]
    words = [word for setting in settings for word in ("--set", setting)]
    learnt, held = (_people(made, work / part / "images", grid) for part in ("rest", "held"))
    real = {
        "value": prediction.error(learnt, held, 0),
        "without_others": prediction.without_others(learnt, held),
    }
    found: dict[str, dict[str, Any]] = {"real": {"prediction_error": real}}
    rows = [_middle(held[:SHOWN])]
    for model, entry in models.items():
        medvae(
            work, "train", "-c", "contrasts", "-d", "rest", "--name", model, *words,
            "--set", f"anatomy.library={entry}", "--epsilon", f"{EPSILON:g}",
        )  # fmt: skip
        metrics = medvae(work, "evaluate", model, "--against", "held", "--no-baselines")["metrics"]
        metrics = {figure: metrics[figure] for figure in FIGURES if figure in metrics}
        out = work / "drawn" / model
        medvae(work, "generate", model, "-n", str(len(learnt)), "-o", out)
        drawn = _people(made, out, grid)
        metrics["prediction_error"] = {"value": prediction.error(drawn, held, 0)}
        found[model] = metrics
        rows.append(_middle(drawn[:SHOWN]))
    sheet = np.concatenate(rows)
    Image.fromarray(np.uint8(127.5 * (sheet + 1))).save(work / f"{name}.png")
    return found


def write(cohort: Cohort, made: ModuleType, people: People, folder: Path) -> None:
    """A folder as a hospital has it: one file a contrast, and labels."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for subject, scans in people.items():
        case = f"case{subject.replace('_', '')}"
        *images, labels, affine = made.contrasts(cohort, scans[0])
        for name, voxels in zip(made.CHANNELS, images, strict=True):
            image = nib.Nifti1Image(np.float32(1000 * voxels), affine)
            nib.save(image, folder / "images" / f"{case}_{name}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / "labels" / f"{case}.nii.gz")


def _add_library(cohort: Cohort, work: Path, entry: str, medvae: Words) -> None:
    assert cohort.public is not None
    scheme = work / "scheme.json"
    scheme.write_text(json.dumps(dict(cohort.public.scheme)))
    medvae(
        work, "anatomy", "add", cohort.public.folder, "--name", entry, "--label-scheme", scheme,
        "--licence", cohort.public.licence, "--source", cohort.public.source,
    )  # fmt: skip


def _people(made: ModuleType, folder: Path, grid: DataConfig) -> prediction.Volumes:
    """[n, C, X, Y, Z] of a folder, on a grid."""
    return prediction.people(folder, [f"_{name}" for name in made.CHANNELS], grid)


def _middle(volumes: prediction.Volumes) -> npt.NDArray[Any]:
    """[C X', n Y'] an axial slice of each person, a row a contrast."""
    slices = volumes[..., volumes.shape[-1] * 3 // 5]
    return np.concatenate(
        [np.concatenate([np.kron(one.T[::-1], np.ones((UP, UP))) for one in row], axis=1)
         for row in slices.transpose(1, 0, 2, 3)]
    )  # fmt: skip
