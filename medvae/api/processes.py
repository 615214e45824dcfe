"""Processes that follow a training on this machine: started, given their sockets, and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.errors import MedvaeError
from medvae.progress import Progress, notify

if TYPE_CHECKING:
    from medvae.privacy.link import Link

FOLLOWER = (sys.executable, "-P", "-m", "medvae.api.follower")
_END_SECONDS = 10.0


@contextmanager
def started(count: int, progress: Progress) -> Iterator[list[Link]]:
    """Links to so many processes of our own, which end with this one, whatever ends it."""
    links: list[Link] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(2, count + 2):
            link, process = _start(number, count + 1, progress)
            links.append(link)
            processes.append(process)
        yield links
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
    name = f"worker process {number} of {count}"
    with theirs:
        try:
            process = begin((theirs,), (), threads_each(count), name)
        except MedvaeError:
            ours.close()
            raise
    notified = partial(notify, progress)
    return Link(ours, name, lambda: ending(process), process.pid, notified), process


def begin(
    ends: Sequence[socket.socket], words: Sequence[str], threads: int, name: str
) -> subprocess.Popen[bytes]:
    """A process that follows: `medvae.api.follower` with descriptors of these sockets and words.

    Raises:
        MedvaeError: it cannot be started.
    """
    descriptors = [end.fileno() for end in ends]
    # The passphrase is not needed there: keys are unwrapped by the first process.
    environment = {k: v for k, v in os.environ.items() if k != "MEDVAE_PASSPHRASE"}
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment |= {
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path),
        **dict.fromkeys(pools, str(threads)),
    }
    try:
        return subprocess.Popen(  # noqa: S603  our own interpreter and module
            [*FOLLOWER, *map(str, descriptors), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what it fails with comes over its sockets
            pass_fds=descriptors,
            env=environment,
            start_new_session=True,  # Ctrl-C is this process's, which ends that one
        )
    except OSError as error:
        raise MedvaeError(f"{name} cannot be started ({error.strerror})") from error


def threads_each(count: int) -> int:
    """Threads of each of `count` processes on this machine."""
    return max(1, (os.cpu_count() or 1) // count)


def ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended."""
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        return "its socket is closed"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
