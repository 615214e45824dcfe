"""Whole heads in two contrasts: people's own T1, and a FLAIR that is made of it and their labels.

No public cohort at hand has several contrasts of whole heads and label maps of them, so only one
contrast is a scanner's. The other has the anatomy of its person: fluid is dark, cortex brighter
than white matter, and what is brighter than its tissue in T1 is a little darker, as water makes it.
Trained twice: from label maps of public heads, and by cosines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from organs.cohorts import Cohort, People, Scan, heads
from PIL import Image
from scipy import ndimage

from contrasts import prediction
from medvae.grid import crop_or_pad

CHANNELS = ("t1", "flair")
EPSILON = 8.0
# Voxels of files are means of so many along each axis: heads of 2 mm are fine enough at 4 mm.
THINNED = 2
# FLAIR of the labels of `TISSUES`, of fluid and of what is outside of the brain over its T1; how
# people differ in them; and of a tissue what its T1 says.
GREYS = {1: 0.5, 2: 0.68, 3: 0.6, 4: 0.1, 5: 0.62, 6: 0.55}
FLUID, OUTSIDE, DIFFERS, AGAINST, NOISE = 0.12, 0.6, 0.03, -0.4, 0.015
# Least T1, as a part of white matter's, of a voxel beside the brain that is no fluid.
BRIGHT = 0.35
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


def run(root: Path, work: Path, medvae: Words) -> dict[str, dict[str, Any]]:
    """Model -> figures of its draws beside the people held out; a contact sheet as heads.png."""
    cohort = heads(root, 0)
    medvae(work, "tenant", "create", "bench", "--recovery-out", work / "spare")
    for name, own in (("rest", cohort.train), ("held", cohort.test)):
        write(cohort, own, work / name)
        medvae(
            work, "ingest", work / name, "-d", name, "--modality", "mri",
            "--channels", ",".join(CHANNELS), "--files-are-patients",
            "--label-scheme", ",".join(f"{n}={label}" for n, label in cohort.scheme.items()),
        )  # fmt: skip
    assert cohort.public is not None
    scheme = work / "scheme.json"
    scheme.write_text(json.dumps(dict(cohort.public.scheme)))
    medvae(
        work, "anatomy", "add", cohort.public.folder, "--name", "heads", "--label-scheme", scheme,
        "--licence", cohort.public.licence, "--source", cohort.public.source,
    )  # fmt: skip
    grid = cohort.measured
    settings = [f"data.size={list(grid.size)}", f"data.spacing={list(grid.spacing or ())}"]
    words = [word for setting in settings for word in ("--set", setting)]
    learnt, held = (_people(work / name / "images", grid.size) for name in ("rest", "held"))
    real = {
        "value": prediction.error(learnt, held, 0),
        "without_others": prediction.without_others(learnt, held),
    }
    found: dict[str, dict[str, Any]] = {"real": {"prediction_error": real}}
    rows = [_middle(held[:SHOWN])]
    for model, entry in (("anatomy", "heads"), ("cosines", "none")):
        medvae(
            work, "train", "-c", "contrasts", "-d", "rest", "--name", model, *words,
            "--set", f"anatomy.library={entry}", "--epsilon", f"{EPSILON:g}",
        )  # fmt: skip
        metrics = medvae(work, "evaluate", model, "--against", "held", "--no-baselines")["metrics"]
        metrics = {name: metrics[name] for name in FIGURES if name in metrics}
        out = work / "drawn" / model
        medvae(work, "generate", model, "-n", str(len(learnt)), "-o", out)
        drawn = _people(out, grid.size)
        metrics["prediction_error"] = {"value": prediction.error(drawn, held, 0)}
        found[model] = metrics
        rows.append(_middle(drawn[:SHOWN]))
    sheet = np.concatenate(rows)
    Image.fromarray(np.uint8(127.5 * (sheet + 1))).save(work / "heads.png")
    return found


def write(cohort: Cohort, people: People, folder: Path) -> None:
    """A folder as a hospital has it: one file a contrast, and labels."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for subject, scans in people.items():
        case = f"case{subject.replace('_', '')}"
        t1, flair, labels, affine = contrasts(cohort, scans[0])
        for name, voxels in zip(CHANNELS, (t1, flair), strict=True):
            image = nib.Nifti1Image(np.float32(1000 * voxels), affine)
            nib.save(image, folder / "images" / f"{case}_{name}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / "labels" / f"{case}.nii.gz")


def contrasts(
    cohort: Cohort, scan: Scan
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """T1 and FLAIR [X, Y, Z] in [0, 1], labels, and affine of one person's thinned head."""
    volume = cohort.read(scan)
    assert volume.mask is not None
    labels = volume.mask
    random = np.random.default_rng([len(labels), int(volume.voxels.sum()) % 2**31])
    t1 = volume.voxels.astype(np.float64)
    t1 /= max(float(np.percentile(t1, 99.5)), 1e-6)
    brain = labels > 0
    flair = OUTSIDE * t1
    # Round the brain, what is dark in T1 is fluid.
    near = ndimage.binary_dilation(brain, iterations=4) & ~brain
    flair[near & (t1 < BRIGHT * np.median(t1[labels == 1]))] = FLUID
    for label, grey in GREYS.items():
        own = labels == label
        if own.any():
            varies = t1[own] - np.median(t1[own])
            flair[own] = grey + DIFFERS * random.standard_normal() + AGAINST * varies
    flair = ndimage.gaussian_filter(np.maximum(flair, 0.0), 0.6)
    flair += NOISE * random.standard_normal(flair.shape) * (t1 > 0.02)
    affine = np.asarray(volume.affine @ np.diag([THINNED, THINNED, THINNED, 1.0]))
    affine[:3, 3] += volume.affine[:3, :3] @ np.full(3, (THINNED - 1) / 2.0)
    return _thinned(t1), _thinned(np.maximum(flair, 0.0)), _likeliest(labels), affine


def _blocks(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[X, Y, Z, THINNED^3] voxels of each thinner one."""
    x, y, z = (n // THINNED for n in voxels.shape)
    kept = voxels[: x * THINNED, : y * THINNED, : z * THINNED]
    cells = kept.reshape(x, THINNED, y, THINNED, z, THINNED).transpose(0, 2, 4, 1, 3, 5)
    return cells.reshape(x, y, z, -1)


def _thinned(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(_blocks(voxels).mean(axis=-1))


def _likeliest(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    cells = _blocks(labels)
    counts = np.stack([(cells == label).sum(axis=-1) for label in range(len(GREYS) + 1)])
    return np.asarray(counts.argmax(axis=0), np.uint8)


def _people(folder: Path, size: tuple[int, int, int]) -> prediction.Volumes:
    """[n, C, X, Y, Z] of a folder, on a grid of so many voxels."""
    found = prediction.people(folder, [f"_{name}" for name in CHANNELS])
    return np.stack([[crop_or_pad(one, size, "edge") for one in person] for person in found])


def _middle(volumes: prediction.Volumes) -> npt.NDArray[Any]:
    """[C X', n Y'] an axial slice of each person, a row a contrast."""
    slices = volumes[..., volumes.shape[-1] * 3 // 5]
    return np.concatenate(
        [np.concatenate([np.kron(one.T[::-1], np.ones((UP, UP))) for one in row], axis=1)
         for row in slices.transpose(1, 0, 2, 3)]
    )  # fmt: skip
