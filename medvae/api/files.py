"""Folders that a verb may write to."""

from __future__ import annotations

import os
from pathlib import Path

from medvae.errors import UsageError

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
        raise UsageError(f"cannot write to {out}: {error.strerror}") from error
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
        raise UsageError(f"cannot write to {out.parent}: {error.strerror}") from error
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"cannot write to {out.parent}: permission denied")
    return out
