"""The processes of one training: started or awaited, shown the run, and ended.

The first process begins the run, debits it, adds the noise and seals the model. Each other one
opens its share of the patients by itself (`medvae.api.follower`), with keys that the first one
unwraps for it, so that no passphrase and no identity leaves the first. What crosses between them
are Unix sockets' frames: ids, public constants, clipped integer sums, released numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from medvae.api.launched import Launched, launched, peer
from medvae.errors import AccessError, IntegrityError, MedvaeError, UsageError
from medvae.progress import SILENT, Progress, notify

if TYPE_CHECKING:
    from medvae.api.records import RunRecord
    from medvae.config import RunConfig
    from medvae.privacy.link import Link
    from medvae.privacy.ranks import Ranks
    from medvae.privacy.turns import SharedCount
    from medvae.vault import Tenant

MOST_WORKERS = 256
# What arithmetic may depend on, beside our own code.
_LIBRARIES = ("numpy", "scipy", "torch")
_KEY_BYTES = 1 << 16
_END_SECONDS = 10.0


class Job(TypedDict):
    """What another process must know of the run; nothing of a patient.

    Attributes:
        folder, tenant: the tenant's folder and name.
        fingerprint, pins: of what opened it.
        run: its name. `config`: settled, as JSON text. `device`: of the first process.
        rank, count, threads: which process it is, of how many, and its threads.
        state: digest of all that must be the same (see `state_of`).
    """

    folder: str
    tenant: str
    fingerprint: str
    pins: dict[str, str]
    run: str
    config: str
    device: str
    rank: int
    count: int
    threads: int
    state: str


def code() -> str:
    """Digest of this package's code and of the libraries' versions: it must be one everywhere."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256("".join(map(metadata.version, _LIBRARIES)).encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def state_of(plan: bytes, data: bytes, cfg: RunConfig, checkpoint: bytes | None) -> str:
    """Digest of what the processes of one run must have in common before it begins or goes on."""
    digest = hashlib.sha256(plan + data)
    digest.update(json.dumps(cfg.public(), sort_keys=True).encode())
    digest.update(json.dumps(cfg.compute.model_dump(mode="json"), sort_keys=True).encode())
    digest.update(hashlib.sha256(checkpoint or b"").digest())
    return digest.hexdigest()


def job(tenant: Tenant, run: RunRecord, cfg: RunConfig, device: str, state: str) -> Job:
    """The job of a run, but for the rank, which `Crew.ready` fills in."""
    from medvae.vault.follow import recipient

    fingerprint, pins = recipient(tenant)
    return Job(
        folder=str(tenant.root.absolute()),
        tenant=tenant.name,
        fingerprint=fingerprint,
        pins=pins,
        run=run["name"],
        config=cfg.model_dump_json(),
        device=device,
        rank=0,
        count=1,
        threads=1,
        state=state,
    )


