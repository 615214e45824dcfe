"""Eight processes at once on one tenant, and signals at any moment of a command."""

from __future__ import annotations

import collections
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks_faults import Ground

from medvae.errors import BudgetError, MedvaeError
from medvae.privacy import Ledger, Mechanism, Plan, epsilon
from medvae.vault import Vault

Count = collections.Counter[str]
PROCESSES = 8
LIMIT = 2.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130


def crowd(root: Path, quick: bool) -> Iterator[tuple[str, str, Count]]:
    """Name, what is expected, and how the trials ended."""
    rounds = 1 if quick else 10
    yield "eight processes store at once", "no effect", storing(root / "store", rounds)
    yield "eight processes debit one limit at once", "found", spending(root / "spend", rounds)
    if sys.platform == "linux":
        yield "a signal at any moment of a command", "found", signals(root / "signals", quick)


def storing(root: Path, rounds: int) -> Count:
    """Objects, journals and rotations by eight processes: nothing that was said done is missing."""
    seen: Count = collections.Counter()
    for turn in range(rounds):
        place = root / str(turn)
        _tenant(place)
        said = _together(place, _store)
        tenant = Vault(place / "vault").open("t", identity=place / "key")
        records = [one.decode() for one in tenant.journal("work").entries()]
        sound = not tenant.verify(read_data=True).damaged and tenant.verify_log().valid
        for mark, outcome in said:
            held = f"{mark}" in records and tenant.find("volume", f"{mark}") is not None
            if outcome == "done":
                seen["no effect" if held and sound else "lost"] += 1
            else:
                print(f"{outcome}: {mark}", file=sys.stderr)
                seen[outcome] += 1
        tenant.close()
    return seen


def _store(place: Path, mark: int) -> str:
    tenant = Vault(place / "vault").open("t", identity=place / "key")
    with tenant.writer(60):
        tenant.put("volume", f"{mark}".encode() * 1000, name=f"{mark}")
    tenant.journal("work").append(f"{mark}".encode())
    if mark % 4 == 0:
        tenant.rotate()
    tenant.close()
    return "done"


def spending(root: Path, rounds: int) -> Count:
    """Eight debits of which only some fit: the rest is refused, and the sum stays below the limit.

    The trial of a process is `silent` where its debit passes the limit or is not in the ledger.
    """
    seen: Count = collections.Counter()
    for turn in range(rounds):
        place = root / str(turn)
        _tenant(place)
        said = _together(place, _spend)
        tenant = Vault(place / "vault").open("t", identity=place / "key")
        book = Ledger(tenant.journal("ledger"), LIMIT)
        spent = book.spent()
        done = sum(outcome == "done" for _, outcome in said)
        true = spent.spent <= LIMIT and spent.events == done
        for _, outcome in said:
            seen[("no effect" if true else "silent") if outcome == "done" else outcome] += 1
        tenant.close()
    return seen


def _spend(place: Path, mark: int) -> str:
    one = Mechanism("a", 1.0, 1, 4.0)
    plan = Plan(epsilon([one], 1e-5), 1e-5, 1, (one,), {})
    tenant = Vault(place / "vault").open("t", identity=place / "key")
    try:
        Ledger(tenant.journal("ledger"), LIMIT).debit(f"run{mark}", plan, ["S1"], "d@1")
        return "done"
    except BudgetError:
        return "found"
    finally:
        tenant.close()


def _tenant(place: Path) -> None:
    place.mkdir(parents=True)
    made = {"identity": place / "key", "recovery": place / "spare"}
    Vault(place / "vault").create_tenant("t", **made).close()


def _together(place: Path, work: Any) -> list[tuple[int, str]]:
    """What each of eight processes says: done, found (refused) or defect."""
    context = multiprocessing.get_context("fork")
    barrier, said = context.Barrier(PROCESSES), context.Queue()
    crowd = [
        context.Process(target=_one, args=(place, mark, work, barrier, said))
        for mark in range(PROCESSES)
    ]
    for one in crowd:
        one.start()
    found = [said.get(timeout=300) for _ in crowd]  # a deadlock ends here
    for one in crowd:
        one.join()
    return sorted(found)


def _one(place: Path, mark: int, work: Any, barrier: Any, said: Any) -> None:
    try:
        barrier.wait()
        outcome = work(place, mark)
    except Exception as error:  # noqa: BLE001  a defect is what is counted
        print(f"defect: {type(error).__name__}: {error}", file=sys.stderr)
        outcome = "defect"
    said.put((mark, outcome))


def signals(root: Path, quick: bool) -> Count:
    """SIGINT or SIGTERM at a random moment: one line and exit code 130, or done; never more."""
    ground = Ground.make(root)
    chance = random.Random(1)  # noqa: S311  a repeatable choice
    seen: Count = collections.Counter()
    for verb in (("--version",), ("verify", "--read-data"), ("keys", "rotate"), _ingest(ground)):
        place, started = ground.copy(), time.monotonic()
        assert ground.run(place, verb).returncode == 0
        takes = time.monotonic() - started
        for _ in range(1 if quick else 40):
            outcome = _signalled(
                ground, verb, chance.uniform(0.0, 0.7 * takes), chance.choice(SIGNALS)
            )
            seen[outcome] += 1
    return seen


def _ingest(ground: Ground) -> tuple[str, ...]:
    return ("ingest", str(ground.root / "scans"), "-d", "f", "--modality", "mri",
            "--files-are-patients")  # fmt: skip


def _begun(process: subprocess.Popen[str]) -> bool:
    """Wait until the process answers SIGTERM itself: before, Python is not ours to speak for."""
    bit = 1 << (signal.SIGTERM - 1)
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught & bit:
            return True
        time.sleep(0.002)
    return False


def _signalled(ground: Ground, verb: tuple[str, ...], after: float, number: int) -> str:
    place = ground.copy()
    environment = {
        **os.environ,
        "MEDVAE_VAULT": "vault", "MEDVAE_TENANT": "a", "MEDVAE_IDENTITY": "key",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "medvae", "-q", *verb], cwd=place, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if not _begun(process):
        process.kill()
        return "defect"
    time.sleep(after)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if "Traceback" in said or process.returncode not in (0, INTERRUPTED):
        print(f"defect: {verb[0]} {number} {process.returncode}: {said[-500:]}", file=sys.stderr)
        return "defect"
    try:
        tenant = Vault(place / "vault").open("a", identity=place / "key")
        sound = not tenant.verify(read_data=True).damaged and tenant.verify_log().valid
        tenant.close()
    except MedvaeError as error:
        print(f"lost: {error}", file=sys.stderr)
        return "lost"
    if not sound:
        return "lost"
    if process.returncode == 0:
        return "no effect"
    return "found" if said.count("\n") == 1 and "interrupted" in said else "silent"
