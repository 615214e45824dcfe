"""What the decoders of JPEG and JPEG-LS do not see, and a fault that they stop at.

They fill in the rest of a truncated frame without an error. In a sequential scan every coefficient
is sent at once, so its header must state 0 to 63 (ITU-T T.81, B.2.3), but some writers of JPEG
Extended with 12 bits leave the end at 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

# Markers: sequential DCT frames, the beginning of a scan, and those that have no length.
SEQUENTIAL, SCAN = (0xC0, 0xC1), 0xDA
BARE = (0x01, *range(0xD0, 0xD9))
WHOLE = bytes([0, 63, 0])
# The end of an image, and what may follow it.
END, PADDING = b"\xff\xd9", b"\0\xff"


def check_ends(data: Dataset, count: int) -> None:
    """Refuse pixels of which a frame is cut off: coded data hold no marker of the end.

    Raises:
        ValueError: a frame lacks it.
    """
    for frame in generate_frames(data.PixelData, number_of_frames=count):
        if not frame.rstrip(PADDING).endswith(END):
            raise ValueError("a frame has no end")


def mended(data: Dataset, count: int) -> bool:
    """Correct the scan headers of the pixels; returns whether there was anything to correct.

    Raises:
        ValueError: a frame has no scan.
    """
    frames = list(generate_frames(data.PixelData, number_of_frames=count))
    corrected = [_corrected(frame) for frame in frames]
    if corrected == frames:
        return False
    data.PixelData = encapsulate(corrected)
    return True


def _corrected(frame: bytes) -> bytes:
    sequential = False
    for marker, end in _segments(frame):
        sequential |= marker in SEQUENTIAL
        if marker == SCAN:
            # Only the first: what follows it is coded data.
            return frame[: end - 3] + WHOLE + frame[end:] if sequential else frame
    # The decoder would make an empty image of it.
    raise ValueError("a frame has no scan")


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """(marker, end) of each segment up to the first scan's header."""
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF or marker in BARE:
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        # A length counts itself; a scan's header has three bytes at its end.
        if end > len(frame) or end < at + (7 if marker == SCAN else 4):
            return
        yield marker, end
        if marker == SCAN:
            return
        at = end
