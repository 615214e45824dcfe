"""kill -9 at random points: what was committed reads back, nothing is half, no manual step.

The suite takes a seeded sample; scripts/kill_vault.py does 1,000.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import crash_checks

KILLS = 25


def test_kills_at_random_points(tmp_path: Path) -> None:
    crash_checks.prepare(tmp_path)
    expected = crash_checks.Expected()
    for seed in range(KILLS):
        lines = crash_checks.kill_once(tmp_path, seed, longest=0.4)
        crash_checks.check(tmp_path, expected, lines)


CREATE_AND_ERASE = """
import sys
from pathlib import Path
from medvae.vault import Vault
root = Path(sys.argv[1])
vault = Vault(root / "vault")
print("ready", flush=True)
for turn in range(1000):
    name = f"{sys.argv[2]}-{turn}"
    tenant = vault.create_tenant(name, identity=root / "id", recovery=root / f"{name}.recovery")
    for _ in range(5):
        tenant.put("volume", bytes(50_000))
    tenant.close()
    print("made", name, flush=True)
    vault.erase(name)
    print("erased", name, flush=True)
"""


@pytest.mark.parametrize("seed", range(6))
def test_kills_of_creation_and_erasure(tmp_path: Path, seed: int) -> None:
    from medvae.errors import IntegrityError, NotFoundError
    from medvae.vault import Vault

    worker = subprocess.Popen(
        [sys.executable, "-c", CREATE_AND_ERASE, str(tmp_path), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    time.sleep(0.05 + 0.13 * seed)
    worker.send_signal(signal.SIGKILL)
    lines = worker.stdout.read().splitlines()
    worker.wait()
    vault = Vault(tmp_path / "vault")
    made = {line.split()[1] for line in lines if line.startswith("made")}
    erased = {line.split()[1] for line in lines if line.startswith("erased")}
    there = {one.name for one in vault.tenants()}
    assert not there & erased
    assert len(there - (made - erased)) <= 1
    for name in there:
        try:
            with vault.open(name, identity=tmp_path / "id").writer():
                pass
        except IntegrityError as error:
            # Killed while its keys were overwritten: the sentence says so.
            if "erasure" not in str(error):
                raise
            vault.erase(name)
            erased.add(name)
    there -= erased
    for name in erased:
        with pytest.raises(NotFoundError):
            vault.open(name, identity=tmp_path / "id")
    # The next creation finishes what was cut off; nothing of an erased tenant stays.
    vault.create_tenant("next", identity=tmp_path / "id", recovery=tmp_path / "next.recovery")
    assert {path.name for path in (tmp_path / "vault").iterdir()} == there | {"next"}


def test_a_key_ring_that_an_erasure_has_overwritten_is_called_that(tmp_path: Path) -> None:
    from medvae.errors import IntegrityError
    from medvae.vault import Vault

    vault = Vault(tmp_path / "vault")
    vault.create_tenant("a", identity=tmp_path / "id", recovery=tmp_path / "spare").close()
    ring = tmp_path / "vault" / "a" / "keyring.json"
    ring.write_bytes(bytes(ring.stat().st_size))
    with pytest.raises(IntegrityError, match="cut off: finish it"):
        vault.open("a", identity=tmp_path / "id")
    vault.erase("a")
    assert not ring.parent.exists()
