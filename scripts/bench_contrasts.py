"""Several contrasts of each patient, drawn together: correlation between channels, and distances.

By the command line, as a hospital would: for each seed the cases are split, a fourth held out;
the others are ingested with their contrasts as channels, a model is trained on them, and its draws
are evaluated beside the cases held out. A small network that predicts FLAIR from the other
contrasts is trained on the draws, and on the patients that the model learnt from, and tested on
the cases held out. Made-up cohorts (contrasts/made.py), and heads and hearts with masks in
two contrasts (contrasts/masked.py), go the same way once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contrasts import made, masked, prediction

from medvae.errors import UsageError

CHANNELS = "t1,t1ce,t2,flair"
EPSILONS = (8.0, 3.0)
HELD_OUT = 0.25
# Part of the error of a network trained on patients by which one trained on draws may be worse.
WORSE = 0.1
FIGURES = ("channel_correlation", "texture_frechet", "texture_precision", "texture_recall")
PREDICTION = "prediction_error"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument(
        "--only", choices=["brats", *masked.COHORTS, *made.COHORTS], help="one cohort"
    )
    parser.add_argument("--sheets", type=Path, help="keep pictures of made-up cohorts here")


def main(quick: bool, only: str | None = None, sheets: Path | None = None) -> dict[str, Any]:
    """machine, results and targets; a table on stdout."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    judged: list[dict[str, Any]] = []
    if only in (None, "brats"):
        results = brats(1 if quick else 3)
        judged = targets(results)
    for name in (one for one in made.COHORTS if only in (None, one)):
        with tempfile.TemporaryDirectory() as work:
            results[name] = made.run(name, Path(work), medvae)
            if sheets is not None:
                sheets.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(work) / f"{name}.png", sheets)
        print(f"\n{name}")
        for figure, both in results[name].items():
            print(f"  {figure:20} {both['value']:9.3f}  real {both['real']:9.3f}")
    for name in (one for one in masked.COHORTS if only in (None, one)):
        results[name] = with_masks(name, sheets)
    machine = {"processor": platform.machine(), "cores": os.cpu_count()}
    return {"machine": machine, "results": results, "targets": judged}


def with_masks(cohort: str, sheets: Path | None) -> dict[str, Any]:
    """Figures of a cohort with masks, by the model that draws it."""
    with tempfile.TemporaryDirectory() as work:
        found = masked.run(cohort, real_data(), Path(work), medvae)
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(work) / f"{cohort}.png", sheets)
    for model, figures in found.items():
        print(f"\n{cohort}, {model}")
        for name, figure in figures.items():
            beside = f"  real {figure['real']:9.3f}" if figure.get("real") is not None else ""
            print(f"  {name:28} {figure['value']:9.3f}{beside}")
    return found


def real_data() -> Path:
    """The folder of real cohorts."""
    root = os.environ.get("MEDVAE_REAL_DATA")
    if not root:
        raise UsageError("set MEDVAE_REAL_DATA to the folder of real cohorts")
    return Path(root)


def brats(seeds: int) -> dict[str, Any]:
    """Figures of the real cohort, means over splits."""
    root = real_data()
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as work:
            one_seed(root / "mri_brats_cubes", Path(work), seed, found)
    results = {row: summary(each) for row, each in found.items()}
    show(results)
    return results


def one_seed(source: Path, work: Path, seed: int, results: dict[str, list[dict[str, Any]]]) -> None:
    """Add the figures of one split of the cases."""
    cases = sorted({path.name[:-12] for path in (source / "imagesTr").glob("*_0000.nii.gz")})
    np.random.default_rng(seed).shuffle(cases)
    held = int(HELD_OUT * len(cases))
    parts = {"held": cases[:held], "rest": cases[held:]}
    medvae(work, "tenant", "create", "bench", "--recovery-out", work / "spare")
    for name, own in parts.items():
        (work / name / "imagesTr").mkdir(parents=True)
        shutil.copy(source / "dataset.json", work / name)
        for path in (p for case in own for p in (source / "imagesTr").glob(f"{case}_*")):
            shutil.copy(path, work / name / "imagesTr")
        medvae(
            work, "ingest", work / name, "-d", name, "--modality", "mri", "--channels", CHANNELS,
            "--files-are-patients",
        )  # fmt: skip
    numbers = [f"_{own:04}" for own in range(len(CHANNELS.split(",")))]
    held_out, learnt = (prediction.people(work / name / "imagesTr", numbers) for name in parts)
    real = {
        "real": prediction.error(learnt, held_out, seed),
        "without_others": prediction.without_others(learnt, held_out),
    }
    for epsilon in EPSILONS:
        model, began = f"m{epsilon:g}", time.perf_counter()
        medvae(
            work, "train", "-c", "contrasts", "-d", "rest", "--name", model,
            "--epsilon", f"{epsilon:g}",
        )  # fmt: skip
        seconds = time.perf_counter() - began
        metrics = medvae(work, "evaluate", model, "--against", "held")["metrics"]
        figures = {name: metrics[name] for name in FIGURES}
        medvae(work, "generate", model, "-n", str(len(learnt)), "-o", work / "drawn" / model)
        drawn = prediction.people(
            work / "drawn" / model, [f"_{name}" for name in CHANNELS.split(",")]
        )
        figures[PREDICTION] = {"value": prediction.error(drawn, held_out, seed), **real}
        results.setdefault(f"epsilon {epsilon:g}", []).append(figures | {"seconds": seconds})


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Predicting a channel: the error of draws over that of patients, less 1."""
    found = []
    for row, figures in results.items():
        value = figures[PREDICTION]["value"] / figures[PREDICTION]["real"] - 1.0
        found.append(
            {
                "name": f"{row}: error of FLAIR predicted after draws, over real's",
                "value": value,
                "target": f"<= {WORSE:g}",
                "met": value <= WORSE,
            }
        )
    return found


def medvae(work: Path, *words: str | Path) -> dict[str, Any]:
    """Run the command line in a vault of its own; the JSON that it prints."""
    command = [sys.executable, "-m", "medvae", "--vault", work / "vault", "--identity", work / "id"]
    ran = subprocess.run(
        [*map(str, command), *map(str, words), "--json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def summary(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds: of draws, of real halves, and of the correlation of each pair."""
    found: dict[str, Any] = {"seconds": float(np.mean([one["seconds"] for one in each]))}
    for name in FIGURES:
        found[name] = mean([one[name] for one in each], ("value", "real"))
    found[PREDICTION] = mean([one[PREDICTION] for one in each], ("value", "real", "without_others"))
    pairs = [one["channel_correlation"]["pairs"] for one in each]
    found["pairs"] = {
        pair: mean([one[pair] for one in pairs], ("synthetic", "real")) for pair in pairs[0]
    }
    return found


def mean(rows: list[dict[str, Any]], sides: tuple[str, ...]) -> dict[str, float]:
    """Each side's mean."""
    return {side: float(np.mean([row[side] for row in rows])) for side in sides}


def show(results: dict[str, Any]) -> None:
    """The tables."""
    for row, found in results.items():
        print(f"\n{row} ({found['seconds']:.0f} s to train)")
        for name in FIGURES:
            print(f"  {name:20} {found[name]['value']:9.3f}  real {found[name]['real']:9.3f}")
        own = found[PREDICTION]
        print(f"  {PREDICTION:20} {own['value']:9.3f}  real {own['real']:9.3f}  ", end="")
        print(f"without the other channels {own['without_others']:.3f}")
        for pair, both in found["pairs"].items():
            print(f"  {pair:20} {both['synthetic']:9.2f}  real {both['real']:9.2f}")
