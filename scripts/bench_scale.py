"""Scale: `scripts/bench scale`: processes, memory, sites, hospitals, a large catalogue, stitching.

The trainings are described in scale_processes.py, scale_memory.py, scale_sites.py and
scale_hospitals.py, the catalogue in scale_catalogue.py. For stitching, real scans and
pictures are cut in two and joined again. Each of 50 seeded cuts has its own overlap, noise, gain
and offset; half of the cuts of scans have headers that claim one place for both parts. That part
needs MEDVAE_REAL_DATA (mri_ixi_t1, rgb_skin).
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pages
import scale_catalogue
import scale_hospitals
import scale_memory
import scale_processes
import scale_sites
from bench_privacy import machine
from PIL import Image
from scale_training import BETWEEN

from medvae.errors import InputError
from medvae.stitching import Part, join
from medvae.stitching.parts import corners, translation
from medvae.volume import Volume

CUTS, QUICK_CUTS = 50, 6
# A cut of a picture after so many of scans.
EVERY = 5
COLOURS = ("red", "green", "blue")
# Standard deviations of noise, in those of the image; the least overlap, in voxels.
NOISE, LEAST = (0.0, 0.05, 0.15), 6
REGISTRATION, SEAM = 0.5, 1.5
PARTS = ["stitch", "processes", "memory", "sites", "hospitals", "catalogue"]


@dataclass(frozen=True)
class Cut:
    """What one cut gave; `seam`: error in the overlap relative to that outside it."""

    seed: int
    kind: str
    axis: int
    overlap: int
    noise: float
    start: str
    registration: float
    seam: float
    gain: float
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--only", choices=PARTS, help="the part to run")
    parser.add_argument("--docs", action="store_true", help="write the table of processes")


def main(quick: bool = False, only: str | None = None, docs: bool = False) -> dict[str, Any]:
    """All parts, or one."""
    outcome: dict[str, Any] = {"machine": machine(), "results": {}, "targets": []}
    if only in (None, "processes"):
        found = scale_processes.run(quick)
        outcome["results"] |= found
        outcome["targets"] += _of_processes(found)
        if docs:
            pages.write("scale", made(found, outcome["machine"]))
    if only in (None, "memory"):
        found = scale_memory.run(quick)
        outcome["results"] |= found
        outcome["targets"] += scale_memory.targets(found)
    if only in (None, "sites"):
        found = scale_sites.run(quick)
        outcome["results"] |= found
        outcome["targets"] += scale_sites.targets(found)
    if only in (None, "hospitals"):
        found = scale_hospitals.run(quick)
        outcome["results"] |= found
        outcome["targets"] += scale_hospitals.targets(found)
    if only in (None, "catalogue"):
        outcome["results"] |= scale_catalogue.run(quick)
    if only in (None, "stitch"):
        found = stitch(quick)
        outcome["targets"] += found.pop("targets")
        outcome["results"] |= found
    return outcome


def _of_processes(results: dict[str, Any]) -> list[dict[str, Any]]:
    rows, kills = results["processes"], results["kills"]
    speed = rows[0]["seconds"] / max(rows[1]["seconds"], 1e-9)
    work = rows[0]["busiest"] / max(rows[1]["busiest"], 1e-9)
    other = sum(not one["same"] for one in rows) + kills["trainings"] - kills["same"]
    twice = sum(one["debits"] != 1 for one in rows) + kills["trainings"] - kills["one_debit"]
    return [
        _speed("speed of 2 processes", speed),
        _speed("work of one process / of the busier of 2, processor time", work),
        _target("trainings with another model than that of one process", other, 0),
        _target("trainings without exactly one debit", twice, 0),
    ]


def _speed(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "value": value, "target": ">= 1.8", "met": value >= 1.8}


def made(results: dict[str, Any], machine: dict[str, Any]) -> str:
    """What the page shows of trainings by several processes."""
    head = [
        *("training by", "statistics, s", "busiest process, processor s"),
        *("of the first process's time: measuring", "between", "model", "debits"),
    ]
    rows = [
        [
            *(one["way"], f"{one['seconds']:.1f}", f"{one['busiest']:.1f}"),
            *(f"{1.0 - one['parts'][BETWEEN]:.0%}", f"{one['parts'][BETWEEN]:.0%}"),
            *("the same bits" if one["same"] else "ANOTHER", one["debits"]),
        ]
        for one in results["processes"]
    ]
    kills = results["kills"]
    return (
        f"{pages.table(head, rows)}\n\n"
        f"Random kills: {kills['kills']} ({kills['of_a_worker']} of a worker, the others of the "
        f"first process) in {kills['trainings']} trainings; {kills['same']} of these ended in the "
        f"same bits and {kills['one_debit']} with one debit. Seen on {machine['system']}, "
        f"{os.cpu_count()} cores, with a load of {results['load']:.1f} by other work at the "
        f"start; two processes of plain arithmetic did {results['ceiling']:.2f} times the work of "
        "one there."
    )


def stitch(quick: bool) -> dict[str, Any]:
    """Cut, join, and say how far parts were from their place."""
    root = Path(os.environ["MEDVAE_REAL_DATA"])
    scans = sorted((root / "mri_ixi_t1" / "images").glob("*.nii.gz"))
    pictures = sorted((root / "rgb_skin" / "images").glob("*.*"))
    done, refused = list[Cut](), 0
    for seed in range(QUICK_CUTS if quick else CUTS):
        of_picture = seed % EVERY == EVERY - 1
        files = pictures if of_picture else scans
        try:
            done.append(cut(seed, _picture(files[seed]) if of_picture else _scan(files[seed % 20])))
            print(done[-1], flush=True)
        except InputError as error:
            refused += 1
            print(f"cut {seed} was refused: {error}", flush=True)
    placed = sorted(one.registration for one in done)
    seams = sorted(one.seam for one in done)
    gains = sorted(one.gain for one in done)
    figures = {
        "cuts": len(done),
        "refused": refused,
        "registration_median": placed[len(placed) // 2],
        "registration_worst": placed[-1],
        "seam_median": seams[len(seams) // 2],
        "seam_worst": seams[-1],
        "gain_worst": gains[-1],
    }
    print(figures)
    targets = [
        _target("cuts refused", refused, 0),
        _target("registration error, worst corner, voxels", placed[-1], REGISTRATION),
        _target("error in the overlap / outside it, worst", seams[-1], SEAM),
    ]
    cuts = [vars(one) for one in done]
    return {**figures, "stitch": cuts, "targets": targets}


def _target(name: str, value: float, most: float) -> dict[str, Any]:
    return {"name": name, "value": value, "target": f"<= {most:g}", "met": value <= most}


def _scan(path: Path) -> Volume:
    image = nib.as_closest_canonical(nib.load(path))
    return Volume(np.asarray(image.dataobj, np.float32), image.affine.astype(float), "mri")


def _picture(path: Path) -> Volume:
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)
    return Volume(pixels.transpose(2, 1, 0)[..., None], np.eye(4), "photo", channels=COLOURS)


def cut(seed: int, whole: Volume) -> Cut:
    """One cut, and how well it was joined.

    Raises:
        InputError: the parts were refused.
    """
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(2 if whole.channels else 3))
    size = whole.shape[axis]
    overlap, end = int(rng.integers(LEAST, size // 3)), int(rng.integers(size // 3, 2 * size // 3))
    spread = float(whole.voxels.std())
    noise = float(rng.choice(NOISE))
    gain, offset = rng.uniform(0.7, 1.4), rng.uniform(-0.2, 0.2) * spread
    at = np.zeros(3)
    at[axis] = end - overlap
    trusted = not whole.channels and seed % 2 == 0
    along = axis - 3

    def part(start: int, stop: int, place: Any, scale: float, shift: float) -> Part:
        piece = np.take(whole.voxels, range(start, stop), axis=along)
        piece = scale * (piece + noise * spread * rng.standard_normal(piece.shape)) + shift
        affine = whole.affine @ translation(place)
        voxels = piece.astype(np.float32)
        return Part("part", Volume(voxels, affine, whole.modality, channels=whole.channels))

    first = part(0, end, np.zeros(3), 1.0, 0.0)
    second = part(end - overlap, size, at if trusted else np.zeros(3), gain, offset)
    began = time.perf_counter()
    joined = join([first, second])
    seconds = time.perf_counter() - began
    placed = joined.placements[1]
    found = np.linalg.inv(whole.affine) @ placed.matrix @ second.volume.affine
    where = corners(second.volume.shape)
    error = float(np.abs(where @ (found - translation(at)).T).max())
    return Cut(
        seed,
        whole.modality,
        axis,
        overlap,
        noise,
        placed.start,
        error,
        _seam(whole, joined.volume, along, end - overlap, end),
        abs(placed.gain * gain - 1),
        seconds,
    )


def _seam(whole: Volume, joined: Volume, along: int, start: int, end: int) -> float:
    """Root mean square error from the overlap's start to its end, over that of all else.

    A hundredth of the image's spread is added to both: without noise both are nearly nothing.
    """
    if whole.shape != joined.shape:
        return float("inf")
    error = np.moveaxis(joined.voxels - whole.voxels, along, 0).astype(np.float64)
    inside = np.zeros(len(error), bool)
    inside[start:end] = True
    floor = 0.01 * float(whole.voxels.std())
    inner, outer = (float(np.sqrt((error[one] ** 2).mean())) for one in (inside, ~inside))
    return (inner + floor) / (outer + floor)
