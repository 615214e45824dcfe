"""Kill a worker at a random moment, then check that the vault holds all that it must."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash_worker import contents

from medvae.vault import Tenant, Vault

WORKER = Path(__file__).with_name("crash_worker.py")


@dataclass
class Expected:
    """What the worker's lines say must be there; `maybe` was under way at a kill."""

    datasets: set[str] = field(default_factory=set)
    checkpoint: int = 0
    records: list[str] = field(default_factory=list)
    epoch: int = 1

    def run(self, line: dict[str, Any]) -> None:
        """Take in one line that says what was done."""
        did = line.get("did")
        if did == "put":
            self.datasets.add(line["name"])
        elif did == "delete":
            self.datasets.discard(line["name"])
        elif did == "checkpoint":
            self.checkpoint = line["step"]
        elif did == "journal":
            self.records.append(line["record"])
        elif did == "rotate":
            self.epoch = max(self.epoch, line["epoch"])


def prepare(root: Path) -> None:
    """A vault with one tenant, for workers to work on."""
    tenant = Vault(root / "vault").create_tenant(
        "clinic", identity=root / "identity", recovery=root / "recovery"
    )
    tenant.put("checkpoint", b"000000000000" + contents(0), name="run")
    tenant.close()


def kill_once(root: Path, seed: int, longest: float) -> list[dict[str, Any]]:
    """Start a worker, kill -9 it within `longest` seconds of work; its lines."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), str(root), str(seed)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert worker.stdout is not None
    first = worker.stdout.readline()
    time.sleep(random.Random(seed).random() * longest)
    worker.send_signal(signal.SIGKILL)
    rest = worker.stdout.read()
    worker.wait()
    assert worker.returncode == -signal.SIGKILL, f"the worker failed by itself: {seed}"
    lines = [json.loads(line) for line in (first + rest).splitlines() if line.endswith(b"}")]
    assert lines[0] == {"did": "open"}, f"the worker could not open the vault: {lines}"
    return lines


def check(root: Path, expected: Expected, lines: list[dict[str, Any]]) -> None:
    """Everything that was committed reads back; what was under way is there whole or not."""
    for line in lines:
        expected.run(line)
    last = lines[-1] if "try_" in lines[-1] else {}
    tenant = Vault(root / "vault").open("clinic", identity=root / "identity")
    _datasets(tenant, expected, last)
    raw = tenant.get_named("checkpoint", "run")
    step = int(raw[:12])
    allowed = {expected.checkpoint, last.get("step", expected.checkpoint)}
    assert step in allowed, (step, allowed)
    assert raw[12:] == contents(step)
    expected.checkpoint = step
    records = [record.decode() for record in tenant.journal("ledger").entries()]
    if records != expected.records:
        assert records == [*expected.records, last.get("record")]
        expected.records = records
    assert tenant.epoch >= expected.epoch
    report = tenant.verify(read_data=True)
    assert report.damaged == []
    assert tenant.verify_log().valid
    with tenant.writer(1):  # the lock is free, and the next writer clears up by itself
        assert list((tenant.root / "tmp").iterdir()) == []
        ring = json.loads((tenant.root / "keyring.json").read_text())
        assert len(ring["epochs"]) == 1
    tenant.close()


def _datasets(tenant: Tenant, expected: Expected, last: dict[str, Any]) -> None:
    found = set(tenant.names("dataset"))
    if found != expected.datasets:
        assert found ^ expected.datasets == {last.get("name")}
        expected.datasets = found
    volumes: set[str] = set()
    for name in found:
        manifest = json.loads(tenant.get_named("dataset", name))
        for object_id, seed in manifest["volumes"].items():
            assert tenant.get("volume", object_id) == contents(seed), object_id
            volumes.add(object_id)
    assert set(tenant.ids("volume")) == volumes, "half of a transaction"
