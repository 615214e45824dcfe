"""The kill test through the real command: vault, ledger, sealed checkpoints, every stage.

A run can be compared bit for bit with another only if both draw the same noise, and a run's
secret is drawn when it begins. So one `medvae train` is stopped after it has sealed its run and
secret and before it has debited anything; the vault as it stands then is copied for every
training, and each copy goes on with `medvae train --resume`, killed again and again. One copy is
left in peace: it is the reference.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

import medvae

# Loaded once, before any child is made: all of them run the same code, however long this takes.
import medvae.train
from medvae.cli.main import run as medvae_cli
from medvae.model import Artifact
from medvae.privacy import Ledger

CONFIG = Path(__file__).parents[1] / "configs" / "quick.yaml"
PATIENTS, MODEL = 6, "killed"

# Kills of one training, after which it is let through.
MOST = 4

# A checkpoint after every step, so that a kill finds work to resume in the middle of a stage.
TRAIN = ["train", "-c", str(CONFIG), "-d", "phantoms", "--name", MODEL, "--small-cohort"]
TRAIN += ["--set", "compute.checkpoint_every=1", "--set", "finetune.steps=6", "--quiet"]


def command(folder: Path, *words: str) -> None:
    """One command on the vault of `folder`; SystemExit when it fails."""
    where = ["--vault", str(folder / "vault"), "--identity", str(folder / "identity")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = medvae_cli([*where, *words])
    if code != 0:
        raise SystemExit(f"medvae {words[0]}: {said.getvalue()}")


def prepare(folder: Path) -> None:
    """A vault with a small made-up cohort, and a run that was begun and has not debited."""
    scans = folder / "scans"
    scans.mkdir(parents=True)
    chance = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (16, 24, 16)], indexing="ij"))
    for patient in range(PATIENTS):
        radii = 0.6 * np.exp(chance.normal(0, 0.1, (3, 1, 1, 1)))
        inside = np.linalg.norm(grid / radii, axis=0) < 1
        image = 200 + 400 * inside + chance.normal(0, 20, inside.shape)
        nib.save(nib.Nifti1Image(image.astype(np.int16), np.eye(4)), scans / f"p{patient}.nii.gz")
    command(folder, "tenant", "create", "clinic", "--recovery-out", str(folder / "recovery"))
    command(
        folder, "ingest", str(scans), "-d", "phantoms", "--modality", "mri", "--files-are-patients"
    )


def begin(folder: Path) -> None:
    """`medvae train` up to the debit, and then a kill."""

    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Ledger.debit = stop  # type: ignore[method-assign]
    command(folder, *TRAIN)


def outcome(folder: Path) -> tuple[bytes, int, bool]:
    """The sealed model as bytes, the number of debits, and whether secret and state are gone."""
    tenant = medvae.open(folder / "vault", identity=folder / "identity").tenant
    left = [kind for kind in ("run-secret", "checkpoint") if tenant.find(kind, MODEL) is not None]
    return tenant.get_named("model", MODEL), len(tenant.journal("ledger").entries()), not left


def differing(artifact: bytes, expected: bytes) -> list[str]:
    """Names of the tensors of two sealed models that are not equal bit for bit."""
    ours, theirs = Artifact.from_bytes(artifact).tensors, Artifact.from_bytes(expected).tensors
    return sorted(
        name
        for name in ours.keys() | theirs.keys()
        if name not in ours or name not in theirs or not torch.equal(ours[name], theirs[name])
    )


def run(kills: int, seed: int, in_child: Callable[..., bool]) -> dict[str, Any]:
    """As `kill_train.run`; `in_child(work, after)` is its function."""
    torch.set_num_threads(1)
    chance = random.Random(seed)  # noqa: S311 - moments of killing, not secrets
    killed = runs = equal = single = clean = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        begun = root / "begun"
        prepare(begun)
        if not in_child(lambda: begin(begun), None):
            raise SystemExit("the run was not stopped before its debit")
        calm = shutil.copytree(begun, root / "calm")
        began = time.perf_counter()
        in_child(lambda: command(calm, *TRAIN, "--resume"), None)
        whole = time.perf_counter() - began
        expected, _, _ = outcome(calm)
        while killed < kills:
            runs += 1
            folder = shutil.copytree(begun, root / f"run{runs}")
            for attempt in range(MOST + 1):
                after = chance.uniform(0, whole) if attempt < MOST and killed < kills else None
                if not in_child(lambda f=folder: command(f, *TRAIN, "--resume"), after):
                    break
                killed += 1
            model, debits, nothing_left = outcome(folder)
            equal, single = equal + (model == expected), single + (debits == 1)
            if model != expected:
                print(f"run {runs} differs in {differing(model, expected)}", file=sys.stderr)
            clean += nothing_left
            shutil.rmtree(folder)
    counts = {"kills": killed, "runs": runs, "bit_identical": equal, "one_debit": single}
    return counts | {"secret_gone": clean, "seconds_alone": round(whole, 2)}
