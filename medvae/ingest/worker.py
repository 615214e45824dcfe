"""The reading processes: one that has loaded the parsers, and its copies that parse.

Started by `first.First` as `python -m medvae.ingest.worker FD`. The first
process loads the modules, never sees a byte of anybody's and is forked for each source, so
that a copy that is taken over by one patient's file meets no other's. All that parses foreign
bytes runs in the copies and nowhere else. A copy confines itself, says {"pid": n,
"layers": [...]}, and answers every job with one frame: {"ok": ...} or {"refused": one
sentence}; anything unforeseen in a parser becomes a sentence naming the kind of error only,
since an error's own text may quote a patient.

| the reader asks | the first process |
|---|---|
| {"kinds": [...], "memory": n}, once | loads the modules, confines itself |
| {"fork": true} and a descriptor | forks a copy that serves it |
| {"drop": true} | kills the oldest copy |
| {"end": seconds} | gives the oldest copy so long to end, then kills it: {"status": n} |
| closes the socket | ends, and the copies with it |
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, BinaryIO, NoReturn

from medvae.errors import InputError
from medvae.ingest import confine, wire
from medvae.ingest.inputs import Inputs
from medvae.ingest.records import Limits

Answer = tuple[dict[str, Any], bytes | memoryview]
Job = Callable[[dict[str, Any], Iterator[BinaryIO], Limits], Answer]

# Job name -> module and function; only the modules of the kinds asked for are imported,
# because importing is most of the time a worker needs to start.
JOBS = {
    "nifti": ("medvae.ingest.images", "volume_job"),
    "headers": ("medvae.ingest.dicom.headers", "headers_job"),
    "referred": ("medvae.ingest.dicom.referred", "referred_job"),
    "series": ("medvae.ingest.dicom.series", "series_job"),
    "radiograph": ("medvae.ingest.dicom.radiograph", "radiograph_job"),
    "picture": ("medvae.ingest.pictures", "picture_job"),
    "directory": ("medvae.ingest.dicom.headers", "directory_job"),
    "members": ("medvae.ingest.inputs", "members_job"),
    "content": ("medvae.ingest.inputs", "content_job"),
}


# Optional parts of the libraries that are not used: network clients, a second decoder in
# C++, viewers, and Pillow where no pictures are read. Left out, they neither cost start-up time
# nor widen what can be attacked.
UNUSED = ("gdcm", "requests", "ssl", "tqdm", "PIL", "matplotlib", "pandas", "h5py", "scipy")
# What libraries import by name without asking whether it is there, and use in functions that are
# not called: an empty module.
HOLLOW = ("urllib.request",)


def main(arguments: list[str]) -> int:
    """Fork workers until the socket closes."""
    control = socket.socket(fileno=int(arguments[0]))
    gc.disable()  # what modules are made of stays: to look for garbage in it takes a while
    # Every reader needs it: loaded before it is known what else is.
    importlib.import_module("numpy")
    copies: list[int] = []
    try:
        wanted, _ = wire.receive(control, most_body=0)
        jobs, layers = _prepared(wanted["kinds"], int(wanted["memory"]))
        while True:
            request, _ = wire.receive(control, most_body=0)
            if "fork" in request:
                (descriptor,) = wire.receive_files(control, 1)
                copies.append(_forked(control, descriptor, jobs, layers))
            elif "drop" in request:
                _end(copies, 0.0)
            else:
                wire.send(control, {"status": _end(copies, float(request["end"]))})
    except wire.ClosedError:
        while copies:
            _end(copies, 0.0)
        return 0


def _prepared(kinds: list[str], memory: int) -> tuple[dict[str, Job], list[str]]:
    """The jobs of some kinds, loaded, and the layers that hold this process from now on."""
    used = {"PIL"} if "picture" in kinds else set()
    sys.modules.update(dict.fromkeys(set(UNUSED) - used))  # type: ignore[arg-type]
    sys.modules.update({name: ModuleType(name) for name in HOLLOW if name not in sys.modules})
    _leave_package_out("nibabel")
    jobs = {name: _load(*JOBS[name]) for name in kinds}
    warnings.simplefilter("ignore")
    layers = confine.confine_but_for_forking(memory)
    gc.freeze()  # a collection in a copy would touch, and so copy, every page
    gc.enable()
    return jobs, layers


def _leave_package_out(name: str) -> None:
    """Have modules of a package imported without what the package itself imports.

    Few modules of nibabel are used, and its package would load every format that it can read.
    """
    spec = importlib.util.find_spec(name)
    if spec is not None and name not in sys.modules:
        sys.modules[name] = importlib.util.module_from_spec(spec)


def _forked(
    control: socket.socket, descriptor: int, jobs: dict[str, Job], layers: list[str]
) -> int:
    """A new copy, which serves the socket of a descriptor; its process id."""
    first, copy = os.getpid(), os.fork()
    if copy == 0:
        control.close()
        _serve(first, socket.socket(fileno=descriptor), jobs, layers)
    os.close(descriptor)
    return copy


def _end(copies: list[int], grace: float) -> int:
    """End the oldest copy, and nobody else: its exit code, or minus the signal that ended it."""
    if not copies:
        return 0
    copy, until = copies.pop(0), time.monotonic() + grace
    while time.monotonic() < until:
        ended, status = os.waitpid(copy, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(copy, signal.SIGKILL)  # it cannot have been replaced: only we can reap it
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def _serve(first: int, sock: socket.socket, jobs: dict[str, Job], layers: list[str]) -> NoReturn:
    """In the copy: serve jobs until the socket closes."""
    try:
        confine.die_with(first)
        wire.send(sock, {"pid": os.getpid(), "layers": layers + confine.forbid_calls()})
        _answer_jobs(sock, jobs)
    finally:
        os._exit(1)


def _answer_jobs(sock: socket.socket, jobs: dict[str, Job]) -> NoReturn:
    inputs = Inputs(sock)
    while True:
        try:
            job, _ = wire.receive(sock, most_body=0, most_head=wire.MOST_REQUEST)
        except wire.ClosedError:
            os._exit(0)
        limits = Limits(**job["limits"])
        confine.allow_cpu(limits.cpu_seconds)
        head, body = _answer(jobs[job["name"]], job, inputs.of(job, limits), limits)
        wire.send(sock, head, body)


def _load(module: str, function: str) -> Job:
    job: Job = getattr(importlib.import_module(module), function)
    return job


def _answer(run: Job, job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits) -> Answer:
    try:
        return run(job, files, limits)
    except InputError as error:
        return {"refused": str(error)}, b""
    except MemoryError:
        return {"refused": "it needs more memory than one file is allowed"}, b""
    except RecursionError:
        return {"refused": "it is nested too deeply"}, b""
    except wire.ClosedError:
        os._exit(0)
    except Exception as error:  # noqa: BLE001  a parser's errors cannot be listed
        return {"refused": f"it is damaged or not what it claims ({type(error).__name__})"}, b""


if __name__ == "__main__":
    # Without taking the interpreter apart: nothing is left to be written.
    os._exit(main(sys.argv[1:]))
