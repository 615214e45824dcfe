"""A cohort as the anatomy model's stages read it."""

from __future__ import annotations

from typing import Protocol

from medvae.anatomy.scan import Scan


class Scans(Protocol):
    """The cohort, decrypted in memory only."""

    def __len__(self) -> int: ...

    def scans(self, index: int) -> list[Scan]: ...
