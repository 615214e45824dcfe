"""A CT of 512 x 512 x 300 from ingest to a drawn volume: seconds and peak memory of each verb.

Made-up bodies (skin, fat, muscle, lungs, spine, liver, spleen, kidneys as ellipsoids, noise of a
scanner), each stretched and moved a little, with the four organs as labels. No library: the
anatomy is of the patients. Each verb is a process of its own, whose peak resident memory (or
that of its largest child) the system counts.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

SHAPE, QUICK_SHAPE = (512, 512, 300), (64, 64, 40)
FIELD_MM = (380.0, 380.0, 300.0)
PATIENTS, EPSILON, MOST_GIB = 2, 8.0, 6.0
# Middle and half axes in mm from the middle of the field, and Hounsfield units; later ones lie
# over earlier ones. The four that are labels have their number.
BODY: tuple[tuple[str, Sequence[float], Sequence[float], float, int], ...] = (
    ("skin", (0, 0, 0), (168, 118, 400), -20, 0),
    ("fat", (0, 0, 0), (164, 114, 400), -100, 0),
    ("muscle", (0, 4, 0), (140, 94, 400), 45, 0),
    ("right lung", (72, -4, 150), (56, 74, 92), -820, 0),
    ("left lung", (-72, -4, 150), (56, 74, 92), -820, 0),
    ("spine", (0, 66, 0), (24, 26, 400), 320, 0),
    ("liver", (66, -6, 26), (66, 62, 56), 95, 1),
    ("spleen", (-92, 22, 34), (28, 38, 44), 110, 2),
    ("right kidney", (62, 48, -52), (26, 24, 50), 150, 3),
    ("left kidney", (-62, 48, -44), (26, 24, 50), 150, 4),
)
LABELS = tuple(name for name, _, _, _, label in BODY if label)
SETTINGS = ("model.preset=tiny", "pretrain.steps=2", "atlas.samples=2", "atlas.steps=2",
            "finetune.steps=1")  # fmt: skip
NOISE_HU = 12.0


def patient(number: int, shape: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """int16 [X, Y, Z] Hounsfield units and uint8 labels of one made-up body."""
    chance = np.random.default_rng(number)
    axes = [((np.arange(n) + 0.5) / n - 0.5) * mm for n, mm in zip(shape, FIELD_MM, strict=True)]
    stretch, moved = chance.normal(1.0, 0.05, 3), chance.normal(0.0, 6.0, 3)
    image = np.full(tuple(shape), -1000, np.int16)
    labels = np.zeros(tuple(shape), np.uint8)
    for _, middle, half, units, label in BODY:
        own = np.asarray(middle) * stretch + moved + (chance.normal(0.0, 4.0, 3) if label else 0.0)
        size = np.asarray(half) * stretch * (chance.normal(1.0, 0.06, 3) if label else 1.0)
        x, y, z = ((axis - o) ** 2 / s**2 for axis, o, s in zip(axes, own, size, strict=True))
        inside = x[:, None, None] + y[:, None] + z < 1.0
        image[inside] = units + chance.normal(0.0, 8.0)
        labels[inside] = label
    for slab in image:
        slab += chance.normal(0.0, NOISE_HU, slab.shape).astype(np.int16)
    return image, labels


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row a verb: seconds, and GiB of the largest of its processes."""
    shape = QUICK_SHAPE if quick else SHAPE
    spacing = [mm / n for mm, n in zip(FIELD_MM, shape, strict=True)]
    with tempfile.TemporaryDirectory(prefix="bench-large-") as name:
        top = Path(name)
        # A process of its own: what it starts later would inherit the peak of this one's memory.
        maker = multiprocessing.get_context("spawn").Process(target=_make, args=(top, shape))
        maker.start()
        maker.join()
        scheme = ",".join(f"{number}={label}" for number, label in enumerate(LABELS, 1))
        grid = [
            f"data.size=[{','.join(map(str, shape))}]",
            f"data.spacing=[{','.join(f'{mm:g}' for mm in spacing)}]",
        ]
        settings = [word for key in (*grid, *SETTINGS) for word in ("--set", key)]
        _verb(top, "tenant", "create", "t", "--recovery-out", "spare")
        given = ("--modality", "ct", "--files-are-patients", "--label-scheme", scheme)
        return [
            _verb(top, "ingest", "scans", "-d", "d", *given),
            _verb(top, "train", "-c", "ct", "-d", "d", "--name", "m", "--epsilon", str(EPSILON),
                  "--small-cohort", *settings),
            _verb(top, "generate", "m", "-n", "1", "-o", "drawn"),
        ]  # fmt: skip


def _make(top: Path, shape: Sequence[int]) -> None:
    """The scans of all patients as a hospital might have them."""
    spacing = [mm / n for mm, n in zip(FIELD_MM, shape, strict=True)]
    (top / "scans").mkdir()
    for number in range(PATIENTS):
        for kind, values in zip(("", "_seg"), patient(number, shape), strict=True):
            image = nib.Nifti1Image(values, np.diag([*spacing, 1.0]))
            nib.save(image, top / "scans" / f"P{number}{kind}.nii.gz")


def _verb(top: Path, *words: str) -> dict[str, Any]:
    """Run one command, which must succeed."""
    environment = os.environ | {"MEDVAE_VAULT": "vault", "MEDVAE_IDENTITY": "key"}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "medvae", "-q", *words], cwd=top, env=environment
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words[0]} ended with exit code {process.returncode}")
    # ru_maxrss is in KiB on Linux: of the process, or the largest of its children.
    row = {"verb": words[0], "seconds": time.monotonic() - started, "gib": used.ru_maxrss / 2**20}
    print(f"{row['verb']:10} {row['seconds']:8.1f} s {row['gib']:6.2f} GiB", flush=True)
    return row


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every verb within `MOST_GIB`."""
    return [
        {
            "name": f"CT of 512 x 512 x 300: GiB of {row['verb']}",
            "value": row["gib"],
            "target": f"< {MOST_GIB:g}",
            "met": row["gib"] < MOST_GIB,
        }
        for row in rows
    ]
