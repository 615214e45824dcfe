"""Memory of the processes of a training, by the number of volumes: does a worker's grow?

Two processes train on made-up patients, a small volume each. The anatomy model takes half a second
a patient and mechanism, so that the largest cohort is measured with the cosine model alone.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import scale_processes

# Volumes, by what is trained; what `--quick` takes.
SIZES = {"cosines": (10, 100, 1000), "anatomy": (10, 60)}
QUICK = {"cosines": (10, 40), "anatomy": (5, 10)}
COSINES = (
    *("data.size=[24, 24, 16]", "data.spacing=[6, 6, 9]", "data.modality=mri"),
    *("cosines.share=1", "anatomy.share=0", "anatomy.library=none", "atlas.share=0"),
    *("prior.share=0", "finetune.share=0", "finetune.steps=0"),
)
# Bytes that a worker may have more for each volume: four copies of one on the grid, with its label
# map, and its line of the manifest.
A_VOLUME = 4 * 24 * 24 * 16 * 5 + 5_000


def run(quick: bool) -> dict[str, Any]:
    """Peaks of the first process and of the worker, for each size."""
    rows = []
    for kind, sizes in (QUICK if quick else SIZES).items():
        for volumes in sizes:
            with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
                rows.append(one(Path(folder), kind, volumes))
            print(rows[-1], flush=True)
    return {"memory": rows}


def one(place: Path, kind: str, volumes: int) -> dict[str, Any]:
    """One training by two processes."""
    scale_processes.cohort(place, volumes)
    settings = COSINES if kind == "cosines" else scale_processes.SETTINGS
    process = scale_processes.training(place, "begin", 2, scale_processes.CONFIG, settings)
    scale_processes.finished(place, process)
    found = json.loads((place / "clock.json").read_text(encoding="utf-8"))
    first, worker = found["peaks"]
    return {"kind": kind, "volumes": volumes, "first": first, "worker": worker}


def growth(rows: list[dict[str, Any]], kind: str) -> float:
    """Bytes that the worker has more for each further volume."""
    own = sorted((one for one in rows if one["kind"] == kind), key=lambda one: one["volumes"])
    more = own[-1]["volumes"] - own[0]["volumes"]
    return float(own[-1]["worker"] - own[0]["worker"]) / more


def targets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A worker has no more for each volume than what is kept of one."""
    judged = []
    for kind in sorted({one["kind"] for one in found["memory"]}):
        value = growth(found["memory"], kind)
        target = {"target": f"<= {A_VOLUME}", "met": value <= A_VOLUME}
        judged.append({"name": f"bytes of a worker a volume, {kind}", "value": value} | target)
    return judged