class Crew:
    """The other processes of a training; none of them where it runs alone."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = links
        self._threads: int | None = None
        self._turns: SharedCount | None = None
        self._shown = False

    @property
    def count(self) -> int:
        """Processes, this one included."""
        return 1 + len(self._links)

    def ready(self, tenant: Tenant, job: Job, patients: int) -> Ranks:
        """Show each process the run; returns when all of them have opened their share.

        patients: the public number of all of them.

        Raises:
            IntegrityError: one runs other code, or sees another run.
            AccessError: one has ended. Else whatever it failed with.
        """
        import torch

        from medvae.privacy.ranks import ALONE, FirstRank
        from medvae.privacy.turns import SharedCount

        if not self._links:
            return ALONE
        self._shown = True
        self._threads = torch.get_num_threads()
        torch.set_num_threads(threads_each(self.count))
        shared = job | {"count": self.count, "threads": threads_each(self.count)}
        for rank, link in enumerate(self._links, 1):
            hello, _ = link.receive("code")
            _check(hello["code"] == code(), "another version of medvae or of its libraries")
            link.send({"job": shared | {"rank": rank}})
        for link in self._links:
            _unwrap_until_ready(tenant, link, job["state"])
        self._turns = SharedCount.fresh()
        for link in self._links:
            link.give(self._turns.descriptor)
        return FirstRank(self._links, patients, self._turns)

    def go(self) -> None:
        """The run is debited: each process may measure patients for it."""
        for link in self._links:
            link.send({"go": True})

    def restore(self) -> None:
        """Give this process back what it had before it shared the cores and the patients."""
        if self._turns is not None:
            self._turns.close()
            self._turns = None
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)

    def end(self) -> None:
        """Let each process end by itself."""
        for link in self._links:
            if not self._shown:
                # The run was done already: there is nothing to open.
                link.receive("code")
                link.send({"job": None})
            link.send({"end": True})
            link.receive("bye")


@contextmanager
def gathered(workers: int | None, progress: Progress = SILENT) -> Iterator[Crew]:
    """The crew of a training: `workers` processes, or the ranks of torchrun, with this one.

    Raises:
        UsageError: `workers` is out of range or given under torchrun, or this is not the first
            rank of torchrun.
    """
    own = launched()
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers must be 1 to {MOST_WORKERS}, not {workers}")
    if own is None:
        with _started((workers or 1) - 1, progress) as crew:
            try:
                yield crew
            finally:
                crew.restore()
        return
    if workers is not None:
        raise UsageError("torchrun says how many processes there are: leave --workers out")
    if own.rank > 0:
        raise UsageError(f"rank {own.rank} does not lead: call medvae.api.follow_training() there")
    with own.listen() as listener:
        yield from _awaited(own, listener, progress)


def _awaited(own: Launched, listener: socket.socket, progress: Progress) -> Iterator[Crew]:
    from medvae.privacy.link import Link

    links: list[Link] = []
    try:
        for number in range(2, own.count + 1):
            sock, name = own.accept(listener), f"rank process {number} of {own.count}"
            links.append(Link(sock, name, pid=peer(sock), notify=partial(notify, progress)))
        crew = Crew(links)
        try:
            yield crew
        finally:
            crew.restore()
    finally:
        for link in links:
            link.close()


@contextmanager
def _started(count: int, progress: Progress) -> Iterator[Crew]:
    """So many processes of our own, which end with this one, whatever ends it."""
    links: list[Link] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(2, count + 2):
            link, process = _start(number, count + 1, progress)
            links.append(link)
            processes.append(process)
        yield Crew(links)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
    finally:
        for link in links:
            link.close()
        for process in processes:
            process.kill()
            process.wait()


def _start(number: int, count: int, progress: Progress) -> tuple[Link, subprocess.Popen[bytes]]:
    from medvae.privacy.link import Link

    ours, theirs = socket.socketpair()
    threads = str(threads_each(count))
    # The passphrase is not needed there: keys are unwrapped here.
    environment = {k: v for k, v in os.environ.items() if k != "MEDVAE_PASSPHRASE"}
    environment |= {
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
    }
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-P", "-m", "medvae.api.follower", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # what it fails with comes over its socket
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,  # Ctrl-C is the first process's, which ends this one
            )
        except OSError as error:
            ours.close()
            raise MedvaeError(
                f"worker process {number} of {count} cannot be started ({error.strerror})"
            ) from error
    name = f"worker process {number} of {count}"
    notified = partial(notify, progress)
    return Link(ours, name, lambda: _ending(process), process.pid, notified), process


def threads_each(count: int) -> int:
    """Threads of each of `count` processes on this machine."""
    return max(1, (os.cpu_count() or 1) // count)


def _ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended."""
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        return "its socket is closed"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _unwrap_until_ready(tenant: Tenant, link: Link, state: str) -> None:
    """Unwrap keys for a process until it has opened the tenant and says what it sees."""
    from medvae.vault.follow import answer

    while True:
        message, _ = link.receive("step")
        if message["step"] == "ready":
            _check(message["state"] == state, "another plan, data set or checkpoint")
            return
        key = answer(tenant, bytes.fromhex(message["sealed"]), bytes.fromhex(message["bound"]))
        if key is not None and len(key) > _KEY_BYTES:
            raise AccessError("a key slot holds more than a key; restore the key ring")
        link.send({"unwrapped": None if key is None else key.hex()})


def _check(same: bool, what: str) -> None:
    if not same:
        raise IntegrityError(
            f"another process of this training has {what}; nothing more was spent: start all of "
            "them from one installation, and go on with --resume"
        )
