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

    found = list(stage.read([source], modality=modality))
    if len(found) != 1:
        raise InputError(f"{source} holds {len(found)} scans; give exactly one")
    if isinstance(found[0], stage.Quarantined):
        raise InputError(f"{source}: {found[0].reason}")
    return found[0].volume
