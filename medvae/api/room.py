"""Memory that measuring a cohort takes, known before its debit from the shapes in its manifest.

A scan is measured on its own grid, so that memory follows the largest scan, and the number of them
that threads and processes hold at a time. A training that this machine cannot hold would end after
its debit; here it is refused before, or measures fewer patients at a time.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medvae import memory
from medvae.api.records import VolumeEntry
from medvae.errors import AccessError
from medvae.space import words

if TYPE_CHECKING:
    from medvae.config import DataConfig, RunConfig

# Volumes on the grid are kept up to that, and opened again for each mechanism beyond it.
MOST_KEPT = 4 << 30
# A process with its libraries loaded.
PROCESS_BYTES = 700 << 20
# Of a scan that is opened, scaled and measured, a voxel and channel. The most by which the peak of
# resident memory of whole trainings grew: 23 to 32 on phantoms of 16 million voxels, one or two
# patients at a time, 12 on whole heads of 35 million.
SCAN_BYTES = 32
# Of a scan's other volumes of the same patient, which wait meanwhile: an image and its labels.
WAITING_BYTES = 5
# Of what it has on the model's spacing: an image, its labels, and a copy while it is cropped.
GRIDDED_BYTES = 12


def threads(
    volumes: Sequence[VolumeEntry],
    cfg: RunConfig,
    processes: int = 1,
    of: int = 1,
    *,
    resumed: bool = False,
) -> int:
    """How many patients each process of this machine can measure at a time; by its cores.

    Args:
        volumes: the data set's.
        processes: of this training on this machine; of: on all machines. What they have loaded by
            now is no longer available, and is not counted again.
        resumed: the run may be debited already.

    Raises:
        AccessError: not even one a process can be held. Nothing more was spent.
    """
    usual = max(1, (os.cpu_count() or 1) // of) if cfg.anatomy.used else 1
    held = kept_bytes(len(volumes), cfg.data) * processes // of
    available = memory.available()
    largest = sorted(by_patient(volumes, cfg), reverse=True)
    for each in range(usual, 0, -1):
        if sum(largest[: each * processes]) <= available - held:
            return each
    needed = sum(largest[:processes]) + held
    many = "one patient" if processes == 1 else f"{processes} patients at a time"
    fewer = "" if processes == 1 else ", fewer processes (--workers)"
    more = "more " if resumed else ""
    raise AccessError(
        f"measuring {many} of this data set takes about {words(needed)} of memory, by the size of "
        f"its largest scans, and {words(available)} are available here; nothing {more}"
        f"was spent: take a machine with more{fewer}, or scans of fewer voxels"
    )


def kept_bytes(volumes: int, data: DataConfig) -> int:
    """Of volumes on the grid that all processes together keep for the run; 0: none are kept."""
    expected = volumes * math.prod(data.size) * (4 * max(len(data.channels), 1) + 1)
    return expected if expected <= MOST_KEPT else 0


def by_patient(volumes: Sequence[VolumeEntry], cfg: RunConfig) -> list[int]:
    """Bytes that measuring each patient takes, in no order."""
    own: dict[str, list[int]] = defaultdict(list)
    for entry in volumes:
        own[entry["subject"]].append(_voxels(entry))
    gridded: dict[str, int] = defaultdict(int)
    for entry in volumes:
        gridded[entry["subject"]] = max(gridded[entry["subject"]], _resampled(entry, cfg))
    return [
        SCAN_BYTES * max(sizes)
        + WAITING_BYTES * (sum(sizes) - max(sizes))
        + GRIDDED_BYTES * gridded[subject]
        for subject, sizes in own.items()
    ]


def _voxels(entry: VolumeEntry) -> int:
    """Of all channels."""
    return math.prod(entry["shape"][-3:]) * _channels(entry)


def _channels(entry: VolumeEntry) -> int:
    return len(entry.get("channels", ())) or math.prod(entry["shape"][:-3])


def _resampled(entry: VolumeEntry, cfg: RunConfig) -> int:
    """Voxels of all channels at the model's spacing, before the grid is cut from them."""
    from medvae.grid import MOST_VOXELS

    if cfg.data.fit != "crop" or cfg.data.spacing is None:
        return math.prod(cfg.data.size) * _channels(entry)
    axes = zip(entry["shape"][-3:], entry["spacing"], cfg.data.spacing, strict=True)
    voxels = math.prod(max(1.0, n * have / want) for n, have, want in axes)
    # A scan of more counts as none.
    return 0 if voxels > MOST_VOXELS else round(voxels) * _channels(entry)
