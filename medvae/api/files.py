"""Folders that a verb may write to."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medvae import space
from medvae.errors import MedvaeError, UsageError
from medvae.volume import Volume

# What a file that is written says of itself, should it be parted from its folder.
SYNTHETIC = "synthetic (medvae)"
REAL = "a real patient (medvae)"


def fresh_folder(out: Path) -> None:
    """Make `out`, or accept it when it is an empty folder.

    Raises:
        UsageError: it is a file, holds something, or cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise _refused(out, error) from error
    if taken:
        raise UsageError(f"{out} is not empty; name a new folder")


def new_file(out: Path) -> Path:
    """Make the folder of a file that is to be written and does not exist yet; gives it back.

    Raises:
        UsageError: the file exists, or its folder cannot be made or written to.
    """
    if out.exists():
        raise UsageError(f"{out} exists; name a new file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(out.parent, error) from error
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"cannot write to {out.parent}: permission denied")
    return out


def _refused(place: Path, error: OSError) -> MedvaeError:
    if space.is_full(error):
        return space.shortage(place, 4096, "nothing was written")
    return UsageError(f"cannot write to {place}: {error.strerror}")


@dataclass
class Room:
    """What a block that writes to a folder needs, in bytes, about; known better as it goes on."""

    needed: int


@contextlib.contextmanager
def filling(out: Path, needed: int = 0) -> Iterator[Room]:
    """A block that fills a folder of `fresh_folder`: with everything, or nothing is left in it.

    Half a set looks like a whole one, and would bar the way for the same command.

    Raises:
        AccessError: the disk is full; how much is needed is what the block has said by then.
    """
    room = Room(needed)
    try:
        yield room
    except BaseException as error:
        for left in out.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        if space.is_full(error):
            raise space.shortage(out, room.needed, "nothing was left in it") from error
        raise


def bytes_of(volume: Volume) -> int:
    """What a volume and its mask take in memory: more than its files do, seldom twice as much."""
    return int(volume.voxels.nbytes + (0 if volume.mask is None else volume.mask.nbytes))
