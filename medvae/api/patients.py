"""What joins a stage to the vault: patients read and checkpoints kept, both sealed."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from medvae.api import datasets, room
from medvae.api.records import Manifest, VolumeEntry
from medvae.errors import InputError, UsageError
from medvae.grid import Gridded, to_grid
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.anatomy.scan import Scan
    from medvae.config import DataConfig
    from medvae.privacy.ranks import Ranks
    from medvae.vault import Tenant


def check_modality(data: DataConfig, manifest: Manifest) -> None:
    """Refuse a configuration of another modality, or other channels, than the data set's volumes.

    Raises:
        UsageError: names what the data set holds and what the configuration expects.
    """
    expected = data.modalities or (data.modality,)
    kinds = {datasets.modalities_in(entry) for entry in manifest["volumes"]}
    if kinds != {expected}:
        have = " and ".join(", ".join(names) for names in sorted(kinds))
        first = " to the first of them" if any(len(names) > 1 for names in kinds) else ""
        raise UsageError(
            f"data set {manifest['name']} holds {have}, the configuration expects "
            f"{', '.join(expected)}; choose the other configuration or set data.modality{first}"
        )
    channels = {tuple(entry.get("channels", ())) for entry in manifest["volumes"]}
    if channels != {data.channels}:
        have = " and ".join(", ".join(names) or "none" for names in sorted(channels))
        raise UsageError(
            f"the volumes of data set {manifest['name']} have the channels {have}, and the "
            f"configuration expects {', '.join(data.channels) or 'none'}"
        )


class SealedPatients:
    """The patients of a data set on the model's grid, opened when they are asked for.

    Plaintext lives in memory only. Gridded volumes are kept for the run where they are
    small (`room.kept_bytes`), because every epoch would open the same objects again.
    """

    def __init__(self, tenant: Tenant, manifest: Manifest, data: DataConfig) -> None:
        self._tenant = tenant
        self._data = data
        grouped: dict[str, list[VolumeEntry]] = defaultdict(list)
        for entry in manifest["volumes"]:
            grouped[entry["subject"]].append(entry)
        self.subjects = sorted(grouped)
        self._entries = [grouped[subject] for subject in self.subjects]
        check_modality(data, manifest)
        keep = room.kept_bytes(len(manifest["volumes"]), data) > 0
        self._kept: dict[int, list[Gridded]] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.subjects)

    def check(self, progress: Progress, ranks: Ranks | None = None) -> int:
        """Bring every volume to the grid; the number of volumes that cannot be brought there.

        ranks: processes that look at a part of the patients each; the first one has the number
            of all, the others that of their own.

        One pass over the cohort before its budget is spent, so that no patient's data can stop
        the training later. Where gridded volumes are kept, it costs nothing more.

        Raises:
            IntegrityError: a volume is damaged.
        """
        import numpy as np

        from medvae.privacy.ranks import ALONE, share

        ranks = ranks or ALONE
        mine = share(ranks, range(len(self)))
        progress.start("check volumes on the grid", len(mine))
        unusable = 0
        for done, index in enumerate(mine, 1):
            unusable += len(self._entries[index]) - len(self.volumes(index))
            progress.advance(done)
            ranks.check()
        progress.finish()
        total = ranks.collect("volumes beyond the grid", np.array([unusable], np.int64))
        return unusable if total is None else int(total[0])

    def scans(self, index: int) -> list[Scan]:
        """The volumes of patient `index` on their own grids, scaled to [-1, 1].

        A volume that cannot be scaled counts as none: a patient may have none.
        """
        from medvae.anatomy.scan import scan_of

        scans = []
        for entry in self._entries[index]:
            volume = datasets.open_volume(self._tenant, entry)
            with contextlib.suppress(InputError):
                scans.append(scan_of(volume, self._data))
        return scans

    def volumes(self, index: int) -> list[Gridded]:
        """The volumes of patient `index`, each [X, Y, Z] of the grid, in [-1, 1].

        A volume that cannot be brought to the grid counts as none: a patient may have none.
        """
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        gridded = []
        for entry in self._entries[index]:
            volume = datasets.open_volume(self._tenant, entry)
            with contextlib.suppress(InputError):
                gridded.append(to_grid(volume, self._data))
        if self._kept is not None:
            self._kept[index] = gridded
        return gridded


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
