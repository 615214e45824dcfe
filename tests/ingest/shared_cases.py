"""Runs the odd cases that lie beside the real scans, and says how each came out.

The cases are `cases/ingest` beside the folder that MEDVAE_REAL_DATA names; what is right of each
is in `shared_cases.yaml`. `test_ingest_shared_cases.py` and `scripts/bench ingest --cases` share
this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ingest_makers import is_sentence

import medvae
from medvae.api import Session, datasets
from medvae.errors import MedvaeError

TABLE = Path(__file__).with_suffix(".yaml")
QUICK = Path(__file__).parents[2] / "configs" / "quick.yaml"
OUTCOMES = ("pass", "told", "refused clearly", "refused falsely", "silent wrong", "crash")
BAD = OUTCOMES[3:]
# Notes that any data set of its kind gets: they tell nothing of a case.
GENERAL = (
    "each file is a subject of its own",
    "was guessed from the numbers",
    "no label scheme is declared",
    "no classes are declared",
)
_PATHS = ("labels", "subjects")
# How far a figure may be from the right one: means and places in mm are rounded in the table.
_NEAR = {"values": 0.006, "origin": 0.006, "spacing": 1e-4, "mask_at": 0.006}
_HOW = ("of", "sources", "options", "then", "train", "told", "left_out", "refused")


@dataclass(frozen=True)
class Case:
    """How a folder is given, and what is right of it.

    Attributes:
        name: the folder, and in which way it is given where there are several.
        right: figures that `Seen.figures` must have; none where it is to be refused.
        steps: options of each ingest, one after the other.
        train: whether a plan and a training follow.
        told, left_out, refused: pieces of notes, of reasons (with how many), of the sentence.
    """

    name: str
    folder: str
    sources: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]
    right: dict[str, Any]
    train: bool = False
    told: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """What it comes to where all is right."""
        if not self.right:
            return "refused clearly"
        return "told" if self.told or self.left_out else "pass"


@dataclass(frozen=True)
class Seen:
    """What an ingest of a case gave: figures and words, or the sentence it ended with."""

    figures: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    sentence: str = ""
    crash: str = ""


def cases() -> list[Case]:
    """All of the table."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["cases"]
    return [
        Case(
            name=name,
            folder=row.get("of", name),
            sources=tuple(row.get("sources", ["."])),
            steps=(row.get("options", {}), *row.get("then", ())),
            right={key: value for key, value in row.items() if key not in _HOW},
            train=row.get("train", False),
            told=tuple(row.get("told", ())),
            left_out=row.get("left_out", {}),
            refused=tuple(row.get("refused", ())),
        )
        for name, row in table.items()
    ]


def folder() -> Path | None:
    """Where the cases lie, or None."""
    real = os.environ.get("MEDVAE_REAL_DATA")
    found = Path(real).resolve().parent / "cases" / "ingest" if real else None
    return found if found is not None and found.is_dir() else None


def run(case: Case, root: Path, out: Path, number: int) -> Seen:
    """Ingest a case into a tenant of its own, of the vault in `out`, as a user would."""
    tenant = f"case{number}"
    session = medvae.create_tenant(
        out / "vault", tenant, identity=out / "identity", recovery=out / f"{tenant}.recovery"
    )
    base = root / case.folder
    try:
        with session:
            for step in case.steps:
                given = {k: base / v if k in _PATHS else v for k, v in step.items()}
                # As a person is told to, where files name no patient.
                given.setdefault("files_are_patients", "subjects" not in given)
                result = session.ingest([base / source for source in case.sources], "d", **given)
            if case.train:
                session.plan(QUICK, "d", small_cohort=True)
                session.train(QUICK, "d", "m", small_cohort=True)
            reasons = tuple(is_sentence(refused.reason) for refused in result.quarantined)
            return Seen(_figures(session), result.notes, reasons)
    except MedvaeError as error:
        if error.exit_code == MedvaeError.exit_code:
            return Seen(crash=repr(error))
        return Seen(sentence=str(error))
    except Exception as error:
        return Seen(crash=repr(error))


def _figures(session: Session) -> dict[str, Any]:
    """What the newest version of the data set holds, opened."""
    tenant = session.tenant
    manifest = datasets.load(tenant, "d")
    volumes = [datasets.open_volume(tenant, entry) for entry in manifest["volumes"]]
    first, masks = volumes[0], [one.mask for one in volumes if one.mask is not None]
    voxels = np.concatenate([one.voxels.ravel() for one in volumes]).astype(np.float64)
    figures: dict[str, Any] = {
        "volumes": len(volumes),
        "patients": len(datasets.subjects(manifest)),
        "unit": manifest["unit"],
        "modality": "/".join(sorted({one.modality for one in volumes})),
        "shape": list(first.shape),
        "spacing": list(first.spacing),
        "origin": first.affine[:3, 3].tolist(),
        "corner": first.voxels[0, 0, 0].item(),
        "values": [voxels.min(), voxels.max(), voxels.mean()],
        "masks": len(masks),
        "labels": sorted({label for mask in masks for label in np.unique(mask).tolist()}),
        "classes": sorted(one.category for one in volumes if one.category is not None),
    }
    if first.mask is not None:
        figures["mask_at"] = np.argwhere(first.mask == first.mask.max()).mean(axis=0).tolist()
    return figures


def judged(case: Case, seen: Seen) -> tuple[str, str]:
    """One of `OUTCOMES`, and why where it is not the one that the case should have."""
    if seen.crash:
        return "crash", seen.crash
    if seen.sentence:
        right = not case.right and all(piece in seen.sentence for piece in case.refused)
        return ("refused clearly", "") if right else ("refused falsely", seen.sentence)
    if not case.right:
        return "silent wrong", "it is to be refused"
    counts = {piece: sum(piece in reason for reason in seen.reasons) for piece in case.left_out}
    for reason in seen.reasons:
        if not any(piece in reason for piece in case.left_out):
            return "refused falsely", reason
    if counts != case.left_out:
        return "silent wrong", f"refused {counts} where {case.left_out} is right"
    if missing := [piece for piece in case.told if not any(piece in n for n in seen.notes)]:
        return "silent wrong", f"no note says {missing}"
    masks = {"masks": 0, "labels": [], "classes": []} | case.right
    for name, right in masks.items():
        if not _same(seen.figures.get(name), right, _NEAR.get(name, 0.0)):
            return "silent wrong", f"{name} {seen.figures.get(name)} where {right} is right"
    specific = [n for n in seen.notes if not any(piece in n for piece in (*GENERAL, *case.told))]
    if specific:
        return "told", f"a note that is not in the table: {specific}"
    return case.outcome, ""


def _same(value: Any, right: Any, near: float) -> bool:
    if isinstance(right, list):
        return isinstance(value, list) and (
            len(value) == len(right)
            and all(_same(*pair, near) for pair in zip(value, right, strict=True))
        )
    if isinstance(right, str) or value is None:
        return bool(value == right)
    return bool(abs(value - right) <= near)
