"""Another process of a training: opens its share of the patients, measures it, ends with the first.

`python -m medvae.api.follower FD` is what `medvae train --workers` starts; `follow` is what a rank
of torchrun calls. It writes nothing and holds no identity.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medvae.api import crew
from medvae.api.launched import launched
from medvae.errors import AccessError
from medvae.progress import SILENT

if TYPE_CHECKING:
    from medvae.privacy.link import Link
    from medvae.vault import Tenant

_INTERRUPTED = 130


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
    """Serve the socket that the command line names."""
    from medvae.privacy.link import Link

    sock = socket.socket(fileno=int(sys.argv[1]))
    # The failure is sent over the socket.
    with contextlib.suppress(Exception):
        _serve(Link(sock, "the first process of this training"))


def _serve(link: Link) -> None:
    over = threading.Event()
    threading.Thread(target=_end_with, args=(link, over), daemon=True).start()
    try:
        link.send({"code": crew.code()})
        job, _ = link.receive("job")
        if job["job"] is not None:
            _work(link, cast("crew.Job", job["job"]))
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


def _work(link: Link, job: crew.Job) -> None:
    """Open the share, and train in step with the first process."""
    import json

    import torch

    from medvae import train as stage
    from medvae.api import anatomy_choice, datasets, runs
    from medvae.api.patients import SealedPatients, TenantCheckpoint
    from medvae.config import RunConfig
    from medvae.privacy import Plan
    from medvae.privacy.ranks import OtherRank
    from medvae.privacy.turns import SharedCount

    torch.set_num_threads(job["threads"])
    tenant = _open(link, job)
    run = json.loads(tenant.get_named("run", job["run"]))
    cfg, plan = RunConfig.model_validate_json(job["config"]), Plan.from_json(run["plan"])
    manifest = datasets.load(tenant, run["dataset"])
    patients = SealedPatients(tenant, manifest, cfg.data)
    key = runs.run_key(tenant, run, plan, manifest)
    init, anatomy = runs.init(tenant, run["init"], cfg, plan), anatomy_choice.of_run(tenant, cfg)
    saved = TenantCheckpoint(tenant, run["name"]).load()
    state = crew.state_of(plan.digest(), datasets.digest(manifest), cfg, saved)
    link.send({"step": "ready", "state": state})
    with contextlib.closing(SharedCount(link.given())) as turns:
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
        )


def _open(link: Link, job: crew.Job) -> Tenant:
    from medvae.vault.follow import Asking, follow

    def ask(sealed: bytes, bound: bytes) -> bytes | None:
        link.send({"step": "unwrap", "sealed": sealed.hex(), "bound": bound.hex()})
        message, _ = link.receive("unwrapped")
        secret = message["unwrapped"]
        if secret is not None and not isinstance(secret, str):
            raise AccessError("the first process of this training sent no key")
        return None if secret is None else bytes.fromhex(secret)

    provider = Asking(job["fingerprint"], job["pins"], ask)
    return follow(Path(job["folder"]), job["tenant"], provider)


if __name__ == "__main__":
    main()
