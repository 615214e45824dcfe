"""Folders that a verb may write to."""

from __future__ import annotations

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
