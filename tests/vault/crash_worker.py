"""Works on a vault until it is killed, and tells what was committed, a line at a time.

python crash_worker.py ROOT SEED. Each line on stdout is written after the call returned, so
what a line says must be true afterwards, whenever the kill came.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from medvae.vault import Tenant, Vault

KINDS = ("ingest", "checkpoint", "rotate", "reseal", "delete", "journal", "subject-erase")


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def contents(seed: int) -> bytes:
    """The contents of an object are known from its seed."""
    rng = random.Random(seed)
    return rng.randbytes(rng.choice([10, 5_000, 200_000, 1_500_000]))


def ingest(tenant: Tenant, rng: random.Random) -> None:
    count, seed = rng.randrange(1, 4), rng.getrandbits(40)
    name = f"set-{seed}@1"
    say(try_="put", name=name)
    with tenant.transaction():
        ids = [tenant.put("volume", contents(seed + at)) for at in range(count)]
        manifest = json.dumps({"volumes": {one: seed + at for at, one in enumerate(ids)}})
        tenant.put("dataset", manifest.encode(), name=name)
    say(did="put", name=name)


def checkpoint(tenant: Tenant, rng: random.Random) -> None:
    step = int(tenant.get_named("checkpoint", "run")[:12]) + 1
    say(try_="checkpoint", step=step)
    with tenant.writer(5):
        tenant.put("checkpoint", f"{step:012}".encode() + contents(step), name="run", replace=True)
    say(did="checkpoint", step=step)


def erase_set(tenant: Tenant, rng: random.Random) -> None:
    names = tenant.names("dataset")
    if not names:
        return
    name = rng.choice(names)
    say(try_="delete", name=name)
    manifest = json.loads(tenant.get_named("dataset", name))
    with tenant.transaction():
        for object_id in manifest["volumes"]:
            tenant.delete("volume", object_id)
        tenant.delete("dataset", tenant.find("dataset", name) or "")
    say(did="delete", name=name)


def step(tenant: Tenant, rng: random.Random) -> None:
    kind = rng.choice(KINDS)
    if kind == "ingest":
        ingest(tenant, rng)
    elif kind == "checkpoint":
        checkpoint(tenant, rng)
    elif kind == "rotate":
        epoch = tenant.rotate()
        say(did="rotate", epoch=epoch)
    elif kind == "reseal":
        tenant.reseal()
        say(did="reseal")
    elif kind == "journal":
        record = str(rng.getrandbits(64))
        say(try_="journal", record=record)
        tenant.journal("ledger").append(record.encode())
        say(did="journal", record=record)
    else:
        erase_set(tenant, rng)


def main(root: Path, seed: int) -> None:
    rng = random.Random(seed)
    tenant = Vault(root / "vault").open("clinic", identity=root / "identity")
    say(did="open")
    while True:
        step(tenant, rng)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
