"""Many volumes and patients: time and memory of ingest, verify, plan, budget as commands.

Ten tiny volumes a patient. Each verb runs in a process of its own, whose peak resident memory
(with that of its own children) is taken from the system. A verb is linear where a thousand volumes
of the largest data set take at most 1.5 times what a thousand of the smallest take.
"""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pages

from medvae.privacy import Ledger, Mechanism, Plan, epsilon
from medvae.vault import Tenant, Vault

ROOT = Path(__file__).parent.parent
SIZES, QUICK, ALL = (1000, 2000, 4000), (200, 400), (20_000,)
A_PATIENT, EDGE, RUNS = 10, 8, 10
LINEAR, MEMORY = 1.5, 1 << 30


def add_arguments(parser: Any) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks/load.md")
    parser.add_argument("--all", action="store_true", help="20,000 volumes of 2,000 patients, too")


def scans(folder: Path, count: int) -> Path:
    """So many NIfTI files of independent voxels, and the table that says whose they are."""
    folder.mkdir()
    chance = np.random.default_rng(count)
    rows = [("filename", "subject")]
    for number in range(count):
        voxels = chance.integers(0, 1000, (EDGE, EDGE, EDGE)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{number}.nii")
        rows.append((f"{number}.nii", f"P{number // A_PATIENT}"))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def verb(place: Path, *words: str) -> dict[str, float]:
    """Seconds and peak bytes of one command, which must succeed."""
    environment = {
        **os.environ,
        "MEDVAE_VAULT": str(place / "vault"),
        "MEDVAE_IDENTITY": str(place / "key"),
        "PYTHONPATH": str(ROOT),
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "medvae", "-q", *words], env=environment, cwd=place
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    # ru_maxrss is in KiB on Linux.
    return {"seconds": time.monotonic() - started, "bytes": used.ru_maxrss * 1024}


def spend(tenant: Tenant) -> None:
    """A ledger with some runs on all patients."""
    import json

    manifest = json.loads(json.loads(tenant.get_named("dataset", "d@1"))["manifest"])
    patients = sorted({entry["subject"] for entry in manifest["volumes"]})
    book = Ledger(tenant.journal("ledger"), tenant.epsilon_limit, delta=tenant.delta)
    one = Mechanism("a", 1.0, 1, 20.0)
    made = Plan(epsilon([one], tenant.delta), tenant.delta, len(patients), (one,), {})
    for run in range(RUNS):
        book.debit(f"run{run}", made, patients, "d@1")


def load(count: int) -> dict[str, Any]:
    """Every verb on a data set of so many volumes."""
    top = Path(tempfile.mkdtemp(prefix="bench-load-"))
    try:
        source = scans(top / "scans", count)
        verb(top, "tenant", "create", "t", "--recovery-out", "spare")
        table = str(source / "subjects.csv")
        given = (str(source), "-d", "d", "--modality", "mri", "--subjects", table)
        found = {"ingest": verb(top, "ingest", *given)}
        tenant = Vault(top / "vault").open("t", identity=top / "key")
        spend(tenant)
        tenant.close()
        found["ingest again"] = verb(top, "ingest", *given)
        found["verify"] = verb(top, "verify")
        found["verify --read-data"] = verb(top, "verify", "--read-data")
        found["plan"] = verb(top, "plan", "-c", "quick", "-d", "d")
        found["budget"] = verb(top, "budget")
        found["dataset list"] = verb(top, "dataset", "list")
        return {"volumes": count, "patients": count // A_PATIENT, "verbs": found}
    finally:
        shutil.rmtree(top)


def main(quick: bool, all: bool = False, docs: bool = False) -> dict[str, Any]:
    """Run; with `quick` on fewer volumes."""
    results = []
    for count in (*(QUICK if quick else SIZES), *(ALL if all else ())):
        results.append(load(count))
        for name, used in results[-1]["verbs"].items():
            print(f"{count:6} {name:20} {used['seconds']:8.1f} s {used['bytes'] / 2**20:6.0f} MiB")
    outcome = {"machine": machine(), "results": results, "targets": targets(results)}
    if docs:
        pages.write("load", made(outcome))
    return outcome


def made(outcome: dict[str, Any]) -> str:
    """What the page shows of a run: seconds and peak memory of each verb at each size."""
    results, machine = outcome["results"], outcome["machine"]
    head = ["verb", *(f"{one['volumes']:,} volumes" for one in results)]
    rows = [[f"`{name}`", *(_cell(one["verbs"][name]) for one in results)]
            for name in results[0]["verbs"]]  # fmt: skip
    return (
        f"{pages.table(head, rows)}\n\nSeen on {machine['system']}, Python {machine['python']}, "
        f"{machine['cores']} cores."
    )


def _cell(used: dict[str, float]) -> str:
    return f"{used['seconds']:.1f} s, {used['bytes'] / 2**20:.0f} MiB"


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Linear in time, and a bound on memory."""
    first, last = results[0], results[-1]
    found = []
    for name, used in last["verbs"].items():
        few = first["verbs"][name]["seconds"] / first["volumes"]
        growth = used["seconds"] / last["volumes"] / few
        found.append(_target(f"{name}: seconds a volume, growth", growth, LINEAR))
    most = max(used["bytes"] for used in last["verbs"].values())
    found.append(_target("largest verb, GiB", most / 2**30, MEMORY / 2**30))
    return found


def _target(name: str, value: float, most: float) -> dict[str, Any]:
    return {"name": name, "value": value, "target": f"<= {most:g}", "met": value <= most}


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": pages.system(),
    }
