"""A catalogue of many objects: how long opening, a commit and a reading take, and their memory.

Rows are committed as the vault commits them, with sealed parts of chance in place of data keys and
without their ciphertexts: a catalogue reads and proves them alike. Each figure is of a process of
its own, which opens the tenant.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from medvae.vault import Vault, catalogue
from medvae.vault.catalogue import Row

ROOT = Path(__file__).parent.parent
COUNTS, QUICK = (1_000, 100_000, 1_000_000), (1_000, 10_000)
BATCH = 100_000
# Bytes of a sealed data key and name, as one has them.
SEALED = 120


def run(quick: bool) -> dict[str, Any]:
    """Seconds and MiB by number of objects."""
    found = []
    for count in QUICK if quick else COUNTS:
        top = Path(tempfile.mkdtemp(prefix="bench-catalogue-"))
        try:
            found.append({"objects": count} | _one(top, count))
        finally:
            shutil.rmtree(top)
        print(", ".join(f"{name} {value:g}" for name, value in found[-1].items()))
    return {"catalogue": found}


def _one(top: Path, count: int) -> dict[str, float]:
    Vault(top / "vault").create_tenant("t", identity=top / "key", recovery=top / "spare").close()
    built = _asked(top, "fill", count)
    size = (top / "vault" / "t" / catalogue.FILE).stat().st_size
    opened = _asked(top, "open", count)
    return {
        "build_s": built["seconds"],
        "file_mib": size / 2**20,
        "open_s": opened["seconds"],
        "commit_s": opened["commit"],
        "open_mib": opened["mib"],
    }


def _asked(top: Path, what: str, count: int) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    words = [sys.executable, __file__, str(top), what, str(count)]
    done = subprocess.run(words, env=environment, capture_output=True, check=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _fill(top: Path, count: int) -> dict[str, float]:
    began = time.monotonic()
    with contextlib.closing(Vault(top / "vault").open("t", identity=top / "key")) as tenant:
        session = tenant._session
        for start in range(0, count, BATCH):
            with session.writer(2.0), session.write_tx() as (connection, _, change):
                for _ in range(start, min(start + BATCH, count)):
                    row = _row()
                    catalogue.insert(connection, row)
                    change.add(row)
    return {"seconds": time.monotonic() - began}


def _row() -> Row:
    one = os.urandom
    return Row(one(16), "volume", 1, one(32), 1 << 20, one(32), 1, 1, one(SEALED))


def _open(top: Path, count: int) -> dict[str, float]:
    """Open, look every object up, and commit one more."""
    began = time.monotonic()
    with contextlib.closing(Vault(top / "vault").open("t", identity=top / "key")) as tenant:
        session = tenant._session
        with session.read_tx() as (connection, _):
            assert len(session.index(connection).rows) >= count
        opened = time.monotonic() - began
        tenant.put("note", b"one more", name="one")
        committed = time.monotonic() - began - opened
    # ru_maxrss is in KiB on Linux.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": opened, "commit": committed, "mib": most}


if __name__ == "__main__":
    folder, step, size = sys.argv[1:]
    print(json.dumps({"fill": _fill, "open": _open}[step](Path(folder), int(size))))
