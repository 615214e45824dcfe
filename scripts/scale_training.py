"""One training of scale_processes.py with a clock of its stages, which it writes as JSON.

Wall seconds are those of a machine with other work on it; processor seconds of each process of the
training (user and system, from /proc) are those of the work alone. Under torchrun this is one rank.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import medvae
from medvae.api import follow_training

# What /proc counts processor time in.
TICKS = os.sysconf("SC_CLK_TCK")
BETWEEN = "between stages"
# How the stages begin that look at patients: of the anatomy model, of cosines.
MEASURING = ("measure ", "cosines")


@dataclass
class Clock:
    """A listener that notes when stages begin and end, and what each process had used by then."""

    torchrun: bool
    marks: list[tuple[str, float, dict[int, float]]] = field(default_factory=list)
    peaks: dict[int, int] = field(default_factory=dict)

    def start(self, stage: str, total: int) -> None:
        """`Progress.start`."""
        self._mark(stage)

    def advance(self, done: int, note: str = "") -> None:
        """`Progress.advance`."""

    def finish(self, note: str = "") -> None:
        """`Progress.finish`."""
        self._mark(BETWEEN)

    def _mark(self, stage: str) -> None:
        used = {pid: processor_seconds(pid) for pid in (os.getpid(), *self._others())}
        self.marks.append((stage, time.perf_counter(), used))
        self.peaks |= {pid: peak for pid in used if (peak := peak_bytes(pid)) > 0}

    def _others(self) -> list[int]:
        """Workers are children of the first process or of `medvae work`, ranks its siblings."""
        parent = os.getppid() if self.torchrun else os.getpid()
        return [one for one in below(parent) if one != os.getpid()]

    def rows(self) -> list[dict[str, Any]]:
        """A stage each, in order: wall seconds, processor seconds of each process."""
        self._mark(BETWEEN)
        return [
            {
                "stage": stage,
                "seconds": later - began,
                "processor": [now - used.get(pid, 0.0) for pid, now in after.items()],
            }
            for (stage, began, used), (_, later, after) in zip(
                self.marks[:-1], self.marks[1:], strict=True
            )
        ]


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    listed: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            listed += map(int, path.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return listed + [lower for one in listed if one != os.getpid() for lower in below(one)]


def processor_seconds(pid: int) -> float:
    """Of a process and of its threads that have ended; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had in use; 0 of one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def statistics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all that measures patients, and what is between it: wall seconds, those of the busiest
    process, and the parts of the wall seconds that stages take.

    Raises:
        ValueError: no patient was measured.
    """
    measuring = [at for at, row in enumerate(rows) if row["stage"].startswith(MEASURING)]
    if not measuring:
        raise ValueError("no stage measures patients")
    # What follows the last stage is its sum, its noise, and what is made of them.
    own = rows[measuring[0] : measuring[-1] + 2]
    seconds = sum(row["seconds"] for row in own)
    each = [row["processor"] for row in own]
    busy = [sum(one[at] for one in each if at < len(one)) for at in range(max(map(len, each)))]
    parts: dict[str, float] = {}
    for row in own:
        parts[row["stage"]] = parts.get(row["stage"], 0.0) + row["seconds"] / seconds
    return {"seconds": seconds, "busiest": max(busy), "processor": busy, "parts": parts}


def over_tls(place: Path, invitation: Path, count: int) -> subprocess.Popen[bytes]:
    """`medvae work` of so many processes, which waits for the invitation."""
    words = ["--invitation", str(invitation), "--processes", str(count), "--wait", "5"]
    line = [sys.executable, "-m", "medvae", "work", *words, "--vault", str(place / "vault"), "-q"]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL)


def main() -> None:
    """PLACE resume|begin CONFIG NAME WORKERS OUT SETTING...: WORKERS 0 under torchrun, and below 0
    as many processes over TLS.
    """
    place, run, config, name, workers, out, *settings = sys.argv[1:]
    if follow_training():
        return
    clock, count, far = Clock(workers == "0"), abs(int(workers)), int(workers) < 0
    invitation = Path(place) / "invitation"
    others = over_tls(Path(place), invitation, count - 1) if far else None
    session = medvae.open(Path(place) / "vault", identity=Path(place) / "key")
    with session:
        session.train(
            config,
            "phantoms",
            name=name,
            overrides=settings,
            small_cohort=True,
            resume=run == "resume",
            workers=count or None,
            listen="127.0.0.1:0" if far else None,
            invitation=invitation if far else None,
            progress=clock,
        )
    if others is not None and others.wait() != 0:
        raise SystemExit("medvae work failed")
    found = statistics(clock.rows()) | {"peaks": list(clock.peaks.values())}
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
