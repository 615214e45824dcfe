"""How fast the vault is: sealing, disks, rotation, opening, an epoch of training from it.

Speeds "a core" are plaintext bytes by seconds of processor time of the one thread that
does the work. All else is by the clock, the best of several turns (what else runs on the
machine can only slow a turn down), with the turns of what is compared alternating.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medvae.vault import Tenant, Vault, bytestore, format, objects
from medvae.vault.catalogue import Row, insert
from medvae.vault.scan import scan

VOLUME = 157_000_000  # bytes: a CT of 512 x 512 x 300 voxels of 16 bits


def best(action: Callable[[], object], turns: int, clock: Callable[[], float]) -> float:
    """The shortest time of an action, in seconds, after one turn that does not count."""
    action()
    times = []
    for _ in range(turns):
        started = clock()
        action()
        times.append(clock() - started)
    return min(times)


def memory(size: int, turns: int) -> dict[str, float]:
    """Seal and open in memory with buffers that are reused, GB/s of plaintext."""
    key, bound = format.new_key(), format.context("bench")
    data, out = os.urandom(size), bytearray(size)
    message = b"".join(bytes(piece) for piece in format.seal(key, bound, data))
    view = memoryview(message)
    pieces = [view[at : at + format.PIECE] for at in range(0, len(message), format.PIECE)]

    def seal() -> None:
        for _ in format.seal(key, bound, data):
            pass

    def unseal() -> None:
        format.unseal_into(key, bound, pieces, memoryview(out))

    def digest() -> None:
        bytestore.hashed(pieces)

    return {
        "seal_gb_s": size / best(seal, turns, time.thread_time) / 1e9,
        "open_gb_s": size / best(unseal, turns, time.thread_time) / 1e9,
        # What a put costs beyond sealing and writing: the ciphertext's SHA-256.
        "sha256_gb_s": size / best(digest, turns, time.thread_time) / 1e9,
    }


def disk(tenant: Tenant, folder: Path, size: int, turns: int) -> dict[str, float]:
    """put and get against a plain write with fsync and a plain read, alternating."""
    data = os.urandom(size)
    plain = folder / "plain"
    times: dict[str, list[float]] = {"put": [], "write": [], "get": [], "read": []}

    def write() -> None:
        plain.unlink(missing_ok=True)
        fd = os.open(plain, os.O_WRONLY | os.O_CREAT, 0o600)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
        os.close(fd)

    def put() -> None:
        tenant.put("volume", data, name="bench", replace=True)

    actions = {
        "write": write,
        "put": put,
        "read": plain.read_bytes,
        "get": lambda: tenant.get_buffer("volume", tenant.find("volume", "bench") or ""),
    }
    for turn in range(turns + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if turn:
                times[name].append(time.perf_counter() - started)
    least = {name: min(values) for name, values in times.items()}
    plain.unlink()
    return {
        **{f"{name}_gb_s": size / value / 1e9 for name, value in least.items()},
        "put_against_write": least["write"] / least["put"],
        "get_against_read": least["read"] / least["get"],
    }


def fill(tenant: Tenant, count: int) -> None:
    """Put `count` rows into the catalogue without files: only keys and rows are timed."""
    session = tenant._session
    with session.write_tx() as (connection, keys, change):
        for at in range(count):
            row = Row(os.urandom(16), "volume", 1, None, 72, bytes(32), keys.number, 1, b"")
            if at % 10 == 0:
                row = Row(
                    os.urandom(16), "dataset", 1, objects.lookup(keys, "dataset", str(at)), 72,
                    bytes(32), keys.number, 1, b"",
                )  # fmt: skip
            name = str(at) if row.lookup is not None else None
            row = objects.seal_row(keys, row, format.new_key(), name)
            insert(connection, row)
            change.add(row)


def catalogue(vault: Vault, tenant: Tenant, keys: Path, count: int) -> dict[str, float]:
    """Rotation, opening and verification of a large catalogue, seconds."""
    fill(tenant, count)
    tenant.rotate()  # the first one fills the page cache
    started, used = time.perf_counter(), time.process_time()
    tenant.rotate()
    rotated, used = time.perf_counter() - started, time.process_time() - used

    def opening() -> None:
        vault.open(tenant.name, identity=keys).close()

    def answering() -> None:
        opened = vault.open(tenant.name, identity=keys)
        opened.find("dataset", "0")
        opened.close()

    with tenant._session.read_tx() as (connection, held):
        started = time.perf_counter()
        scan(connection, held).prove()
        checked = time.perf_counter() - started
    started = time.perf_counter()
    found = len(tenant.names("dataset"))
    return {
        "objects": count,
        "rotate_s": rotated,
        "rotate_processor_s": used,
        "open_s": best(opening, 9, time.perf_counter),
        "first_answer_s": best(answering, 3, time.perf_counter),
        "prove_rows_s": checked,
        "names_s": time.perf_counter() - started,
        "names": found,
    }


def epoch(tenant: Tenant, volumes: int, size: int, compute: float) -> dict[str, float]:
    """An epoch whose volumes come from the vault against one whose volumes are in memory.

    compute: seconds of work a volume, as a DP step of a small model on two cores has.
    """
    held = [os.urandom(size) for _ in range(volumes)]
    ids = [tenant.put("volume", data) for data in held]

    def work(data: bytes | bytearray) -> None:
        until = time.perf_counter() + compute
        while time.perf_counter() < until:
            hash(bytes(data[:4096]))

    def from_memory() -> None:
        for data in held:
            work(bytearray(data))

    buffer = bytearray(size)

    def from_vault() -> None:
        for object_id in ids:
            tenant.get_into("volume", object_id, buffer)
            work(buffer)

    first = best(from_memory, 5, time.perf_counter)
    second = best(from_vault, 5, time.perf_counter)
    return {"memory_s": first, "vault_s": second, "ratio": second / first, "compute_s": compute}


def target(name: str, value: float, limit: str, met: bool) -> dict[str, Any]:
    """One line of the outcome."""
    return {"name": name, "value": value, "target": limit, "met": met}


def main(quick: bool) -> dict[str, Any]:
    """Run; with `quick` on smaller data."""
    size = VOLUME // (8 if quick else 1)
    turns = 3 if quick else 7
    count = 10_000 if quick else 100_000
    top = Path(tempfile.mkdtemp(prefix="bench-vault-"))
    try:
        vault = Vault(top / "vault")
        tenants = {
            name: vault.create_tenant(name, identity=top / "id", recovery=top / f"{name}.recovery")
            for name in ("disk", "catalogue", "epoch")
        }
        results = {
            "memory": memory(size, turns),
            "disk": disk(tenants["disk"], top, size, turns),
            "catalogue": catalogue(vault, tenants["catalogue"], top / "id", count),
            "epoch": epoch(tenants["epoch"], 8, 4_000_000, 0.1),
        }
    finally:
        shutil.rmtree(top)
    for part, figures in results.items():
        print(part, {name: round(value, 4) for name, value in figures.items()})
    return {"machine": machine(), "results": results, "targets": targets(results, count)}


def targets(results: dict[str, dict[str, float]], count: int) -> list[dict[str, Any]]:
    """The results against what was promised."""
    memory, disk = results["memory"], results["disk"]
    rotate, opening = results["catalogue"]["rotate_s"], results["catalogue"]["open_s"]
    answer = results["catalogue"]["first_answer_s"]
    ratio = results["epoch"]["ratio"]
    return [
        target("seal, GB/s a core", memory["seal_gb_s"], ">= 3", memory["seal_gb_s"] >= 3),
        target("open, GB/s a core", memory["open_gb_s"], ">= 3", memory["open_gb_s"] >= 3),
        target(
            "put / plain write",
            disk["put_against_write"],
            ">= 0.8",
            disk["put_against_write"] >= 0.8,
        ),
        target(
            "get / plain read", disk["get_against_read"], ">= 0.8", disk["get_against_read"] >= 0.8
        ),
        target(f"{count} keys re-wrapped, s", rotate, "< 5", rotate < 5),
        target(f"catalogue of {count} opened, s", opening, "< 0.05", opening < 0.05),
        target(f"first answer from {count} proven rows, s", answer, "< 3", answer < 3),
        target("epoch from vault / from RAM", ratio, "<= 1.05", ratio <= 1.05),
    ]


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
