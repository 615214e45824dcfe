"""`medvae train` by 1, 2 and 4 processes, by TLS and torchrun: same model, one debit, time; kills.

A run's noise comes from a secret that is drawn when the run begins. So one `medvae train` is
stopped between its beginning and its debit, and each training goes on from a copy of that vault.
Kills (SIGKILL) come at random moments of a training by two processes, to one of them by chance;
each training is killed up to four times and then goes on in peace by one, two or three processes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np

import medvae
from medvae.cli.main import run as command_line
from medvae.model import Artifact

ROOT = Path(__file__).parent.parent
SHAPE, SPACING = (24, 24, 16), (6.0, 6.0, 9.0)
PATIENTS, FEW, KILLS, QUICK_KILLS, MOST = 16, 5, 50, 2, 4
# Trainings by each way.
TURNS = 3
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0")
SETTINGS = (
    *("data.size=[24, 24, 16]", "data.spacing=[6, 6, 9]", "anatomy.library=patients"),
    *("anatomy.share=0.8", "atlas.share=0", "prior.share=0", "finetune.share=0.2"),
    *("atlas.samples=2", "atlas.steps=1", "finetune.steps=2"),
)
CONFIG = str(ROOT / "configs" / "quick.yaml")
TRAIN = ("train", "-c", CONFIG, "-d", "phantoms", "--name", "m")
TRAIN = (*TRAIN, "--small-cohort", *(word for one in SETTINGS for word in ("--set", one)))

Outcome = tuple[dict[str, bytes], int]


def begun(place: Path, patients: int) -> Path:
    """A vault with made-up patients, whose run has not been debited."""
    cohort(place, patients)
    with mock.patch("medvae.privacy.Ledger.debit", side_effect=KeyboardInterrupt):
        _here(place, *TRAIN, code=130)
    return place


def cohort(place: Path, patients: int) -> None:
    """A vault with made-up patients: an ellipsoid in a body, a volume with a label map of each."""
    chance = np.random.default_rng(patients)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    for folder in ("images", "labels"):
        (place / "scans" / folder).mkdir(parents=True)
    for patient in range(patients):
        radii = np.array([0.5, 0.35, 0.4]) * np.exp(chance.normal(0, 0.1, 3))
        away = np.linalg.norm((grid.T - chance.normal(0, 0.08, 3)) / radii, axis=-1).T
        labels = np.where(away < 0.5, 2, np.where(away < 1, 1, 0)).astype(np.uint8)
        image = 200 + 300 * (labels > 0) + 200 * (labels > 1) + chance.normal(0, 20, SHAPE)
        for folder, voxels in (("images", image.astype(np.int16)), ("labels", labels)):
            written = nib.Nifti1Image(voxels, np.diag([*SPACING, 1.0]))
            nib.save(written, place / "scans" / folder / f"p{patient}.nii.gz")
    scans = place / "scans"
    _here(place, "tenant", "create", "t", "--recovery-out", str(place / "spare"))
    given = ("--labels", str(scans / "labels"), "--label-scheme", "1=outer,2=inner")
    declared = ("-d", "phantoms", "--modality", "mri", "--files-are-patients")
    _here(place, "ingest", str(scans / "images"), *given, *declared)


def _here(place: Path, *words: str, code: int = 0) -> None:
    where = ("--vault", str(place / "vault"), "--identity", str(place / "key"), "-q")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        found = command_line([*words, *where])
    if found != code:
        raise SystemExit(f"medvae {words[0]} ended with exit code {found}: {said.getvalue()}")


def started(place: Path, *words: str) -> subprocess.Popen[str]:
    """A training that goes on from the vault of `place`."""
    where = ("--vault", str(place / "vault"), "--identity", str(place / "key"), "--json")
    return _process("-m", "medvae", *TRAIN, "--resume", *words, *where)


def _process(*words: str, out: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(place: Path, process: subprocess.Popen[str]) -> Outcome:
    """Tensors of the model and the number of debits."""
    _, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a training failed: {said}")
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    tensors = Artifact.from_bytes(tenant.get_named("model", "m")).tensors
    debits = len(tenant.journal("ledger").entries())
    tenant.close()
    found = {name: one.numpy().tobytes() for name, one in tensors.items()}
    return found, debits


def clocked(place: Path, workers: int, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """As `started`, with a clock: what it finds is in `place`/clock.json. workers 0: torchrun;
    below 0: over TLS.
    """
    return training(place, "resume", workers, CONFIG, SETTINGS, launcher)


def training(
    place: Path,
    run: str,
    workers: int,
    config: str,
    settings: Sequence[str],
    launcher: tuple[str, ...] = (),
) -> subprocess.Popen[str]:
    """`scale_training.py`; run: "resume" or "begin"."""
    words = (str(place), run, config, "m", str(workers), str(place / "clock.json"), *settings)
    return _process(*launcher, str(Path(__file__).with_name("scale_training.py")), *words)


def throughput(top: Path, quick: bool) -> list[dict[str, Any]]:
    """Trainings for each way of splitting one; of several the one with the least wall seconds.

    All ways take turns, so that other work on the machine meets each of them.
    """
    start = begun(top / "begun", FEW if quick else PATIENTS)
    ways: dict[str, tuple[int, tuple[str, ...]]] = {
        "1 process": (1, ()),
        "2 processes": (2, ()),
        "2 processes over TLS": (-2, ()),
        "4 processes": (4, ()),
        "torchrun, 2 ranks": (0, TORCHRUN),
    }
    best: dict[str, dict[str, Any]] = {}
    expected: dict[str, bytes] = {}
    for _ in range(1 if quick else TURNS):
        for name, (workers, launcher) in ways.items():
            place = Path(shutil.copytree(start, top / name))
            tensors, debits = finished(place, clocked(place, workers, launcher))
            expected = expected or tensors
            row = {"way": name, "same": tensors == expected, "debits": debits}
            row |= json.loads((place / "clock.json").read_text(encoding="utf-8"))
            print(row, flush=True)
            shutil.rmtree(place)
            best[name] = _better(best.get(name), row)
    return list(best.values())


def _better(kept: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """Of two trainings by one way the least figures of each clock, and whatever was wrong in one.

    Wall and processor seconds are looked at apart: other work lengthens both.
    """
    if kept is None:
        return row
    faster = kept if kept["seconds"] <= row["seconds"] else row
    debits = kept["debits"] if kept["debits"] != 1 else row["debits"]
    together = {"same": kept["same"] and row["same"], "debits": debits}
    return faster | together | {"busiest": min(kept["busiest"], row["busiest"])}


def ceiling() -> float:
    """How many times the work of one process two do, on this machine: plain arithmetic in each.

    The best of some turns, as trainings are.
    """
    one = min(_arithmetic(1) for _ in range(TURNS))
    return 2.0 * one / min(_arithmetic(2) for _ in range(TURNS))


def _arithmetic(count: int) -> float:
    """Wall seconds of the longest of so many processes that start at once."""
    work = (
        "import time, numpy as np; a = np.random.default_rng(0).random((96, 96, 96));"
        "began = time.perf_counter();"
        "[np.fft.ifftn(np.fft.fftn(a) * 0.5) for _ in range(20)];"
        "print(time.perf_counter() - began)"
    )
    running = [_process("-c", work, out=subprocess.PIPE) for _ in range(count)]
    return max(float(one.communicate()[0]) for one in running)


def kills(top: Path, quick: bool) -> dict[str, Any]:
    """Random kills of a worker or of the first process, until there were enough."""
    start, chance = begun(top / "few", FEW), random.Random(0)  # noqa: S311  moments of killing
    place = Path(shutil.copytree(start, top / "calm"))
    began = time.monotonic()
    expected, _ = finished(place, started(place, "--workers", "2"))
    whole = time.monotonic() - began
    wanted = QUICK_KILLS if quick else KILLS
    counts = {"kills": 0, "trainings": 0, "same": 0, "one_debit": 0, "of_a_worker": 0}
    while counts["kills"] < wanted:
        place = Path(shutil.copytree(start, top / f"killed{counts['trainings']}"))
        for _ in range(min(MOST, wanted - counts["kills"])):
            process = started(place, "--workers", "2")
            time.sleep(chance.uniform(0.5, whole))
            listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            others = [int(one) for one in listed.read_text().split()] if listed.exists() else []
            worker = bool(others) and chance.random() < 0.5
            if process.poll() is not None:
                break
            os.kill(others[0] if worker else process.pid, signal.SIGKILL)
            process.communicate()
            counts["kills"] += 1
            counts["of_a_worker"] += worker
        number = str(1 + counts["trainings"] % 3)
        tensors, debits = finished(place, started(place, "--workers", number))
        counts["trainings"] += 1
        counts["same"] += tensors == expected
        counts["one_debit"] += debits == 1
        print(counts, flush=True)
        shutil.rmtree(place)
    return counts


def run(quick: bool) -> dict[str, Any]:
    """Both."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        load, most = os.getloadavg()[0], ceiling()
        rows = throughput(Path(folder), quick)
        found = {"processes": rows, "load": load, "ceiling": most}
        return found | {"kills": kills(Path(folder), quick)}
