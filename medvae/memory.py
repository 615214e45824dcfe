"""Memory for large data that is written whole before any of it is read."""

from __future__ import annotations

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
