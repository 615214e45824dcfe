"""What the reading process may not do, set on itself before it sees any input.

Limits of the operating system, not of Python: a parser that is tricked cannot write a file,
open a socket, start a process, grow without bound, run for ever or leave a core dump of a
patient behind.

| layer | needs | without it |
|---|---|---|
| rlimits | any Unix | |
| Landlock | Linux 5.13 | it could read whatever this account can |
| seccomp | Linux on x86-64 or arm64 | it could send what it reads elsewhere, and change files |
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Collection
from pathlib import Path

from medvae.ingest import landlock, seccomp

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
DESCRIPTORS = 128
LAYERS = ("landlock", "seccomp")
NEEDS = {
    "landlock": "Landlock (Linux 5.13 or later)",
    "seccomp": "seccomp (Linux on x86-64 or arm64)",
}


def confine(memory: int) -> list[str]:
    """Set the limits that hold for the life of the process; there is no way back.

    Args:
        memory: bytes of address space that may be used beyond what is used now.

    Returns:
        Those of `LAYERS` that are in force.
    """
    return confine_but_for_forking(memory) + forbid_calls()


def missing(layers: Collection[str]) -> str:
    """What of the system `layers` lack, in words; empty where nothing is missing."""
    return " and ".join(NEEDS[layer] for layer in LAYERS if layer not in layers)


def confine_but_for_forking(memory: int) -> list[str]:
    """The part of `confine` that copies of this process inherit, and it can still be copied."""
    layers = []
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    _limit(resource.RLIMIT_AS, _address_space() + memory)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        # A core dump piped to a handler ignores RLIMIT_CORE; a process that is not
        # dumpable has none.
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if landlock.forbid_paths(_libraries()):
            layers.append("landlock")
    return layers


def forbid_calls() -> list[str]:
    """The rest of `confine`: no processes, no system calls but those of a parser."""
    layers = []
    _limit(resource.RLIMIT_NPROC, 0)
    if sys.platform == "linux":
        if seccomp.allow_only_reading():
            layers.append("seccomp")
    return layers


def die_with(parent: int) -> None:
    """Be killed when the process `parent`, which forked this one, is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _libraries() -> set[str]:
    """Where this program's own modules and shared libraries lie."""
    return {*sys.path, sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/lib64"} - {"", "/"}


def allow_cpu(seconds: int) -> None:
    """Let the process use `seconds` more of processor time, then be killed (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _limit(which: int, value: int) -> None:
    """Lower a limit, soft and hard. A system without this limit keeps the others."""
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(which, (value, value))


def _address_space() -> int:
    """Bytes of address space in use (0 where the system does not say)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()
