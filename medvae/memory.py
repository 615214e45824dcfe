"""Memory: for large data that is written whole before any of it is read, and how much is left."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# From here on the system can give pages of 2 MiB, one of which takes no longer than one of 4 KiB.
LARGE = 1 << 22


def fresh(size: int) -> memoryview:
    """`size` bytes to be written to; what they are until then is not said.

    `bytearray` would set each of them to zero, and so touch 13,000 pages of a volume of 50 MB:
    numpy sets nothing and asks for large pages.
    """
    if size < LARGE:
        return memoryview(bytearray(size))
    import numpy as np

    return np.empty(size, np.uint8).data


def available() -> int:
    """Bytes that this process can take: the machine's, its control groups', its own limit's.

    Swap does not count: training in it does not end.
    """
    found = [_of_machine()]
    found += _of_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    own = _of_process()
    if own is not None:
        found.append(own)
    return max(0, min(found))


def _of_machine() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    # Other systems than Linux say how much there is, not how much is free.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_groups(member: Path, root: Path) -> list[int]:
    """What each control group (version 2, or 1 with its own tree) above this process has left."""
    found = []
    with contextlib.suppress(OSError):
        for line in member.read_text(encoding="utf-8").splitlines():
            number, kinds, path = line.split(":", 2)
            if number == "0" and not kinds:
                tree, most, used = root, "memory.max", "memory.current"
            elif "memory" in kinds.split(","):
                tree, most = root / "memory", "memory.limit_in_bytes"
                used = "memory.usage_in_bytes"
            else:
                continue
            # In a container the path may be that of the host, and its own root the group.
            folder = tree / path.strip("/")
            for group in {tree, folder, *(one for one in folder.parents if tree in one.parents)}:
                left = _left(group, most, used)
                if left is not None:
                    found.append(left)
    return found


def _left(group: Path, most: str, used: str) -> int | None:
    """Bytes that a control group has left; None where it has no limit."""
    try:
        limit = int((group / most).read_text(encoding="ascii"))
        taken = int((group / used).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        kinds = {name: int(size) for name, _, size in (line.partition(" ") for line in lines)}
        # Files that were read, once or more often, can be dropped. In version 1 the totals are
        # those of the group with all below it, as what is taken is.
        for kind in ("inactive_file", "active_file"):
            taken -= kinds.get(f"total_{kind}", kinds.get(kind, 0))
    return limit - taken


def _of_process() -> int | None:
    """What is left of this process's own limit of address space (ulimit -v); None: no limit."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    return limit
