"""Which volume a DICOM segmentation or structure set marks: by the series that it refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medvae.ingest.records import Quarantined
from medvae.ingest.slices import Slice
from medvae.ingest.splitting import Piece
from medvae.ingest.steps import Task

ALONE = "the series that it marks is not among what was given: give both together"


def marked(
    marks: Sequence[Slice],
    pieces: Sequence[Piece],
    steps: Sequence[Task | Quarantined],
    scheme: Mapping[str, str] | None,
) -> list[Task | Quarantined]:
    """The steps of all volumes with the objects that mark them, then those that mark none.

    Args:
        steps: one a piece.
        scheme: label number -> name, by which segments are numbered.
    """
    volumes: dict[str, set[int]] = {}
    for at, piece in enumerate(pieces):
        for one in piece.slices:
            if one.series:
                volumes.setdefault(one.series, set()).add(at)
    own: dict[int, list[Slice]] = {}
    refused: list[Task | Quarantined] = []
    for mark in marks:
        found = sorted(set().union(*(volumes.get(series, set()) for series in mark.refers)))
        taken = [at for at in found if isinstance(steps[at], Task)]
        if not found:
            reason = ALONE
        elif not taken:
            reason = "the series that it marks was refused"
        elif len(taken) > 1:
            reason = f"the series that it marks holds {len(taken)} volumes: leave one of them"
        elif mark.subject != pieces[taken[0]].slices[0].subject:
            reason = "it names another patient than the series that it marks"
        else:
            own.setdefault(taken[0], []).append(mark)
            continue
        refused.append(Quarantined(mark.file.source, reason))
    return [_with(step, own.get(at, []), scheme) for at, step in enumerate(steps)] + refused


def _with(
    step: Task | Quarantined, marks: Sequence[Slice], scheme: Mapping[str, str] | None
) -> Task | Quarantined:
    if isinstance(step, Quarantined):
        return step
    job = step.job | {
        "images": len(step.files),
        "mark_keys": [mark.key for mark in marks],
        "mark_sources": [mark.file.source for mark in marks],
        "scheme": None if scheme is None else dict(scheme),
    }
    files = (*step.files, *(mark.file for mark in marks))
    return replace(step, files=files, job=job, weight=len(files))
