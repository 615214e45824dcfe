"""The processes of one training: started or awaited, shown the run, and ended.

The first process begins the run, debits it, adds the noise and seals the model. Each other one
opens its share of the patients by itself (`medvae.api.follower`), with keys that the first one
unwraps for it, so that no passphrase and no identity leaves the first. What crosses between them
are Unix sockets' frames: ids, public constants, clipped integer sums, released numbers. Processes
of other machines join by TLS (`medvae.api.joining`), and are sent the sealed catalogue besides.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from medvae.api import agreement, processes
from medvae.api.launched import Launched, launched, peer
from medvae.errors import UsageError
from medvae.progress import SILENT, Progress, notify

if TYPE_CHECKING:
    from medvae.api.joining import Asked
    from medvae.api.records import RunRecord
    from medvae.config import RunConfig
    from medvae.privacy.link import Link
    from medvae.privacy.ranks import Ranks
    from medvae.privacy.turns import SharedCount
    from medvae.vault import Tenant

MOST_WORKERS = 256
_PARTS = ("sealed", "bound", "public")
# Questions for keys: a process opens an epoch or two.
_MOST_STEPS = 64


class Job(TypedDict):
    """What another process must know of the run; nothing of a patient.

    Attributes:
        folder, tenant: the tenant's folder and name.
        fingerprint, pins: of what opened it.
        run: its name. `config`: settled, as JSON text. `device`: of the first process.
        rank, count, threads: which process it is, of how many, and its threads where it is one
            of the first one's machine.
        state: digest of all that must be the same (see `agreement.state_of`).
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

    def __init__(
        self, links: Sequence[Link], join: Callable[[], Sequence[Link]] | None = None
    ) -> None:
        """join: waits for processes of other machines; where it is given, `links` are none."""
        self._links = links
        self._join = join
        self._threads: int | None = None
        self._turns: SharedCount | None = None
        self._shown = False

    @property
    def count(self) -> int:
        """Processes, this one included."""
        return 1 + len(self._links)

    @property
    def here(self) -> int:
        """Processes on this machine, this one included."""
        return 1 if self._join is not None else self.count

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

        if self._join is not None:
            self._links = self._join()
        if not self._links:
            return ALONE
        self._shown = True
        if self._join is None:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(processes.threads_each(self.count))
        shared = job | {"count": self.count, "threads": torch.get_num_threads()}
        for rank, link in enumerate(self._links, 1):
            hello, _ = link.receive("code")
            if hello["code"] != agreement.code():
                raise agreement.unfit("has another version of medvae or of its libraries")
            agreement.check_processor(str(hello.get("processor")), link.name)
            link.send({"job": shared | {"rank": rank}})
        if self._join is not None:
            self._send_copy(tenant, job["run"])
        for link in self._links:
            _unwrap_until_ready(tenant, link, job["state"])
        self._turns = SharedCount.fresh()
        for link in self._links:
            link.give(self._turns)
        return FirstRank(self._links, patients, self._turns)

    def _send_copy(self, tenant: Tenant, run: str) -> None:
        """What other machines read in place of the catalogue; sealed. The audit log names them."""
        from medvae.vault.follow import copy_of

        tenant.record("train", model=run, joined=[link.name for link in self._links])
        ring, catalogue = copy_of(tenant)
        for link in self._links:
            link.send({"copy": len(ring)}, ring + catalogue)

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
def gathered(
    workers: int | None, progress: Progress = SILENT, asked: Asked | None = None
) -> Iterator[Crew]:
    """The crew of a training: `workers` processes, or the ranks of torchrun, with this one.

    asked: all processes but this one join from other machines.

    Raises:
        UsageError: `workers` is out of range or given under torchrun, or this is not the first
            rank of torchrun; or as `joining`.
        AccessError: as `joining`.
    """
    own = launched()
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers must be 1 to {MOST_WORKERS}, not {workers}")
    if asked is not None:
        if own is not None or workers is None or workers < 2:
            raise UsageError(
                "--listen needs --workers N, from 2: all processes, this one included, of which "
                "the others join from other machines (medvae work); torchrun cannot start them"
            )
        from medvae.api.joining import joining

        with joining(asked, workers - 1, progress) as others:
            yield from _joined(partial(others.links, asked.minutes))
        return
    if own is None:
        with processes.started((workers or 1) - 1, progress) as links:
            crew = Crew(links)
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


def _joined(join: Callable[[], Sequence[Link]]) -> Iterator[Crew]:
    found: list[Link] = []

    def links() -> Sequence[Link]:
        found.extend(join())
        return found

    crew = Crew((), links)
    try:
        yield crew
    finally:
        # Nobody takes a turn any more when the count is closed.
        for link in found:
            link.close()
        crew.restore()


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


def _unwrap_until_ready(tenant: Tenant, link: Link, state: str) -> None:
    """Unwrap keys for a process until it has opened the tenant and says what it sees."""
    from medvae.vault.follow import answer

    for _ in range(_MOST_STEPS):
        message, _ = link.receive("step")
        if message["step"] == "ready":
            if message.get("state") != state:
                raise agreement.unfit("has another plan, data set or checkpoint")
            return
        try:
            sealed, bound, public = (bytes.fromhex(message[part]) for part in _PARTS)
        except (KeyError, TypeError, ValueError) as error:
            raise agreement.unfit(
                "asked for a key in a way that none of this version does"
            ) from error
        key = answer(tenant, sealed, bound, public)
        link.send({"unwrapped": None if key is None else key.hex()})
    raise agreement.unfit(f"asked for {_MOST_STEPS} keys and opened nothing")
