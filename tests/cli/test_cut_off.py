"""A deletion that was cut off between its commit and the end of the old keys."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from medvae.vault import keyring

from .conftest import DECLARED, Clinic

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)


def killed_at_save(clinic: Clinic, number: int, *words: str) -> None:
    """Run a command in a copy of this process that is killed while it writes the key ring."""
    child = os.fork()
    if child == 0:
        real, left = keyring.save, number

        def save(folder: Path, ring: keyring.Keyring) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                (folder / f".{keyring.FILE}.0123456789abcdef.tmp").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            real(folder, ring)

        keyring.save = save
        clinic(*words, ok=False)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_repeated_deletion_destroys_what_a_kill_has_left(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    folder = clinic.root / "vault" / "clinic"
    killed_at_save(clinic, 2, "dataset", "delete", "d", "--yes")
    assert clinic("dataset", "list").json["datasets"] == []
    assert len(json.loads((folder / keyring.FILE).read_bytes())["epochs"]) == 2
    assert list(folder.glob(".keyring*"))
    assert clinic("dataset", "delete", "d", "--yes", ok=False).code == 7
    assert len(json.loads((folder / keyring.FILE).read_bytes())["epochs"]) == 1
    assert list(folder.glob(".keyring*")) == []
