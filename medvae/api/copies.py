"""Scans that are stored already: the same under another name, or declared public.

Every volume's likeness (see `medvae.ingest.likeness`) is sealed in its data set's manifest.
Few volumes come near another person's there, and these alone are opened and compared.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.api import datasets
from medvae.api.records import VolumeEntry
from medvae.errors import UsageError
from medvae.ingest import likeness
from medvae.ingest.likeness import COARSE, FINE, IS_COPY, MAY_BE_COPY, Cube

if TYPE_CHECKING:
    from medvae.config import RunConfig
    from medvae.vault import Tenant
    from medvae.volume import Volume

Voxels = (
    npt.NDArray[np.int16]
    | npt.NDArray[np.float32]
    | npt.NDArray[np.float64]
    | npt.NDArray[np.bool_]
)

_BLOCKS = COARSE**3
_INVARIANTS = len(likeness.invariants(np.zeros((COARSE, COARSE, COARSE), np.float32)))
# Of products of float32 numbers.
_ROUNDING = 1e-4


def _doubled(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.concatenate([rows, np.zeros_like(rows)])


def voxel_digest(tenant: Tenant, voxels: Voxels) -> str:
    """Keyed digest of voxels [X, Y, Z] alone, whatever header they came with."""
    return tenant.digest(np.ascontiguousarray(voxels).reshape(-1).view(np.uint8).data, "voxels")


class _Last:
    """The coarse blocks of the array that was asked for last: two steps of an ingest need them."""

    def __init__(self) -> None:
        self._array: Callable[[], object] = object
        self._text = ""

    def packed(self, voxels: Voxels) -> str:
        """`likeness.packed` of the `COARSE` blocks of an array that nobody changes meanwhile."""
        if self._array() is not voxels:
            self._text = likeness.packed(likeness.blocks(voxels, COARSE))
            self._array = weakref.ref(voxels)
        return self._text


_last = _Last()


def find_likeness(volume: Volume) -> None:
    """What `note_likeness` and `Stored.copies` need of a volume, which they then find at once."""
    _last.packed(volume.grey)


def note_likeness(entry: VolumeEntry, volume: Volume) -> None:
    """Add what a manifest keeps of a volume to compare it by; contrasts also each by itself."""
    entry["likeness"] = _last.packed(volume.grey)
    if volume.mask is not None:
        entry["mask_likeness"] = likeness.packed(likeness.blocks(volume.mask > 0, COARSE))
    if contrasts := contrasts_of(volume):
        entry["channel_likeness"] = [
            likeness.packed(likeness.blocks(contrast, COARSE)) for contrast in contrasts
        ]


def contrasts_of(volume: Volume) -> list[Voxels]:
    """[X, Y, Z] of each channel that could be a scan of its own; colours could not."""
    kind = modalities.get(volume.modality)
    return list(volume.voxels) if volume.channels and not kind.planar else []


class Stored:
    """The volumes of a tenant, to find those that a new one is a copy of."""

    def __init__(self, tenant: Tenant, what: str = "likeness") -> None:
        """`what`: "likeness" compares the images, "mask_likeness" the masks."""
        self._tenant = tenant
        self._what = what
        self._rows = np.zeros((64, _BLOCKS), np.float32)
        self._invariants = np.zeros((64, _INVARIANTS), np.float32)
        self._sizes = np.zeros((64, _INVARIANTS // 6), np.float32)
        self._entries: list[tuple[VolumeEntry, int | None]] = []
        self._known: set[tuple[str, str]] = set()
        for entry in datasets.every_entry(tenant):
            self.add(entry)

    def add(self, entry: VolumeEntry) -> None:
        """Compare later volumes with this one too. One sealed by an earlier version is opened."""
        key = entry["object"], entry["subject"]
        if key in self._known or (self._what == "mask_likeness" and not entry["mask"]):
            return
        self._known.add(key)
        whole = self._what == "likeness"
        text = entry.get("likeness") if whole else entry.get("mask_likeness")
        cube = self._opened(entry, None, COARSE) if text is None else likeness.unpacked(text)
        self._append(entry, None, cube)
        contrasts = entry.get("channel_likeness", ()) if whole else ()
        for channel, text in enumerate(contrasts):
            self._append(entry, channel, likeness.unpacked(text))

    def _append(self, entry: VolumeEntry, channel: int | None, cube: Cube) -> None:
        if len(self._entries) == len(self._rows):
            self._rows = _doubled(self._rows)
            self._invariants = _doubled(self._invariants)
            self._sizes = _doubled(self._sizes)
        self._rows[len(self._entries)] = cube.ravel()
        numbers = likeness.invariants(cube)
        self._invariants[len(self._entries)] = numbers
        self._sizes[len(self._entries)] = likeness.sizes(numbers)
        self._entries.append((entry, channel))

    def copies(self, voxels: Voxels) -> Iterator[VolumeEntry]:
        """Entries of the volumes that voxels [X, Y, Z] are a copy of, in any orientation."""
        coarse = likeness.unpacked(_last.packed(voxels))
        fine: Cube | None = None
        for index in self._near(coarse):
            entry, channel = self._entries[index]
            fine = likeness.blocks(voxels, FINE) if fine is None else fine
            if likeness.correlation(fine, self._opened(entry, channel, FINE)) > IS_COPY:
                yield entry

    def _near(self, coarse: Cube) -> npt.NDArray[np.intp]:
        """Rows whose blocks correlate with these in some orientation.

        Few numbers of a row are compared first, more of the rows that are left, and all 48
        orientations of those alone whose invariants correlate as much.
        """
        mine = likeness.invariants(coarse)
        alike = self._sizes[: len(self._entries)] @ likeness.sizes(mine)
        few: npt.NDArray[np.intp] = np.flatnonzero(alike > MAY_BE_COPY - _ROUNDING)
        few = few[self._invariants[few] @ mine > MAY_BE_COPY - _ROUNDING]
        if not few.size:
            return few
        turned = likeness.orientations(coarse)
        near = np.abs(turned @ self._rows[few].T).max(axis=0)
        return np.asarray(few[near > MAY_BE_COPY])

    def _opened(self, entry: VolumeEntry, channel: int | None, edge: int) -> Cube:
        volume = datasets.open_volume(self._tenant, entry)
        if self._what == "likeness":
            image = volume.grey if channel is None else volume.voxels[channel]
            return likeness.blocks(image, edge)
        assert volume.mask is not None
        return likeness.blocks(volume.mask > 0, edge)


def check_template(tenant: Tenant, cfg: RunConfig) -> None:
    """Refuse a public template that is a scan of the tenant's, or its labels one's mask.

    Raises:
        UsageError: it is, or so close to one that the two cannot be distinguished.
    """
    from medvae.atlas import nifti
    from medvae.ingest.normalise import rescaled

    for key, what in (("public", "likeness"), ("public_labels", "mask_likeness")):
        name = getattr(cfg.atlas, key)
        if name in (None, "none", "mni152"):
            continue
        image, _ = nifti.parse(Path(name).read_bytes(), f"atlas.{key} {name}")
        voxels: Voxels = image if key == "public" else image > 0
        same = voxel_digest(tenant, rescaled(image)) in datasets.owners(tenant)
        if same or next(Stored(tenant, what).copies(voxels), None) is not None:
            kind = "a scan" if key == "public" else "the mask"
            raise UsageError(
                f"atlas.{key} {name} is {kind} of an ingested patient, or so close to one that "
                "the two cannot be distinguished; name a file that shows nobody of this tenant"
            )
