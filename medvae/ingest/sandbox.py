"""The reader's side of the worker processes: start, feed, time, replace.

A worker reads of one folder or one archive, and is then ended: the next is a fresh copy of a
process that has seen no data, made while the one before was reading. In a folder it reads a few
small files, one large, or the headers of one patient; in an archive all, which its descriptor gives
it anyway. What a worker sends back is checked like any untrusted input, and is no larger than its
input can unpack to.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol

from medvae.errors import AccessError, InputError, MedvaeError
from medvae.ingest import confine, wire
from medvae.ingest.first import NOT_STARTED, First
from medvae.ingest.records import Limits, WorkerDiedError, printable

# Voxels as float32, a mask, and room for the header.
BYTES_PER_VOXEL = 5
START_SECONDS = 300.0
GRACE_SECONDS = 0.2
# To copy a process takes as long as to read a file of 100 KiB, so small ones share a worker.
SHARED_JOBS = 16
SHARED_BYTES = 4 << 20
# Deflate packs at most 1,032 to 1; a voxel of one byte becomes one of four.
MOST_GROWTH = 1032 * 4
REPLY = 1 << 20
SMALL_REPLY = 64 << 20
HEAD_PER_FILE = 1 << 14
NAMES_BYTES = 64 << 20
LISTING = ("members", "directory")
NOT_HERE = (
    "this system does not offer: read them on one that does (medvae doctor names what is there), "
    "or leave out --require-sandbox"
)


class Source(Protocol):
    """A file that can be handed to the worker."""

    @property
    def member(self) -> str | None:
        """Its name inside the archive that `open` opens; None for a plain file."""

    @property
    def origin(self) -> str:
        """The archive that it is a member of, or else the folder that it is in."""

    def open(self) -> int:
        """A descriptor open for reading. Raises InputError."""


@dataclass(frozen=True)
class Worker:
    """A confined process: its id and the layers of the operating system that hold it."""

    pid: int
    layers: tuple[str, ...]


class Sandbox:
    """One worker process at a time (not for use by two threads at a time).

    The next one is made while it works, and waits.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        limits: Limits,
        *,
        require_layers: bool = False,
        first: First | None = None,
    ) -> None:
        """`first`: one that was started ahead; it ends with the sandbox."""
        self._kinds = list(kinds)
        self._require_layers = require_layers
        self._limits = limits
        # The process that is forked; the worker, our end of its socket, and of the next one's.
        self._ahead = first
        self._first: First | None = None
        self._process: Worker | None = None
        self._sock: socket.socket | None = None
        self._next: socket.socket | None = None
        # What the worker has read of, how many jobs and bytes, whose headers; "" before its first.
        self._origin = ""
        self._jobs = self._given = 0
        self._patients: set[str] = set()
        # The image of several scans that it has read, of which more are to come.
        self._whole: Source | None = None
        self._has_worked = False

    def start(self) -> None:
        """Start a worker if there is none; returns at once, it gets ready meanwhile."""
        if self._first is not None and self._first.is_gone:
            self.stop()  # the system ended it, for want of memory perhaps
        if self._first is None:
            self._first, self._ahead = self._ahead or First(), None
            self._first.load(self._kinds, self._limits.memory)
        if self._sock is None:
            self._take()

    def _take(self) -> None:
        """Take the worker that waits, or ask for one; nobody has read with it."""
        assert self._first is not None
        self._sock = self._first.fork() if self._next is None else self._next
        self._next = None
        self._process = None
        self._origin, self._jobs, self._given = "", 0, 0
        self._patients, self._whole = set(), None

    def layers(self) -> tuple[str, ...]:
        """What holds the worker beside rlimits: "landlock", "seccomp", both or neither.

        Raises:
            AccessError: one is missing, and `require_layers` is set.
            MedvaeError: it cannot be started.
        """
        self._await_ready()
        return () if self._process is None else self._process.layers

    def run(
        self, name: str, files: Sequence[Source], **job: Any
    ) -> tuple[dict[str, Any], memoryview]:
        """Have the worker do one job.

        Returns:
            What the job answers, and bytes.

        Raises:
            InputError: the input cannot be used (the worker's sentence).
            WorkerDiedError: the worker crashed or ran into a limit.
            AccessError: a layer of its confinement is missing, and `require_layers` is set.
            MedvaeError: it cannot be started at all.
        """
        origin = files[0].origin
        headers = name == "headers"
        other = self._whole is not None and files[0] != self._whole
        if self._origin not in ("", origin) or other or (self._patients and not headers):
            self._renew()
        sock = self._await_ready()
        deadline = time.monotonic() + self._limits.wall_seconds
        request = {"name": name, "files": len(files), "limits": asdict(self._limits), **job}
        try:
            sock.settimeout(self._limits.wall_seconds)
            wire.send(sock, request)
            if self._next is None and self._first is not None:
                self._next = self._first.fork()
            gone: list[InputError] = []
            head, body = self._serve(sock, name, files, deadline, gone)
        except TimeoutError as error:
            self._end(0.0)
            raise WorkerDiedError(
                f"reading it took more than {self._limits.wall_seconds:g} seconds"
            ) from error
        except (wire.ClosedError, OSError) as error:
            raise WorkerDiedError(self._how_it_died()) from error
        except BaseException:
            # Left in the middle of a job (an interrupt): the next would get its answer.
            self.stop()
            raise
        self._origin, self._jobs, self._has_worked = origin, self._jobs + 1, True
        small = (headers and self._is_of_one_patient(head)) or self._given < SHARED_BYTES
        if "scan" in job and job["scan"] + 1 < job["scans"]:
            self._whole = files[0]
        elif not (small and self._jobs < SHARED_JOBS) and files[0].member is None:
            self._renew()
        if gone:
            raise gone[0]
        if "refused" in head:
            raise InputError(printable(str(head["refused"])))
        return head, body

    def _is_of_one_patient(self, head: dict[str, Any]) -> bool:
        """Whether all headers that the worker has read name one patient."""
        summaries = head.get("ok")
        for summary in summaries if isinstance(summaries, list) else [None]:
            self._patients.add(str(summary.get("subject", "")) if isinstance(summary, dict) else "")
        return len(self._patients) == 1 and "" not in self._patients

    def _await_ready(self) -> socket.socket:
        """A worker that has loaded its modules; to fail here is no fault of any input."""
        self.start()
        assert self._sock is not None
        if self._process is None:
            try:
                ready, _ = wire.receive(self._sock, 0, time.monotonic() + START_SECONDS)
                worker = Worker(int(ready["pid"]), tuple(map(str, ready["layers"])))
                if self._require_layers and (lacks := confine.missing(worker.layers)):
                    raise AccessError(f"scans may only be read under {lacks}, which {NOT_HERE}")
                self._process = worker
            except (wire.ClosedError, OSError, KeyError) as error:
                self.stop()
                raise MedvaeError(NOT_STARTED) from error
            except BaseException:
                self.stop()
                raise
        return self._sock

    def _serve(
        self,
        sock: socket.socket,
        name: str,
        files: Sequence[Source],
        deadline: float,
        gone: list[InputError],
    ) -> tuple[dict[str, Any], memoryview]:
        """Hand over files as it asks for them, until it answers; `gone`: those that cannot be."""
        waiting = iter(files)
        before, packed = self._given, any(file.member is not None for file in files)
        while True:
            most = self._largest_reply(name, packed, self._given - before)
            head, body = wire.receive(sock, most, deadline, REPLY + HEAD_PER_FILE * len(files))
            if "next" not in head:
                return head, body
            descriptors: list[int] = []
            members: list[str | None] = []
            try:
                for file in islice(waiting, max(0, min(int(head["next"]), wire.BATCH))):
                    descriptors.append(file.open())
                    self._given += os.fstat(descriptors[-1]).st_size
                    members.append(file.member)
                wire.send_files(sock, {"members": members}, descriptors)
            except InputError as error:
                gone.append(error)
                wire.send(sock, {"gone": True})
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _largest_reply(self, name: str, packed: bool, size: int) -> int:
        """Bytes that the answer to a job can need which was given so many bytes of files.

        packed: some of the files are in an archive.
        """
        if name in LISTING:
            return NAMES_BYTES
        most = self._limits.voxels * BYTES_PER_VOXEL + REPLY
        if packed:
            return most  # what packs a tar archive has no such bound
        return min(most, size * MOST_GROWTH + SMALL_REPLY)

    def _how_it_died(self) -> str:
        code = self._end(GRACE_SECONDS)
        if code == -signal.SIGXCPU:
            return f"reading it took more than {self._limits.cpu_seconds} seconds of processor time"
        return "it made the reading process crash, as only damaged or hostile files do"

    def _renew(self) -> None:
        """Let the worker go, and take the next one."""
        assert self._first is not None
        if self._sock is not None:
            self._sock.close()
            self._first.drop()
        self._take()

    def _end(self, grace: float) -> int:
        """End the worker; its exit code, or minus the signal that ended it."""
        assert self._first is not None
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._process = None
        try:
            return self._first.end(grace)
        except (wire.ClosedError, OSError):
            self.stop()
            return 0

    def interrupt(self) -> None:
        """Kill the worker; may be called by another thread than the one that uses it."""
        first = self._first
        if first is not None:
            first.kill()

    def stop(self) -> None:
        """End the worker, whatever it is doing; one that is still starting at once.

        One that has worked is waited for, so that its time and memory count as its parents'.
        """
        for sock in (self._sock, self._next):
            if sock is not None:
                sock.close()
        self._sock, self._next, self._process = None, None, None
        if self._first is not None:
            self._first.stop(gently=self._has_worked)
            self._first = None


