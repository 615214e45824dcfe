"""A full disk: which folder, how much is needed, exit code 5, and nothing half-stored."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medvae import space

from .conftest import DECLARED, QUICK, Clinic
from .test_storage import can_mount

SENTENCE = re.compile(
    r"medvae: the disk of \S+ is full: [\d.]+ (B|KiB|MiB|GiB|TiB) are free and about "
    r"[\d.]+ (B|KiB|MiB|GiB) are needed; [^:]+: make room there or name another place"
)
# A few pages of a disk, then each verb with its -o there, in one process; what is left is listed.
MOUNT = 'mount -t tmpfs -o size=16k none "$1" && exec "$0" -c "$CODE" "$@"'
EACH = """
import json, os, sys
from pathlib import Path
from medvae.cli.main import run
place, clinic, scan = map(Path, sys.argv[1:])
start = ["-q", "--vault", f"{clinic}/vault", "--identity", f"{clinic}/key"]
def tried(name, *words):
    code = run([*start, *words, "-o", str(place / name)])
    print(json.dumps([code, [str(path) for path in place.rglob("*") if path.is_file()]]))
tried("export", "dataset", "export", "phantoms")
tried("generate", "generate", "first", "-n", "3")
tried("dicom", "generate", "first", "-n", "3", "--format", "dicom")
tried("release", "release", "create", "first", "-n", "2", "--body-part", "brain")
tried("model", "model", "export", "first")
tried("script", "model", "export", "first", "--format", "torchscript")
fill = os.open(place / "fill", os.O_CREAT | os.O_WRONLY)
while os.fstatvfs(fill).f_bfree:
    os.write(fill, bytes(4096))
os.close(fill)
(place / "fill").rename(place / ".fill")
tried("latents", "encode", "first", "-i", str(scan))
tried("features.csv", "encode", "first", "--features", "-i", str(scan))
tried("again.nii", "reconstruct", "first", "-i", str(scan))
tried("sheet.png", "dataset", "preview", "phantoms")
assert run([*start, "encode", "first", "-i", str(scan), "-o", f"{clinic}/latents"]) == 0
tried("decoded.nii.gz", "decode", "first", "-i", f"{clinic}/latents")
print(run([*start, "verify", "--read-data"]))
"""


@pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="needs the right to mount")
def test_outputs_on_a_full_disk_say_what_they_need_and_leave_nothing(
    journey: Clinic, scans: Path, tmp_path: Path
) -> None:
    shutil.copytree(journey.root, tmp_path / "journey")
    place, scan = tmp_path / "small", scans / "images" / "CANARY-FILE-0-0.nii.gz"
    place.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNT, sys.executable, place, tmp_path / "journey", scan],
        env={**os.environ, "CODE": EACH, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *outcomes, verified = map(json.loads, done.stdout.splitlines())
    assert verified == 0
    assert len(outcomes) == 11
    for code, left in outcomes:
        assert code == 5, done.stderr
        assert left in ([], [str(place / ".fill")])
    said = [line for line in done.stderr.splitlines() if line.startswith("medvae: ")]
    assert len(said) == len(outcomes)
    for line in said:
        assert SENTENCE.match(line), line
        assert str(place) in line
    assert "Traceback" not in done.stderr


class Disk:
    """Writes of files that are full after so many."""

    def __init__(self, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = after
        real = Path.write_bytes

        def write(path: Path, data: bytes) -> int:
            self.left -= 1
            if self.left < 0:
                real(path, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return real(path, data)

        monkeypatch.setattr(Path, "write_bytes", write)


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (("dataset", "export", "phantoms"), 5),
        (("generate", "first", "-n", "3"), 3),
        (("release", "create", "first", "-n", "2", "--body-part", "brain"), 5),
        (("model", "export", "first"), 0),
        (("model", "export", "first", "--format", "torchscript"), 1),
    ],
)
def test_a_disk_that_fills_up_leaves_nothing_and_the_command_can_be_repeated(
    journey: Clinic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    after: int,
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(after, patch)
        refused = journey(*words, "-o", tmp_path / "out", ok=False)
        assert disk.left < 0
    assert refused.code == 5
    assert SENTENCE.match(refused.err.splitlines()[-1]), refused.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    journey(*words, "-o", tmp_path / "out")


def refuse_large(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    """No room for a write of so many bytes or more."""
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if len(data) >= least:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)


def test_an_ingest_into_a_full_vault_names_it_and_the_bytes(
    clinic: Clinic, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse_large(patch, 12_000)  # a volume has 16 x 24 x 16 voxels of two bytes, and a mask
        refused = clinic("ingest", scans, "-d", "d", *DECLARED, ok=False)
    assert refused.code == 5
    assert SENTENCE.match(refused.err.splitlines()[-1]), refused.err
    assert str(clinic.root / "vault" / "clinic") in refused.err
    assert clinic("dataset", "list").json["datasets"] == []
    report = clinic("verify", "--read-data").json
    assert (report["damaged"], report["unknown"], report["objects"]) == ([], 0, 0)
    assert clinic("ingest", scans, "-d", "d", *DECLARED).json["volumes"] == 12


def test_a_training_that_cannot_be_stored_is_refused_before_the_debit(
    clinic: Clinic, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    asked = ("train", "-c", QUICK, "-d", "d", "--name", "run")
    with monkeypatch.context() as patch:
        patch.setattr(space, "free", lambda place: 50_000)
        refused = clinic(*asked, ok=False)
    assert refused.code == 5
    assert SENTENCE.match(refused.err.splitlines()[-1]), refused.err
    assert "training was not begun" in refused.err
    assert clinic("budget").json["spent"] == 0
    assert clinic(*asked, "--resume").json["model"] == "run"


def test_a_checkpoint_without_room_costs_nothing_more(
    clinic: Clinic, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    asked = ("train", "-c", QUICK, "-d", "d", "--name", "run")
    with monkeypatch.context() as patch:
        refuse_large(patch, 30_000)
        refused = clinic(*asked, ok=False)
    assert refused.code == 5
    assert SENTENCE.match(refused.err.splitlines()[-1]), refused.err
    spent = clinic("budget").json["spent"]
    assert spent > 0
    assert clinic("verify", "--read-data").json["damaged"] == []
    clinic(*asked, "--resume")
    assert clinic("budget").json["spent"] == spent
