"""A disk that refuses: one sentence with the place, exit code 5, and nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medvae import space
from medvae.cli import storage

from .conftest import DECLARED, Clinic

SMALL = """
set -e
mount -t tmpfs -o size=1m none "$1"
export MEDVAE_VAULT="$1/vault" MEDVAE_TENANT=clinic MEDVAE_IDENTITY="$2/key" CLI="$3"
run() { "$CLI" -m medvae -q "$@"; }
run tenant create clinic --recovery-out "$2/spare"
head -c 2000000 /dev/zero > "$1/fill" 2>&- || true
run ingest "$4" -d d --modality mri --label-scheme 1=outer,2=inner || echo "full $?"
rm "$1/fill"
run verify --read-data && echo clean
"""


def can_mount() -> bool:
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="needs the right to mount")
def test_a_full_disk_is_named_with_its_room_and_nothing_is_lost(
    tmp_path: Path, scans: Path
) -> None:
    words = [tmp_path / "small", tmp_path / "keys", sys.executable, scans]
    for folder in words[:2]:
        folder.mkdir(mode=0o700)
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", SMALL, "bash", *words],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "full 5" in done.stdout
    assert "clean" in done.stdout
    assert str(tmp_path / "small") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, ("is full", "iB free)", "run the same command again")),
        (errno.EDQUOT, ("is full", "iB free)")),
        (errno.EROFS, ("can only be read",)),
        (errno.EIO, ("EIO", "nothing is known to be damaged")),
        (errno.EACCES, ("the system refused",)),
    ],
)
def test_each_refusal_is_one_sentence_with_exit_code_5(
    clinic: Clinic,
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    words: tuple[str, ...],
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)

    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("medvae.vault.fileio.atomic_write", refused)
        outcome = clinic("keys", "rotate", ok=False)
    assert outcome.code == 5
    for word in words:
        assert word in outcome.err
    assert "restore" not in outcome.err
    assert clinic("verify", "--read-data").json["damaged"] == []


def test_the_place_is_the_one_with_the_least_room(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    place, free = storage.fullest(full, ["export", "d", "-o", "/proc/nowhere/x"], tmp_path)
    assert place == Path("/proc/nowhere/x")
    assert free == space.free(Path("/proc"))
    named = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a" / "b"))
    assert storage.fullest(named, [], Path("/proc"))[0] == tmp_path / "a" / "b"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("number", [1, 4])
def test_a_disk_that_refuses_while_a_catalogue_is_made_is_not_called_damage(
    tmp_path: Path, number: int
) -> None:
    """SQLite says so only to who asks what became of its journal mode."""
    inject = f"inject=fdatasync:error=ENOSPC:when={number}"
    before = ["strace", "-qq", "-o", os.devnull, "-e", "trace=fdatasync", "-e", inject]
    words = ["--vault", "v", "--identity", "key", "tenant", "create", "c", "--recovery-out", "r"]
    command = [*before, sys.executable, "-m", "medvae", *words]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = {"cwd": tmp_path, "env": path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(command, **run)
    if "PTRACE" in done.stderr:
        pytest.skip("strace is not permitted here")
    assert done.returncode == 5, done.stderr
    assert "damaged" not in done.stderr
    assert subprocess.run(command[len(before) :], **run).returncode == 0
