"""Invitations that a killed process has left: known by who wrote them, and noted where they are.

A process is known by the machine's start, its number and its own start, so that another one that
is given the number later is not taken for it. Nothing is said of processes of other machines and
containers. Each invitation is noted in a file of the account's state folder while it is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


def process(pid: int | None = None) -> str:
    """What a process of this machine is known by, by default this one; empty: nobody says."""
    pid = os.getpid() if pid is None else pid
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
        # The name, in parentheses, may hold anything; state and start are fields 3 and 22.
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        namespace = _NAMESPACE.readlink()
    except (OSError, ValueError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot} {namespace} {pid} {fields[19]}"


def has_ended(known: str) -> bool:
    """Whether the process that is known by that was one of this machine, and is gone."""
    parts, own = known.split(" "), process().split(" ")
    if len(parts) != 4 or parts[:2] != own[:2] or not parts[2].isdecimal():
        return False
    return process(int(parts[2])) != known


def folder() -> Path:
    """Where invitations are noted."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "medvae" / "invitations"


@contextmanager
def noted(path: Path) -> Iterator[None]:
    """An invitation of this process may be at `path` until the block ends.

    Where the account has no place to note it, nothing is noted.
    """
    note = None
    with contextlib.suppress(OSError, RuntimeError):
        place = folder()
        place.mkdir(0o700, parents=True, exist_ok=True)
        note = place / f"{secrets.token_hex(8)}.json"
        note.write_text(json.dumps({"path": str(path.absolute()), "process": process()}))
    try:
        yield
    finally:
        if note is not None:
            with contextlib.suppress(OSError):
                note.unlink()


def left() -> list[Path]:
    """Invitations of this account whose processes were killed, and that are still there."""
    found, running = set(), set()
    for note in _notes():
        try:
            said = json.loads(note.read_text(encoding="utf-8"))
            path, writer = Path(said["path"]), str(said["process"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not has_ended(writer):
            running.add(path)
            continue
        try:
            there = _is_there(path)
        except OSError:
            # Nobody can say now: its folder is closed to this account, or its storage is gone.
            continue
        if there:
            found.add(path)
        else:
            with contextlib.suppress(OSError):
                note.unlink()
    return sorted(found - running)


def _is_there(path: Path) -> bool:
    """Whether a plain file is there. OSError: that cannot be seen."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _notes() -> list[Path]:
    with contextlib.suppress(OSError, RuntimeError):
        return sorted(folder().glob("*.json"))
    return []