class Pool:
    """Several sandboxes that threads borrow."""

    def __init__(
        self,
        workers: int,
        kinds: Sequence[str],
        limits: Limits,
        *,
        require_layers: bool = False,
        first: First | None = None,
    ) -> None:
        """`first`: as of `Sandbox`, for one of them."""
        self._limits = limits
        self._require_layers = require_layers
        self._all = [
            Sandbox(kinds, limits, require_layers=require_layers, first=None if number else first)
            for number in range(workers)
        ]
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
    ) -> tuple[dict[str, Any], memoryview]:
        """`Sandbox.run` on the next free one."""
        with self.borrow() as sandbox:
            return sandbox.run(name, files, **job)

    def names(self, name: str, file: Source) -> list[str]:
        """`run` of a job that answers with the names that a file lists.

        Raises:
            InputError, WorkerDiedError: as `run`.
        """
        _, body = self.run(name, [file])
        try:
            return wire.unpack_names(body, self._limits.members)
        except wire.ClosedError as error:
            raise InputError(
                f"it lists more than {self._limits.members} files, or not by name"
            ) from error

    def layers(self) -> tuple[str, ...]:
        """`Sandbox.layers` of the first worker. Raises as that."""
        return self._all[0].layers()

    def start(self) -> None:
        """Start the first worker ahead of its first job, which hides most of its start-up.

        Raises:
            AccessError: a layer is missing, and `require_layers` is set.
        """
        self._all[0].start()
        if self._require_layers:
            self._all[0].layers()

    def interrupt(self) -> None:
        """Kill the workers, so that threads waiting for them come back at once."""
        for sandbox in self._all:
            sandbox.interrupt()

    def stop(self) -> None:
        """End all workers."""
        for sandbox in self._all:
            sandbox.stop()
