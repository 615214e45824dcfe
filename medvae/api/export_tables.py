"""What an export writes beside its images, so that ingesting it gives the same cohort."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medvae.api.records import VolumeEntry
from medvae.volume import Volume

SUBJECTS, SCHEME = "subjects.csv", "label_scheme.csv"


def row(image: Path, entry: VolumeEntry, volume: Volume) -> dict[str, object]:
    """The line of an image; `unit`: whether its subject is a patient or stands for a file."""
    fields = {
        "filename": image.name,
        "subject": entry["subject"],
        "unit": "file" if entry.get("own_subject") else "patient",
        "class": volume.meta.get("class"),
        "site": volume.meta.get("site"),
        "label": volume.meta.get("label"),
    }
    return {key: value for key, value in fields.items() if value is not None}


def write(
    out: Path, rows: Sequence[Mapping[str, object]], scheme: Mapping[str, str] | None
) -> tuple[Path, ...]:
    """subjects.csv (`--class-column class`, `--site-column site`, `--label-column label`) and
    label_scheme.csv (`--label-scheme`), where one is declared; returns the files written.
    """
    order = ("filename", "subject", "unit", "class", "site", "label")
    columns = [key for key in order if _any(rows, key)]
    written = [_table(out / SUBJECTS, columns, rows)]
    if scheme:
        ordered = sorted(scheme.items(), key=lambda item: int(item[0]))
        lines = [{"value": number, "name": name} for number, name in ordered]
        written.append(_table(out / SCHEME, ["value", "name"], lines))
    return tuple(written)


def _any(rows: Iterable[Mapping[str, object]], key: str) -> bool:
    return any(key in row for row in rows)


def _table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Path:
    with path.open("x", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return path
