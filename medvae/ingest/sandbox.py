"""The reader's side of the worker process: start, feed, time, restart.

One worker lives for many jobs; it is started again when it dies. What it sends back is
checked like any untrusted input.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from medvae.errors import InputError, MedvaeError
from medvae.ingest import wire
from medvae.ingest.records import Limits, WorkerDiedError, printable

# Voxels as float32, a mask, and room for the header.
BYTES_PER_VOXEL = 5
START_SECONDS = 300.0
NOT_STARTED = "the process that reads scans cannot be started: install medvae again"


class Source(Protocol):
    """A file that can be handed to the worker."""

    @property
    def member(self) -> str | None:
        """Its name inside the archive that `open` opens; None for a plain file."""

    def open(self) -> int:
        """A descriptor open for reading. Raises InputError."""


class Sandbox:
    """One worker process (not for use by two threads at a time)."""

    def __init__(self, kinds: Sequence[str], limits: Limits) -> None:
        self._kinds = ",".join(kinds)
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._ready = False
        self._layers: tuple[str, ...] = ()

    def layers(self) -> tuple[str, ...]:
        """What confines the worker beside rlimits, of `confine.LAYERS`.

        Raises:
            MedvaeError: it cannot be started.
        """
        self._await_ready()
        return self._layers

    def start(self) -> socket.socket:
        """Start the worker if none is running; returns at once, it gets ready meanwhile."""
        if self._sock is not None:
            return self._sock
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "medvae.ingest.worker", str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                    [*command, str(self._limits.memory), self._kinds],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # parsers print what they read
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise MedvaeError(NOT_STARTED) from error
        self._sock, self._ready = ours, False
        return ours

    def run(
        self, name: str, files: Sequence[Source], **job: Any
    ) -> tuple[dict[str, Any], bytearray]:
        """Have the worker do one job.

        Returns:
            What the job answers, and bytes.

        Raises:
            InputError: the input cannot be used (the worker's sentence).
            WorkerDiedError: the worker crashed or ran into a limit.
            MedvaeError: it cannot be started at all.
        """
        sock = self._await_ready()
        deadline = time.monotonic() + self._limits.wall_seconds
        request = {"name": name, "files": len(files), "limits": asdict(self._limits), **job}
        try:
            sock.settimeout(self._limits.wall_seconds)
            wire.send(sock, request)
            gone: list[InputError] = []
            head, body = self._serve(sock, files, deadline, gone)
        except TimeoutError as error:
            self.stop()
            raise WorkerDiedError(
                f"reading it took more than {self._limits.wall_seconds:g} seconds"
            ) from error
        except (wire.ClosedError, OSError) as error:
            raise WorkerDiedError(self._how_it_died()) from error
        except BaseException:
            # Left in the middle of a job (an interrupt): the next would get its answer.
            self.stop()
            raise
        if gone:
            raise gone[0]
        if "refused" in head:
            raise InputError(printable(str(head["refused"])))
        return head, body

    def _await_ready(self) -> socket.socket:
        """A worker that has loaded its modules; to fail here is no fault of any input."""
        sock = self.start()
        if not self._ready:
            try:
                ready, _ = wire.receive(sock, 0, time.monotonic() + START_SECONDS)
                self._layers = tuple(map(str, ready["layers"]))
            except (wire.ClosedError, OSError, KeyError) as error:
                self.stop()
                raise MedvaeError(NOT_STARTED) from error
            except BaseException:
                self.stop()
                raise
            self._ready = True
        return sock

    def _serve(
        self,
        sock: socket.socket,
        files: Sequence[Source],
        deadline: float,
        gone: list[InputError],
    ) -> tuple[dict[str, Any], bytearray]:
        """Hand over files as it asks for them, until it answers; `gone`: those that cannot be."""
        waiting = iter(files)
        most = self._limits.voxels * BYTES_PER_VOXEL + (1 << 20)
        while True:
            head, body = wire.receive(sock, most, deadline)
            if "next" not in head:
                return head, body
            descriptors: list[int] = []
            members: list[str | None] = []
            try:
                for file in islice(waiting, max(0, min(int(head["next"]), wire.BATCH))):
                    descriptors.append(file.open())
                    members.append(file.member)
                wire.send_files(sock, {"members": members}, descriptors)
            except InputError as error:
                gone.append(error)
                wire.send(sock, {"gone": True})
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _how_it_died(self) -> str:
        process = self._process
        self.stop()
        code = process.returncode if process else 0
        if code == -signal.SIGXCPU:
            return f"reading it took more than {self._limits.cpu_seconds} seconds of processor time"
        return "it made the reading process crash, as only damaged or hostile files do"

    def interrupt(self) -> None:
        """Kill the worker; may be called by another thread than the one that uses it."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the worker, whatever it is doing."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process is not None:
            try:
                self._process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Pool:
    """Several sandboxes that threads borrow."""

    def __init__(self, workers: int, kinds: Sequence[str], limits: Limits) -> None:
        self._all = [Sandbox(kinds, limits) for _ in range(workers)]
        self._free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for sandbox in self._all:
            self._free.put(sandbox)

    @contextmanager
    def borrow(self) -> Iterator[Sandbox]:
        """A sandbox that nobody else uses meanwhile."""
        sandbox = self._free.get()
        try:
            yield sandbox
        finally:
            self._free.put(sandbox)

    def run(
        self, name: str, files: Sequence[Source], **job: Any
    ) -> tuple[dict[str, Any], bytearray]:
        """`Sandbox.run` on the next free one."""
        with self.borrow() as sandbox:
            return sandbox.run(name, files, **job)

    def start(self) -> None:
        """Start the first worker ahead of its first job, which hides most of its start-up."""
        self._all[0].start()

    def interrupt(self) -> None:
        """Kill the workers, so that threads waiting for them come back at once."""
        for sandbox in self._all:
            sandbox.interrupt()

    def stop(self) -> None:
        """End all workers."""
        for sandbox in self._all:
            sandbox.stop()


def _environment() -> dict[str, str]:
    """What the worker needs to find its modules, and nothing of the user's."""
    return {
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Thread pools reserve address space, which is limited, and are not needed.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
