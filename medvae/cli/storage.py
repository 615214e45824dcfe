"""What a disk refused, in one sentence with the place and the space that is left there."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from medvae import space

# What a disk or an account refuses: storage or access, no defect of ours.
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, *space.FULL)
OUTPUTS = ("-o", "--output", "--out", "--recovery-out", "--sheet")


def sentence(error: OSError, argv: Sequence[str], vault: Path) -> str:
    """Name the place, which an error of writing to an open file does not.

    argv, vault: where this command may have been writing, for want of the error's own word.
    """
    if space.is_full(error):
        place, free = fullest(error, argv, vault)
        return (
            f"the disk of {place} is full ({space.words(free)} free); what the vault held is kept: "
            "make room there, remove a folder that was begun by -o, then run the same command again"
        )
    named = f" {error.filename}" if error.filename else ""
    if error.errno == errno.EROFS:
        return f"the disk of{named or ' this folder'} can only be read: name another place"
    if error.errno == errno.EIO:
        return (
            f"the disk could not read or write{named} (EIO), and nothing is known to be damaged: "
            "check the disk, then run the same command again"
        )
    return f"the system refused{named}: {error.strerror or error}"


def fullest(error: OSError, argv: Sequence[str], vault: Path) -> tuple[Path, int]:
    """The place on the disk with the least room, and the bytes that are free there."""
    if error.filename:
        places = [Path(os.fsdecode(error.filename))]
    else:
        places = [Path(word) for flag, word in itertools.pairwise(argv) if flag in OUTPUTS]
        places.append(vault)
    return min(((place, space.free(place)) for place in places), key=lambda pair: pair[1])
