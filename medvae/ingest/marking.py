"""Which volume a DICOM segmentation or structure set marks: by the series that it refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medvae.errors import InputError
from medvae.ingest.records import Quarantined, WorkerDiedError
from medvae.ingest.sandbox import Pool
from medvae.ingest.slices import Slice
from medvae.ingest.splitting import Piece
from medvae.ingest.steps import Task
from medvae.ingest.trees import File

ALONE = "the series that it marks is not among what was given: give both together"
REFUSED = "the series that it marks was refused"
DRAWN_ON = "it was drawn on images of"
UNNAMED = (
    "it does not name the images or frames that it was drawn on: export it again with these "
    "references"
)


def marked(
    marks: Sequence[Slice],
    pieces: Sequence[Piece],
    steps: Sequence[Task | Quarantined],
    scheme: Mapping[str, str] | None,
    pool: Pool,
) -> list[Task | Quarantined]:
    """The steps of all volumes with the objects that mark them, then those that mark none.

    Args:
        steps: one a piece.
        scheme: label number -> name, by which segments are numbered.
        pool: looks up which of several volumes of a series an object was drawn on.
    """
    volumes: dict[str, set[int]] = {}
    for at, piece in enumerate(pieces):
        for slice_ in piece.slices:
            if slice_.series:
                volumes.setdefault(slice_.series, set()).add(at)
    own: dict[int, list[Slice]] = {}
    refused: list[Task | Quarantined] = []
    for mark in marks:
        places = sorted(set().union(*(volumes.get(series, set()) for series in mark.refers)))
        reason, at = _marked_by(mark, places, pieces, steps, pool)
        if not reason and mark.subject != pieces[at].slices[0].subject:
            reason = "it names another patient than the series that it marks"
        if reason:
            refused.append(Quarantined(mark.file.source, reason))
        else:
            own.setdefault(at, []).append(mark)
            step, space = steps[at], pieces[at].slices[0].space
            if isinstance(step, Task) and mark.space and space and mark.space != space:
                step.job["kinds"].append(("framed", ""))
    return [_with(step, own.get(at, []), scheme) for at, step in enumerate(steps)] + refused


def _marked_by(
    mark: Slice,
    places: Sequence[int],
    pieces: Sequence[Piece],
    steps: Sequence[Task | Quarantined],
    pool: Pool,
) -> tuple[str, int]:
    """Why an object marks none of the volumes of its series, or empty; and which it marks."""
    if not places:
        return ALONE, 0
    taken = [at for at in places if isinstance(steps[at], Task)]
    if not taken:
        return REFUSED, 0
    if len(places) == 1:
        return "", taken[0]
    try:
        named = _named(mark, places, pieces, pool)
    except (InputError, WorkerDiedError) as error:
        return str(error), 0
    marked = [at for at in named or taken if at in taken]
    if len(marked) == 1:
        return "", marked[0]
    if not marked:
        return REFUSED, 0
    if named:
        return f"{DRAWN_ON} {len(marked)} volumes of its series: store one object for each", 0
    return f"the series that it marks holds {len(taken)} volumes, and {UNNAMED}", 0


def _named(mark: Slice, numbers: Sequence[int], pieces: Sequence[Piece], pool: Pool) -> list[int]:
    """Those of several volumes whose images or frames an object names.

    Raises:
        InputError, WorkerDiedError: it cannot be looked up.
    """
    files: dict[File, int] = {}
    among = []
    for at in numbers:
        piece = pieces[at]
        places = [files.setdefault(slice_.file, len(files)) for slice_ in piece.slices]
        several = len(piece.slices[0].scans) > 1
        among.append([places, piece.scan if several else None])
    answer, _ = pool.run("referred", [mark.file, *files], pieces=among)
    counts = answer["ok"].get("counts")
    if not isinstance(counts, list) or len(counts) != len(numbers):
        raise InputError("the reading process did not say which volume it marks")
    return [at for at, count in zip(numbers, counts, strict=True) if count]


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
