"""Moving images: the frames of one cycle or series as the channels of one volume, by name.

A volume whose channels are frame01, frame02, ... in that order is a series of frames. Everything
else about it is as of any volume with channels: frames are learnt and drawn together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# Frames that one volume may have.
MOST_FRAMES: Final = 32


def frame_names(count: int) -> tuple[str, ...]:
    """The channels of a volume of `count` frames."""
    return tuple(f"frame{number:02d}" for number in range(1, count + 1))


def is_cine(channels: Sequence[str]) -> bool:
    """Whether channels are the frames of a moving image, two or more, in order."""
    return len(channels) > 1 and tuple(channels) == frame_names(len(channels))


def spread(count: int, there: int) -> list[int]:
    """Which of `there` frames `count` evenly spread ones are, the first among them.

    A cycle ends where it began, so that the last frame is not among them unless all are taken.
    """
    return [index * there // count for index in range(count)]


def too_few(there: int, count: int) -> str:
    """Why an image of `there` frames is not read."""
    if there == 1:
        return f"it is a single volume, and --frames {count} was asked for: leave it out"
    return f"it has {there} frames, and --frames {count} was asked for: ask for at most {there}"
