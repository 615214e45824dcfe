"""What joins a stage to the vault: patients read and checkpoints kept, both sealed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from medvae.api import datasets
from medvae.config import DataConfig
from medvae.errors import UsageError
from medvae.grid import Gridded, to_grid

if TYPE_CHECKING:
    from medvae.vault import Tenant


class SealedPatients:
    """The patients of a data set on the model's grid, opened when they are asked for.

    Plaintext lives in memory only. Gridded volumes are kept for the run where they are
    small (`keep_bytes`), because every epoch would open the same objects again.
    """

    def __init__(
        self,
        tenant: Tenant,
        manifest: dict[str, Any],
        data: DataConfig,
        keep_bytes: int = 4 << 30,
    ) -> None:
        self._tenant = tenant
        self._data = data
        grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in manifest["volumes"]:
            grouped[entry["subject"]].append(entry)
        self.subjects = sorted(grouped)
        self._entries = [grouped[subject] for subject in self.subjects]
        self._check_modality(manifest)
        x, y, z = data.size
        expected = len(manifest["volumes"]) * x * y * z * 5
        self._kept: dict[int, list[Gridded]] | None = {} if expected <= keep_bytes else None

    def _check_modality(self, manifest: dict[str, Any]) -> None:
        found = {entry["modality"] for entry in manifest["volumes"]}
        if found != {self._data.modality}:
            have = " and ".join(sorted(found))
            raise UsageError(
                f"data set {manifest['name']} holds {have}, the configuration expects "
                f"{self._data.modality}; choose the other configuration or set data.modality"
            )

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def masks(self) -> bool:
        """Whether every volume comes with labels."""
        return all(entry["mask"] for entries in self._entries for entry in entries)

    def volumes(self, index: int) -> list[Gridded]:
        """All volumes of patient `index`, each [X, Y, Z] of the grid, in [-1, 1]."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        opened = [
            to_grid(datasets.open_volume(self._tenant, entry), self._data)
            for entry in self._entries[index]
        ]
        if self._kept is not None:
            self._kept[index] = opened
        return opened


class TenantCheckpoint:
    """One sealed checkpoint a run, replaced atomically."""

    def __init__(self, tenant: Tenant, run: str) -> None:
        self._tenant = tenant
        self._run = run

    def load(self) -> bytes | None:
        """The last checkpoint, or None."""
        stored = self._tenant.find("checkpoint", self._run)
        return None if stored is None else self._tenant.get("checkpoint", stored)

    def save(self, data: bytes) -> None:
        """Seal `data` in place of the one before."""
        self._tenant.put("checkpoint", data, name=self._run, replace=True)

    def forget(self) -> None:
        """Delete it, key and all."""
        stored = self._tenant.find("checkpoint", self._run)
        if stored is not None:
            self._tenant.delete("checkpoint", stored)
