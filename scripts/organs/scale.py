"""Seconds and memory of training and drawing whole heads, by voxel size; each in its own process.

    python -m organs.scale train|draw FOLDER SPACING PATIENTS

prints one line of JSON. Heads of 2 mm are resampled, so that every size shows the same people.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from scipy import ndimage

from medvae import api
from organs.cohorts import Cohort, People, Scan, heads
from organs.product import DATASET, MODEL, Product

SPACINGS = (4.0, 2.0, 1.0)
# Two cohorts of each size: what one patient more costs is the slope between them.
FEW, MORE = 2, 6
FIELD_MM = (176, 240, 240)
# The network costs the same whatever the anatomy model does.
NETWORK = ("model.preset=tiny", "atlas.samples=2", "atlas.steps=2", "finetune.steps=1")


def rows(folder: Path, spacings: Sequence[float] = SPACINGS) -> list[dict[str, Any]]:
    """One row a voxel size, each number of a process of its own."""
    root = Path(os.environ["MEDVAE_REAL_DATA"])
    cohort = heads(root, fold=0)
    assert cohort.public is not None
    Product(cohort, folder).add("public", cohort.public)
    found = []
    for spacing in spacings:
        few, more = (_child("train", folder, spacing, n) for n in (FEW, MORE))
        drawn = _child("draw", folder, spacing, MORE)
        each = (more["seconds"] - few["seconds"]) / (MORE - FEW)
        found.append(
            {
                "spacing": spacing,
                "voxels": int(np.prod(_size(spacing))),
                "patient_seconds": each,
                "fixed_seconds": few["seconds"] - FEW * each,
                "train_gib": more["gib"],
                "draw_seconds": drawn["seconds"],
                "draw_gib": drawn["gib"],
            }
        )
        print(
            f"{spacing:g} mm: {each:.1f} s a patient, {more['gib']:.1f} GiB;"
            f" drawn in {drawn['seconds']:.1f} s, {drawn['gib']:.1f} GiB",
            flush=True,
        )
    return found


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds a patient and to draw one, against voxels; a line of slope 1 is linear."""
    figure, axis = plt.subplots(figsize=(5.2, 4.2), layout="constrained")
    voxels = np.array([row["voxels"] for row in rows], float)
    for key, name in (("patient_seconds", "a patient"), ("draw_seconds", "one drawn")):
        axis.plot(voxels, [row[key] for row in rows], "o-", label=name)
    axis.plot(voxels, rows[0]["patient_seconds"] * voxels / voxels[0], ":", color="#888888")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("voxels of a head")
    axis.set_ylabel("seconds (dotted: linear in voxels)")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """100 heads at 2 mm in half an hour and 4 GiB; one drawn at 1 mm in 5 s and 3 GiB."""
    at = {row["spacing"]: row for row in rows}
    two, one = at.get(2.0), at.get(1.0)
    minutes = None if two is None else (two["fixed_seconds"] + 100 * two["patient_seconds"]) / 60
    wanted = [
        ("heads: minutes to train on 100 at 2 mm", minutes, 30.0),
        ("heads: GiB to train at 2 mm", None if two is None else two["train_gib"], 4.0),
        ("heads: seconds to draw one at 1 mm", None if one is None else one["draw_seconds"], 5.0),
        ("heads: GiB to draw one at 1 mm", None if one is None else one["draw_gib"], 3.0),
    ]
    return [
        {"name": name, "value": v, "target": f"< {most:g}", "met": v is not None and v < most}
        for name, v, most in wanted
    ]


def _child(what: str, folder: Path, spacing: float, patients: int) -> dict[str, float]:
    words = [sys.executable, "-m", "organs.scale", what, str(folder), str(spacing), str(patients)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    if done.returncode:
        raise RuntimeError(f"organs.scale {what} at {spacing:g} mm failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _resampled(cohort: Cohort, people: People, spacing: float, folder: Path) -> People:
    """The same people with voxels of this size, written to a folder."""
    found: People = {}
    for subject, scans in people.items():
        scan = scans[0]
        volume = cohort.read(scan)
        zoom = np.asarray(volume.spacing) / spacing
        assert volume.mask is not None
        image = ndimage.zoom(
            volume.voxels.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True
        )
        mask = ndimage.zoom(volume.mask, zoom, order=0, mode="nearest", grid_mode=True)
        affine = volume.affine @ np.diag([*(1 / zoom), 1.0])
        paths = folder / scan.image.name, folder / f"labels-{scan.image.name}"
        for values, path in zip((image, mask), paths, strict=True):
            nib.save(nib.Nifti1Image(values, affine), path)
        found[subject] = [Scan(*paths)]
    return found


def _train(folder: Path, spacing: float, patients: int) -> float:
    """Seconds of `train` alone, which leaves a tenant with the model."""
    cohort = heads(Path(os.environ["MEDVAE_REAL_DATA"]), fold=0)
    chosen = dict([*cohort.train.items()][:patients])
    grid = cohort.drawn.model_copy(update={"size": _size(spacing), "spacing": (spacing,) * 3})
    # What is written has its labels merged already.
    merged = dataclasses.replace(cohort, merged=None, drawn=grid, overrides=NETWORK)
    product = Product(merged, folder)
    keys = _keys(folder, spacing, patients)
    shutil.rmtree(keys, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        people = _resampled(cohort, chosen, spacing, Path(place))
        session = product.tenant(keys, "public", f"scale {spacing}")
        product.ingest(session, people)
    started = time.perf_counter()
    session.train(
        cohort.preset,
        DATASET,
        MODEL,
        epsilon=8.0,
        overrides=product.settings("public"),
        small_cohort=True,
    )
    return time.perf_counter() - started


def _draw(folder: Path, spacing: float, patients: int) -> float:
    keys = _keys(folder, spacing, patients)
    session = api.open(
        folder / "public", Product.tenant_name(f"scale {spacing}"), identity=keys / "identity"
    )
    times = []
    with tempfile.TemporaryDirectory() as place:
        # Every call opens the library first: one volume more is what drawing costs.
        for count in (1, 3):
            started = time.perf_counter()
            session.generate(MODEL, count, Path(place) / str(count), seed=1)
            times.append(time.perf_counter() - started)
    return (times[1] - times[0]) / 2


def _size(spacing: float) -> tuple[int, ...]:
    """Voxels along each axis, in fours, as the network wants them."""
    return tuple(4 * round(mm / spacing / 4) for mm in FIELD_MM)


def _keys(folder: Path, spacing: float, patients: int) -> Path:
    return folder / f"keys-{spacing:g}-{patients}"


if __name__ == "__main__":
    work = {"train": _train, "draw": _draw}[sys.argv[1]]
    seconds = work(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "gib": kib / 2**20}))
