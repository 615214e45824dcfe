"""Another process of a training: opens its share of the patients, measures it, ends with the first.

`python -m medvae.api.follower FD` is what `medvae train --workers` starts, with more words what
`medvae work` starts on another machine; `follow` is what a rank of torchrun calls. It writes
nothing and holds no identity.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medvae.api import agreement
from medvae.api.launched import launched
from medvae.errors import AccessError, MedvaeError
from medvae.progress import SILENT

if TYPE_CHECKING:
    from medvae.api.crew import Job
    from medvae.api.records import Manifest
    from medvae.config import RunConfig
    from medvae.privacy.link import Link
    from medvae.privacy.turns import Count
    from medvae.vault import Tenant
    from medvae.vault.copied import Copy

_INTERRUPTED = 130


@dataclass(frozen=True)
class Elsewhere:
    """What a process on another machine than the first knows; nothing of it came from there.

    Attributes:
        side: a link to `medvae work`, which asks for turns and hears of a failure.
        threads: of this process.
        processes: of this training on this machine.
        store: of the tenant's objects: "local" (in the vault's folder) or an address.
        vault: the folder of the vault on this machine.
    """

    side: Link
    threads: int
    processes: int
    store: str
    vault: Path


class _Given:
    """The checkpoint that all processes go on from; the first one alone writes new ones."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data

    def load(self) -> bytes | None:
        return self._data

    def save(self, data: bytes) -> None:
        return None


def follow() -> bool:
    """Take part in the training that rank 0 of this torchrun leads; returns when that is done.

    Returns:
        False, at once, where this process is no other rank of torchrun than the first.

    Raises:
        UsageError: the ranks run on several machines.
        AccessError: rank 0 has ended, or is not on this machine. Else what this rank failed with.
    """
    own = launched()
    if own is None or own.rank == 0:
        return False
    from medvae.privacy.link import Link

    _serve(Link(own.connect(), "the first process of this training"))
    return True


def main() -> None:
    """Serve the socket that the command line names, and leave with an exit code."""
    from medvae.privacy.link import Link

    descriptor, *far = sys.argv[1:]
    link = Link(socket.socket(fileno=int(descriptor)), "the first process of this training")
    elsewhere = None
    if far:
        side, threads, processes, store, vault = far
        beside = Link(socket.socket(fileno=int(side)), "medvae work")
        elsewhere = Elsewhere(beside, int(threads), int(processes), store, Path(vault))
    try:
        _serve(link, elsewhere)
    except Exception as error:  # noqa: BLE001  sent over the socket
        if elsewhere is not None:
            elsewhere.side.fail(error)
        sys.exit(error.exit_code if isinstance(error, MedvaeError) else MedvaeError.exit_code)


def _serve(link: Link, elsewhere: Elsewhere | None = None) -> None:
    over = threading.Event()
    threading.Thread(target=_end_with, args=(link, over), daemon=True).start()
    try:
        link.send({"code": agreement.code(), "processor": agreement.processor()})
        job, _ = link.receive("job")
        if job["job"] is not None:
            _work(link, cast("Job", job["job"]), elsewhere)
        link.receive("end")
        over.set()
        link.send({"bye": True})
    except BaseException as error:
        over.set()
        link.fail(error)
        raise
    finally:
        link.close()


def _end_with(link: Link, over: threading.Event) -> None:
    """End this process when the first one is gone: it holds patients' data for that one alone."""
    link.wait_for_end()
    if not over.is_set():
        print("medvae: the first process of this training has ended", file=sys.stderr, flush=True)
        os._exit(_INTERRUPTED)


def _work(link: Link, job: Job, elsewhere: Elsewhere | None) -> None:
    """Open the share, and train in step with the first process."""
    import json

    import torch

    from medvae import train as stage
    from medvae.api import anatomy_choice, datasets, runs
    from medvae.api.patients import SealedPatients, TenantCheckpoint
    from medvae.config import RunConfig
    from medvae.privacy import Plan
    from medvae.privacy.ranks import OtherRank

    torch.set_num_threads(job["threads"] if elsewhere is None else elsewhere.threads)
    tenant = _open(link, job, elsewhere)
    run = json.loads(tenant.get_named("run", job["run"]))
    cfg, plan = RunConfig.model_validate_json(job["config"]), Plan.from_json(run["plan"])
    manifest = datasets.load(tenant, run["dataset"])
    patients = SealedPatients(tenant, manifest, cfg.data)
    key = runs.run_key(tenant, run, plan, manifest)
    init, anatomy = runs.init(tenant, run["init"], cfg, plan), anatomy_choice.of_run(tenant, cfg)
    saved = TenantCheckpoint(tenant, run["name"]).load()
    at_once = _room(manifest, cfg, job["count"], elsewhere)
    state = agreement.state_of(plan.digest(), datasets.digest(manifest), cfg, saved)
    link.send({"step": "ready", "state": state})
    with _turns(link, elsewhere) as turns:
        ranks = OtherRank(link, job["rank"], job["count"], plan.patients, turns)
        patients.check(SILENT, ranks)
        # Nothing is measured for a run that is not debited.
        link.receive("go")
        stage.train(
            cfg,
            plan,
            patients,
            key=key,
            init=init,
            anatomy=anatomy,
            checkpoint=_Given(saved),
            device=job["device"],
            ranks=ranks,
            threads=at_once,
        )


def _room(manifest: Manifest, cfg: RunConfig, count: int, elsewhere: Elsewhere | None) -> int:
    """Patients that this process measures at a time. AccessError: this machine holds none."""
    from medvae.api import room

    here = count if elsewhere is None else elsewhere.processes
    # Whether this run is debited already the first process alone knows.
    return room.threads(manifest["volumes"], cfg, here, count, resumed=True)


@contextmanager
def _turns(link: Link, elsewhere: Elsewhere | None) -> Iterator[Count]:
    """The count that all processes of the run take turns from."""
    from medvae.privacy.turns import AskedCount, SharedCount

    if elsewhere is None:
        with contextlib.closing(SharedCount(link.given())) as shared:
            yield shared
        return
    side = elsewhere.side

    def ask(number: int) -> int:
        side.send({"take": number})
        answer, _ = side.receive("turn")
        return int(answer["turn"])

    yield AskedCount(ask)


def _open(link: Link, job: Job, elsewhere: Elsewhere | None) -> Tenant:
    from medvae.vault.follow import Asking, follow

    def ask(sealed: bytes, bound: bytes, public: bytes) -> bytes | None:
        asked = {"sealed": sealed.hex(), "bound": bound.hex(), "public": public.hex()}
        link.send({"step": "unwrap"} | asked)
        message, _ = link.receive("unwrapped")
        secret = message["unwrapped"]
        if secret is not None and not isinstance(secret, str):
            raise AccessError("the first process of this training sent no key")
        return None if secret is None else bytes.fromhex(secret)

    provider = Asking(job["fingerprint"], job["pins"], ask)
    if elsewhere is None:
        return follow(Path(job["folder"]), job["tenant"], provider)
    # The folder is this machine's user's: no path is taken from the other machine.
    copy = _copy(link, elsewhere.store)
    return follow(elsewhere.vault / job["tenant"], job["tenant"], provider, copy)


def _copy(link: Link, store: str) -> Copy:
    """The sealed key ring and catalogue that the first process has sent."""
    from medvae.privacy.link import MOST_BODY
    from medvae.vault.copied import Copy

    head, body = link.receive("copy", MOST_BODY)
    ring = int(head["copy"])
    return Copy(bytes(body[:ring]), bytes(body[ring:]), store)


if __name__ == "__main__":
    main()
