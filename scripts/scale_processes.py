"""`medvae train` by 1, 2 and 4 processes and by torchrun: same model, one debit, how long; kills.

A run's noise comes from a secret that is drawn when the run begins. So one `medvae train` is
stopped between its beginning and its debit, and each training goes on from a copy of that vault.
Kills (SIGKILL) come at random moments of a training by two processes, to one of them by chance;
each training is killed up to four times and then goes on in peace by one, two or three processes.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
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
PATIENTS, FEW, KILLS, QUICK_KILLS, MOST = 16, 5, 20, 2, 4
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0")
SETTINGS = (
    *("data.size=[24, 24, 16]", "data.spacing=[6, 6, 9]", "anatomy.library=patients"),
    *("anatomy.share=0.8", "atlas.share=0", "prior.share=0", "finetune.share=0.2"),
    *("atlas.samples=2", "atlas.steps=1", "finetune.steps=2"),
)
TRAIN = ("train", "-c", str(ROOT / "configs" / "quick.yaml"), "-d", "phantoms", "--name", "m")
TRAIN = (*TRAIN, "--small-cohort", *(word for one in SETTINGS for word in ("--set", one)))
_LINE = re.compile(r"measure .*: done in (\d+) s")

Outcome = tuple[dict[str, bytes], int, float]


def begun(place: Path, patients: int) -> Path:
    """A vault with made-up patients (an ellipsoid in a body), whose run has not been debited."""
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
    with mock.patch("medvae.privacy.Ledger.debit", side_effect=KeyboardInterrupt):
        _here(place, *TRAIN, code=130)
    return place


def _here(place: Path, *words: str, code: int = 0) -> None:
    where = ("--vault", str(place / "vault"), "--identity", str(place / "key"), "-q")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        found = command_line([*words, *where])
    if found != code:
        raise SystemExit(f"medvae {words[0]} ended with exit code {found}: {said.getvalue()}")


def started(place: Path, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A training that goes on from the vault of `place`."""
    where = ("--vault", str(place / "vault"), "--identity", str(place / "key"), "--json")
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "medvae", *TRAIN, "--resume", *words, *where],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(place: Path, process: subprocess.Popen[str]) -> Outcome:
    """Tensors of the model, the number of debits, and seconds of measuring patients."""
    _, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a training failed: {said}")
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    tensors = Artifact.from_bytes(tenant.get_named("model", "m")).tensors
    debits = len(tenant.journal("ledger").entries())
    tenant.close()
    found = {name: one.numpy().tobytes() for name, one in tensors.items()}
    return found, debits, float(sum(map(int, _LINE.findall(said))))


def throughput(top: Path, quick: bool) -> list[dict[str, Any]]:
    """One training for each way of splitting it."""
    start = begun(top / "begun", FEW if quick else PATIENTS)
    ways = {"1 process": ("--workers", "1"), "2 processes": ("--workers", "2")}
    ways |= {"4 processes": ("--workers", "4"), "torchrun, 2 ranks": ()}
    rows: list[dict[str, Any]] = []
    expected: dict[str, bytes] = {}
    for name, words in ways.items():
        place = Path(shutil.copytree(start, top / name))
        process = started(place, *words, launcher=() if words else TORCHRUN)
        tensors, debits, seconds = finished(place, process)
        expected = expected or tensors
        rows.append(
            {"way": name, "seconds": seconds, "same": tensors == expected} | {"debits": debits}
        )
        print(rows[-1], flush=True)
        shutil.rmtree(place)
    return rows


def kills(top: Path, quick: bool) -> dict[str, Any]:
    """Random kills of a worker or of the first process, until there were enough."""
    start, chance = begun(top / "few", FEW), random.Random(0)  # noqa: S311  moments of killing
    place = Path(shutil.copytree(start, top / "calm"))
    began = time.monotonic()
    expected, _, _ = finished(place, started(place, "--workers", "2"))
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
        tensors, debits, _ = finished(place, started(place, "--workers", number))
        counts["trainings"] += 1
        counts["same"] += tensors == expected
        counts["one_debit"] += debits == 1
        print(counts, flush=True)
        shutil.rmtree(place)
    return counts


def run(quick: bool) -> dict[str, Any]:
    """Both."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        load = os.getloadavg()[0]
        rows = throughput(Path(folder), quick)
        return {"processes": rows, "load": load, "kills": kills(Path(folder), quick)}
