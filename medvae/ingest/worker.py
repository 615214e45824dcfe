"""The reading process: takes jobs on a socket, parses, sends volumes back.

Started by `sandbox.Sandbox` as `python -m medvae.ingest.worker FD MEMORY KINDS`. All that
parses foreign bytes runs here and nowhere else. It answers every job with one frame:
{"ok": ...} or {"refused": one sentence}; anything unforeseen in a parser becomes a
sentence naming the kind of error only, since an error's own text may quote a patient.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from medvae.errors import InputError
from medvae.ingest import confine, wire
from medvae.ingest.inputs import Inputs
from medvae.ingest.records import Limits

Answer = tuple[dict[str, Any], bytes]
Job = Callable[[dict[str, Any], Iterator[BinaryIO], Limits], Answer]

# Job name -> module and function; only the modules of the kinds asked for are imported,
# because importing is most of the time a worker needs to start.
JOBS = {
    "nifti": ("medvae.ingest.images", "volume_job"),
    "headers": ("medvae.ingest.dicom.headers", "headers_job"),
    "series": ("medvae.ingest.dicom.series", "series_job"),
    "picture": ("medvae.ingest.pictures", "picture_job"),
    "directory": ("medvae.ingest.dicom.headers", "directory_job"),
    "members": ("medvae.ingest.inputs", "members_job"),
    "content": ("medvae.ingest.inputs", "content_job"),
}


# Optional parts of the libraries that are not used: a network client, a second decoder in
# C++, viewers, and Pillow where no pictures are read. Left out, they neither cost start-up time
# nor widen what can be attacked.
UNUSED = ("gdcm", "requests", "PIL", "matplotlib", "pandas", "h5py", "scipy")


def main(arguments: list[str]) -> int:
    """Serve jobs until the socket closes."""
    sock = socket.socket(fileno=int(arguments[0]))
    kinds = arguments[2].split(",")
    used = {"PIL"} if "picture" in kinds else set()
    sys.modules.update(dict.fromkeys(set(UNUSED) - used))  # type: ignore[arg-type]
    jobs = {name: _load(*JOBS[name]) for name in kinds}
    warnings.simplefilter("ignore")
    layers = confine.confine(int(arguments[1]))
    inputs = Inputs(sock)
    wire.send(sock, {"ready": True, "layers": layers})
    while True:
        try:
            job, _ = wire.receive(sock, most_body=0)
        except wire.ClosedError:
            return 0
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
    sys.exit(main(sys.argv[1:]))
