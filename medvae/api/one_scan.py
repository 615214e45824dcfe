"""The one scan of a file or folder that a user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvae.errors import InputError

if TYPE_CHECKING:
    from medvae.volume import Volume


def read(source: Path, modality: str | None) -> Volume:
    """The scan; parsed in the sandbox, as at ingest.

    Raises:
        InputError: it cannot be read, or there is none or more than one.
    """
    from medvae import ingest as stage

    scans = list(stage.read([source], modality=modality))
    if len(scans) != 1:
        raise InputError(f"{source} holds {len(scans)} scans; give exactly one")
    if isinstance(scans[0], stage.Quarantined):
        raise InputError(f"{source}: {scans[0].reason}")
    return scans[0].volume
