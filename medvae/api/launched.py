"""Ranks that torchrun started on this machine, and the Unix socket by which they find each other.

Positive evidence of one machine and one account: the socket exists in the kernel that both ends
run under, and that kernel says whose process is at the other end. What torchrun's variables claim
is looked at only to refuse early.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from medvae.errors import AccessError, UsageError

# pid, uid and gid of the process at the other end (unix(7), SO_PEERCRED).
_CREDENTIALS = struct.Struct("=iII")
_CONNECT_SECONDS, _POLL_SECONDS = 300.0, 0.1
# Loading the package on a busy machine takes tens of seconds.
_ACCEPT_SECONDS = 300.0


@dataclass(frozen=True)
class Launched:
    """What torchrun says of this process."""

    rank: int
    count: int
    name: str

    def listen(self) -> socket.socket:
        """The first rank's end; others connect to it from now on."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(f"\0{self.name}")
        except OSError as error:
            listener.close()
            raise AccessError(
                "the first rank cannot listen for the others, for another process does so under "
                "the same name: start torchrun again with another --master-port"
            ) from error
        listener.listen(self.count)
        listener.settimeout(_ACCEPT_SECONDS)
        return listener

    def accept(self, listener: socket.socket) -> socket.socket:
        """The next rank that connects. AccessError if none does, or one of another account."""
        try:
            sock, _ = listener.accept()
        except TimeoutError:
            raise AccessError(
                f"not all {self.count} ranks of torchrun have reported on this machine within "
                f"{_ACCEPT_SECONDS:g} seconds; nothing more was spent, start it again"
            ) from None
        sock.settimeout(None)
        _check_account(sock)
        return sock

    def connect(self) -> socket.socket:
        """Another rank's end. AccessError if none is here, or of another account."""
        until = time.monotonic() + _CONNECT_SECONDS
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(f"\0{self.name}")
            except OSError:
                sock.close()
                if time.monotonic() > until:
                    raise AccessError(
                        f"rank {self.rank} finds no first rank on this machine; start all ranks "
                        "with one torchrun of one machine"
                    ) from None
                time.sleep(_POLL_SECONDS)
                continue
            _check_account(sock)
            return sock


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """The rank that this process is; None where torchrun did not start it, or started one alone.

    Raises:
        UsageError: ranks run on several machines, or the system has no such sockets.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    if int(environment["LOCAL_WORLD_SIZE"]) != count:
        raise UsageError(
            f"torchrun started {count} ranks on several machines, and sums of patients without "
            "noise must not leave a machine by its ways: start them all on one (--nnodes 1), or "
            "use medvae train --listen and medvae work, which go by TLS"
        )
    if count == 1:
        return None
    if not sys.platform.startswith("linux"):
        raise UsageError("ranks of torchrun need Linux; use --workers in place of torchrun")
    parts = [environment.get(key, "") for key in ("MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")]
    # All ranks of one torchrun have the same parent.
    name = "-".join(["medvae", str(os.geteuid()), str(os.getppid()), *parts])
    return Launched(rank, count, name)


def peer(sock: socket.socket) -> int | None:
    """Process id at the other end of a connected socket; None where it cannot be seen from here."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[0]) or None


def _check_account(sock: socket.socket) -> None:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    if user != os.geteuid():
        sock.close()
        raise AccessError(
            f"a process of another account (user id {user}) is at the other end of the ranks' "
            "socket: nothing more was spent, start torchrun again with another --master-port"
        )
