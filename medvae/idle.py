"""Whether another process of this machine works, by the processor time that it uses.

A process that was stopped (SIGSTOP, a debugger, a frozen control group) or that waits for storage
for ever keeps its sockets open, so nothing but this distinguishes it from one that is slow.
"""

from __future__ import annotations

import time
from pathlib import Path


def processor_ticks(pid: int) -> int | None:
    """Processor time of a process and its threads so far, in clock ticks; None if nobody says."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Watch:
    """How long a process has used no processor time; begins when it is made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ticks = processor_ticks(pid)
        self._since = time.monotonic()

    def idle(self) -> float:
        """Seconds since it was last seen to work; 0 where the system does not say."""
        now, ticks = time.monotonic(), processor_ticks(self._pid)
        if ticks is None or ticks != self._ticks:
            self._ticks, self._since = ticks, now
        return now - self._since
