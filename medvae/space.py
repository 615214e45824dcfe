"""Room on a disk: what is free, how much is needed, and the sentence that says so."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from medvae.errors import AccessError

FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether a disk, or an account's share of it, was full."""
    return isinstance(error, OSError) and error.errno in FULL


def free(place: Path) -> int:
    """Bytes free on the disk of a path, or of the first folder above it that is there."""
    for folder in (place.absolute(), *place.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return 0


def words(count: float) -> str:
    """Bytes in a unit that a person reads."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def shortage(place: Path, needed: int, state: str = "what was there before is kept") -> AccessError:
    """The error of a disk that is full.

    Args:
        place: what was written to.
        needed: bytes, about, that it takes. What is free may be more: a quota, or files that
            another process has removed since.
        state: what has become of that which was begun.
    """
    return AccessError(
        f"the disk of {place} is full: {words(free(place))} are free and about {words(needed)} are "
        f"needed; {state}: make room there or name another place, then run the same command again"
    )


@contextlib.contextmanager
def writing(place: Path, needed: int) -> Iterator[None]:
    """A block that writes so many bytes, about, to a file or below a folder.

    Raises:
        AccessError: the disk is full (`shortage`).
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise shortage(place, needed) from error
        raise


def check(place: Path, needed: int, what: str) -> None:
    """Refuse before anything is begun that cannot be finished.

    Raises:
        AccessError: less is free than `what` needs.
    """
    if free(place) < needed:
        raise shortage(place, needed, f"{what} was not begun")
