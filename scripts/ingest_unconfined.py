"""What the confinement of ingest costs: the same ingest with its parsers in the parent, unconfined.

    python scripts/ingest_unconfined.py confined|unconfined VAULT IDENTITY SCANS MODALITY

ingests a folder (reading, checking, de-identifying, sealing) and prints one line of JSON: seconds
by the clock, and of processor time of the process and its children. Unconfined, the jobs of the
reading process run in a thread of the parent: no process is forked, and nothing is given up.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
WAYS = ("confined", "unconfined")
# A socket that is closed ends the process of whoever answers at its other end.
KEPT: list[socket.socket] = []


def cost(scans: Path, modality: str, rounds: int) -> dict[str, float]:
    """Medians of both ways, run in turn on an empty vault each time, and their ratios."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            runs[way].append(_one(way, scans, modality))
    found: dict[str, float] = {}
    for key in ("clock_s", "processor_s"):
        ours, bare = (statistics.median(run[key] for run in runs[way]) for way in WAYS)
        found |= {key: ours, f"unconfined_{key}": bare, f"{key[:-2]}_ratio": ours / bare}
    return found


def _one(way: str, scans: Path, modality: str) -> dict[str, float]:
    import medvae

    with tempfile.TemporaryDirectory(prefix="bench-unconfined-") as name:
        top = Path(name)
        medvae.create_tenant(top / "vault", "t", identity=top / "key", recovery=top / "spare")
        words = [way, top / "vault", top / "key", scans, modality]
        done = subprocess.run(
            [sys.executable, __file__, *map(str, words)],
            check=True, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def _patch() -> None:
    """Have the jobs answered by a thread of this process."""
    from medvae.ingest import first, sandbox, worker

    class Unconfined(sandbox.Sandbox):
        def start(self) -> None:
            if self._sock is not None:
                return
            self._sock, theirs = socket.socketpair()
            KEPT.append(self._sock)
            self._process = sandbox.Worker(os.getpid(), ())
            jobs = {name: worker._load(*worker.JOBS[name]) for name in self._kinds}
            threading.Thread(target=worker._answer_jobs, args=(theirs, jobs), daemon=True).start()

        def _await_ready(self) -> socket.socket:
            self.start()
            assert self._sock is not None
            return self._sock

        def _renew(self) -> None:
            """The next source is read by the same thread."""

        def stop(self) -> None:
            """The thread ends with the process."""

    warnings.simplefilter("ignore")  # as the reading process does
    sandbox.Sandbox = Unconfined  # type: ignore[misc]
    first.started = contextlib.nullcontext  # type: ignore[assignment]
    # It would limit the processor time of all of this process.
    worker.confine.allow_cpu = lambda seconds: None


def main(way: str, vault: str, identity: str, scans: str, modality: str) -> None:
    """One ingest of one way; see the module."""
    import medvae

    if way == "unconfined":
        _patch()
    started = time.perf_counter()
    opened = medvae.open(vault, "t", identity=identity)
    made = opened.ingest([scans], "d", modality=modality, files_are_patients=True)
    assert made.volumes > 0, made
    clock = time.perf_counter() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps({"clock_s": clock, "processor_s": processor, "volumes": made.volumes}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
