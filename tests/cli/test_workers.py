"""`medvae train --workers` and torchrun: real processes, one debit, and the bits of one process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import medvae
from medvae.api import agreement, crew
from medvae.errors import UsageError
from medvae.model import Artifact
from tests.anatomy.cohorts import SPACING, picture
from tests.anatomy.conftest import person, write
from tests.cli.conftest import QUICK, Clinic

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENTS = 5
SCHEME = "1=body,2=left core,3=right core,4=lens"
SITES = ("north", "south")
# Statistics of the patients' own maps and by site, then DP-SGD, then what one process does alone.
SETTINGS = (
    *("data.size=[24, 24, 16]", "data.spacing=[6, 6, 9]", "anatomy.library=patients"),
    *("anatomy.share=0.8", "atlas.share=0", "prior.share=0", "finetune.share=0.2"),
    *("atlas.samples=2", "atlas.steps=1", "finetune.steps=2", "compute.checkpoint_every=1"),
)
TRAIN = ("train", "-c", str(QUICK), "-d", "hearts", "--name", "own", "--small-cohort")
TRAIN = (*TRAIN, *(word for one in SETTINGS for word in ("--set", one)))


def command(place: Path, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A command of its own process on the vault of a folder."""
    where = ("--vault", str(place / "vault"), "--identity", str(place / "key"))
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "medvae", *words, *where, "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A runner in the background has left SIGINT ignored, which a command would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A vault whose run is sealed and not debited: each copy of it draws the same noise."""
    made = Clinic(tmp_path_factory.mktemp("workers"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    folder = made.root / "hospital"
    for seed in range(PATIENTS):
        labels, affine = person(70 + seed, SPACING)
        write(folder / "images" / f"s{seed}.nii.gz", picture(labels, seed), affine)
        write(folder / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
    rows = "".join(f"s{seed}.nii.gz,s{seed},{SITES[seed % 2]}\n" for seed in range(PATIENTS))
    (folder / "subjects.csv").write_text(f"filename,subject,site\n{rows}")
    made(
        *("ingest", folder, "-d", "hearts", "--modality", "mri", "--label-scheme", SCHEME),
        *("--sites", ",".join(SITES)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medvae.privacy.Ledger.debit", _stop)
        assert made(*TRAIN, ok=False, small=False).code == 130
    return made.root


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def copied(begun: Path, place: Path) -> Path:
    return Path(shutil.copytree(begun, place, ignore=shutil.ignore_patterns("hospital")))


def outcome(place: Path) -> tuple[dict[str, bytes], int]:
    """Tensors of the model, and how often its plan was debited."""
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    tensors = Artifact.from_bytes(tenant.get_named("model", "own")).tensors
    debits = len(tenant.journal("ledger").entries())
    left = [kind for kind in ("run-secret", "checkpoint") if tenant.find(kind, "own")]
    assert left == []
    tenant.close()
    return {name: one.numpy().tobytes() for name, one in tensors.items()}, debits


@pytest.fixture(scope="module")
def alone(begun, tmp_path_factory) -> dict[str, bytes]:
    """Tensors of the model that one process makes."""
    place = copied(begun, tmp_path_factory.mktemp("alone") / "v")
    code, _, err = finished(command(place, *TRAIN, "--resume"))
    assert code == 0, err
    tensors, debits = outcome(place)
    assert debits == 1
    return tensors


def test_workers_make_the_same_model(begun, alone, tmp_path) -> None:
    place = copied(begun, tmp_path / "v")
    code, out, err = finished(command(place, *TRAIN, "--resume", "--workers", "3"))
    assert code == 0, err
    assert json.loads(out)["model"] == "own"
    assert outcome(place) == (alone, 1)
    # What was killed after its end, and is repeated: the processes have nothing to do.
    code, again, err = finished(command(place, *TRAIN, "--resume", "--workers", "2"))
    assert code == 0, err
    assert json.loads(again)["model"] == "own"
    assert outcome(place) == (alone, 1)


def test_ranks_of_torchrun_make_the_same_model(begun, alone, tmp_path) -> None:
    place = copied(begun, tmp_path / "v")
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0")
    process = command(place, *TRAIN, "--resume", launcher=launcher)
    code, out, err = finished(process)
    assert code == 0, err
    # The first rank alone speaks.
    assert json.loads(out)["model"] == "own"
    assert outcome(place) == (alone, 1)
    code, _, err = finished(command(place, *TRAIN, "--resume", launcher=launcher))
    assert code == 0, err
    assert outcome(place) == (alone, 1)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in listed.read_text().split()]


def measuring(place: Path, process: subprocess.Popen[str]) -> list[int]:
    """The workers of a training, as soon as it has debited its run."""
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    until = time.monotonic() + 120
    while not tenant.journal("ledger").entries() and time.monotonic() < until:
        time.sleep(0.1)
    tenant.close()
    workers = children(process.pid)
    assert len(workers) == 1
    return workers


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("whom", ["worker", "first"])
def test_a_killed_process_costs_nothing_twice(begun, alone, tmp_path, whom) -> None:
    # scripts/bench scale kills at random; here it is while patients are measured.
    place = copied(begun, tmp_path / "v")
    process = command(place, *TRAIN, "--resume", "--workers", "2")
    workers = measuring(place, process)
    os.kill(workers[0] if whom == "worker" else process.pid, signal.SIGKILL)
    code, out, err = finished(process)
    assert code != 0
    if whom == "worker":
        assert code == 5, err
        assert "worker process 2 of 2 has ended (killed by signal 9)" in err
        assert "--resume" in err
        assert "worker process 2 of 2" in json.loads(out)["error"]
    # Nothing that holds patients' data is left behind.
    until = time.monotonic() + 30
    while Path(f"/proc/{workers[0]}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{workers[0]}").exists()
    code, _, err = finished(command(place, *TRAIN, "--resume", "--workers", "2"))
    assert code == 0, err
    assert outcome(place) == (alone, 1)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_an_interrupt_ends_all_and_is_one_sentence(begun, tmp_path) -> None:
    place = copied(begun, tmp_path / "v")
    process = command(place, *TRAIN, "--resume", "--workers", "2")
    workers = measuring(place, process)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    assert "medvae: interrupted" in err.splitlines()[-1]
    assert not Path(f"/proc/{workers[0]}").exists()


@pytest.mark.parametrize("count", ["0", "-1", "257", "two"])
def test_a_number_of_workers_that_is_none_is_refused(begun, tmp_path, count) -> None:
    place = copied(begun, tmp_path / "v")
    refused = Clinic(place)(*TRAIN, "--resume", f"--workers={count}", ok=False, small=False)
    assert refused.code == 2
    assert "--workers" in refused.err


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("code", "another version of medvae"),
        ("state_of", "another plan, data set or checkpoint"),
    ],
)
def test_a_process_that_does_not_fit_is_refused_before_the_debit(
    begun, tmp_path, monkeypatch, what, said
) -> None:
    place = copied(begun, tmp_path / "v")
    monkeypatch.setattr(agreement, what, lambda *_: "0" * 64)
    before = torch.get_num_threads()
    torch.set_num_threads(7)
    refused = Clinic(place)(*TRAIN, "--resume", "--workers=2", ok=False, small=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(before)
    assert threads == 7
    assert refused.code == 4
    assert said in refused.err
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    assert tenant.journal("ledger").entries() == []


RANK = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_PORT": "1",
}


def test_ranks_on_several_machines_are_refused(begun, monkeypatch) -> None:
    for key, value in (RANK | {"RANK": "0", "LOCAL_WORLD_SIZE": "1"}).items():
        monkeypatch.setenv(key, value)
    refused = Clinic(begun)(*TRAIN, "--resume", ok=False, small=False)
    assert refused.code == 2
    assert "must not leave a machine" in refused.err


def test_another_rank_than_the_first_does_not_lead(begun, monkeypatch) -> None:
    for key, value in RANK.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UsageError, match="follow_training"), crew.gathered(None):
        pass
