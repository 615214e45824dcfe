"""DICOM files, mixed and at any depth, into series and volumes: one task a volume."""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from medvae.errors import InputError
from medvae.ingest import channel_names, picture_files, wire
from medvae.ingest.ahead import in_order
from medvae.ingest.marking import marked
from medvae.ingest.notices import Notices
from medvae.ingest.passes import FEWEST_OF_A_PASS, clock
from medvae.ingest.persons import TWO_PATIENTS, Persons
from medvae.ingest.received import ReceivedTree
from medvae.ingest.records import Quarantined, WorkerDiedError, printable
from medvae.ingest.sandbox import Pool
from medvae.ingest.slices import TRAITS, Known, Slice, is_single, slice_of
from medvae.ingest.splitting import Piece, joined, volumes
from medvae.ingest.steps import ReadRequest, Step, Task
from medvae.ingest.subjects import Subjects
from medvae.ingest.trees import File

NO_SUBJECT = "it has no PatientID: say whose it is in a table (--subjects)"
NO_HEADER = "the reading process did not answer with a header"
NOT_DICOM = "it is neither a NIfTI nor a DICOM file"
HALF = "it is half of an Analyze or NIfTI pair: convert it to one .nii"


# The table of each slice's source, by the slice's identity.
Tables = dict[int, Subjects | None]


@dataclass(frozen=True)
class Found:
    """A file that may be DICOM, and the table of its source."""

    file: File
    table: Subjects | None


def series_tasks(
    files: Sequence[Found], pool: Pool, options: ReadRequest, notices: Notices
) -> Iterator[Step]:
    """Look at every file once, then make a task of each volume found, whatever its source.

    Args:
        notices: receives what headers contradict each other in.

    Raises:
        InputError: a received study holds something else than was asked for; raised before
            the first task.
    """
    salt = secrets.token_hex(32) if options.key is None else options.key.hex()
    tables: Tables = {}
    series: dict[Hashable, list[Slice]] = {}
    marks: list[Slice] = []
    known = Known()
    for file_found, summary in _looked_at(files, pool, salt, options):
        try:
            new = _slice(file_found, summary, known)
        except InputError as error:
            yield Quarantined(file_found.file.source, str(error))
            continue
        if isinstance(file_found.file.tree, ReceivedTree):
            file_found.file.tree.check(new, salt)
        if new.marks:
            marks.append(new)
            continue
        tables[id(new)] = file_found.table
        series.setdefault(_series_key(new), []).append(new)
    pieces = joined([piece for slices in series.values() for piece in _pieces(slices)])
    shared = _folders_in_common(pieces)
    steps = [
        _task(_source(piece, number, shared), piece, options, tables, salt)
        for number, piece in enumerate(pieces, start=1)
    ]
    persons = _persons(pieces, steps, tables)
    for kind, source, detail in persons.notices():
        notices.add(kind, source, detail)
    steps = [
        _uncontested(piece, step, persons, tables)
        for piece, step in zip(pieces, steps, strict=True)
    ]
    yield from marked(marks, pieces, steps, options.scheme, pool)


def _persons(pieces: list[Piece], steps: list[Task | Quarantined], tables: Tables) -> Persons:
    """What the headers say of patients, those of files that are not read included."""
    persons = Persons()
    for piece, step in zip(pieces, steps, strict=True):
        for slice_ in piece.slices:
            by_table = tables[id(slice_)] is not None
            by_header = "" if by_table else slice_.subject
            patient = step.subject if isinstance(step, Task) else by_header
            persons.see(slice_, patient, by_table=by_table)
    return persons


def _uncontested(
    piece: Piece, step: Task | Quarantined, persons: Persons, tables: Tables
) -> Task | Quarantined:
    """A task, refused where its study has several patients and no table says whose it is."""
    if isinstance(step, Quarantined) or not any(map(persons.is_contested, piece.slices)):
        return step
    if all(tables[id(slice_)] is None for slice_ in piece.slices):
        return Quarantined(step.source, TWO_PATIENTS)
    step.job["kinds"].append(("contested", ""))
    return step


def _looked_at(
    files: Sequence[Found], pool: Pool, salt: str, options: ReadRequest
) -> Iterator[tuple[Found, dict[str, Any]]]:
    """A summary of each file, in order; the next files are looked at meanwhile."""

    def look(start: int) -> list[tuple[Found, dict[str, Any]]]:
        batch = files[start : start + wire.BATCH]
        return list(_summaries(batch, pool, salt, options.channels))

    jobs = (partial(look, start) for start in range(0, len(files), wire.BATCH))
    for batch in in_order(jobs, options.workers, pool.interrupt):
        yield from batch


def _slice(file_found: Found, summary: Any, known: Known) -> Slice:
    if not isinstance(summary, dict):
        raise InputError(NO_HEADER)
    if reason := summary.get("refused"):
        raise InputError(printable(str(reason)))
    if summary.get("foreign"):
        pair = file_found.file.source.lower().endswith((".hdr", ".img"))
        if picture_files.is_picture(file_found.file.source):
            raise InputError(picture_files.unasked())
        if looks := summary.get("looks"):
            raise InputError(f"it is {printable(str(looks))}")
        raise InputError(HALF if pair else NOT_DICOM)
    try:
        return slice_of(file_found.file, summary, known)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(NO_HEADER) from error


def _series_key(slice_: Slice) -> Hashable:
    """What files of one series share; without a SeriesInstanceUID, the folder and the scan."""
    scan: Hashable = slice_.series
    if not scan:
        scan = slice_.study, slice_.alike, _folder(slice_)
    return slice_.subject, scan, slice_.modality, slice_.skip


def _pieces(slices: list[Slice]) -> list[Piece]:
    if slices[0].skip:
        return [Piece(slices, refusal=slices[0].skip)]
    if picture_files.is_planar(slices[0].modality):
        return [Piece([slice_]) for slice_ in slices]
    return volumes(slices)


def _kinds(piece: Piece) -> list[tuple[str, str]]:
    """Kinds of `medvae.ingest.notices` that a volume is of, with their details."""
    kinds = {
        ("split", piece.split_by): bool(piece.split_by),
        ("interleaved", ""): piece.interleaved,
        ("named", ""): any(slice_.doubtful for slice_ in piece.slices),
        ("joined", ""): piece.joined,
        ("single", ""): is_single(piece.slices),
        ("partial", ""): _is_partial(piece),
    }
    return [kind for kind, holds in kinds.items() if holds]


def _is_partial(piece: Piece) -> bool:
    """Whether a series has fewer slices than its headers count: a part of it was not given."""
    if piece.split_by or not all(slice_.is_flat for slice_ in piece.slices):
        return False
    counted = min(slice_.counted for slice_ in piece.slices)
    return len(piece.slices) < counted or _numbers_are_left_out(piece.slices)


def _numbers_are_left_out(slices: list[Slice]) -> bool:
    """Whether instance numbers leave out every second one, or more: evenly, as no gap shows it."""
    numbers = clock([slice_.traits[TRAITS.index("instance number")] for slice_ in slices])
    if numbers is None or len(slices) < FEWEST_OF_A_PASS:
        return False
    steps = np.diff(np.sort(numbers))
    return bool(steps[0] > 1 and (steps == steps[0]).all())


def _summaries(
    batch: Sequence[Found], pool: Pool, salt: str, channels: Sequence[str]
) -> Iterator[tuple[Found, dict[str, Any]]]:
    """A summary of each file; one at a time where one cannot be opened or ends the worker."""
    try:
        files = [file_found.file for file_found in batch]
        answer, _ = pool.run("headers", files, salt=salt, channels=list(channels))
        summaries = answer["ok"]
        if not isinstance(summaries, list) or len(summaries) != len(batch):
            raise InputError(NO_HEADER)
        yield from zip(batch, summaries, strict=True)
    except (InputError, WorkerDiedError) as error:
        if len(batch) == 1:
            yield batch[0], {"refused": str(error)}
            return
        for file_found in batch:
            yield from _summaries([file_found], pool, salt, channels)


def _task(
    source: str,
    piece: Piece,
    options: ReadRequest,
    tables: Tables,
    salt: str,
) -> Task | Quarantined:
    if reason := _refusal(piece, options):
        return Quarantined(source, reason)
    first = piece.slices[0]
    planar = picture_files.is_planar(first.modality)
    try:
        subject, meta = _whose(source, piece, tables)
    except InputError as error:
        return Quarantined(source, str(error))
    if not subject:
        return Quarantined(source, NO_SUBJECT)
    job: dict[str, Any] = {
        "keys": sorted({slice_.key for slice_ in piece.slices}),
        "salt": salt,
        "keep_demographics": options.demographics,
        "meta": meta,
        "kinds": [("burned", "")] if planar else _kinds(piece),
    }
    if planar:
        job["modality"] = first.modality
    if first.whole and not first.mosaic:
        job |= {"scan": piece.scan, "scans": len(first.scans)}
    files = tuple(slice_.file for slice_ in piece.slices)
    return Task(
        source,
        subject,
        "radiograph" if planar else "series",
        files,
        job,
        weight=0 if piece.scan else len(files),
        case=(subject, first.study or _folder(first)),
        contrasts=_contrasts(first, options),
        space=first.space,
        study=first.study or first.series,
        series=first.series,
        moment=_moment(piece),
        by_table=any(tables[id(slice_)] is not None for slice_ in piece.slices),
    )


def _refusal(piece: Piece, options: ReadRequest) -> str:
    """Why a volume is not read, by its headers alone; empty where it is."""
    modality = piece.slices[0].modality
    if piece.refusal:
        return piece.refusal
    if options.modality not in (None, modality):
        return f"it is {modality}, and {options.modality} was asked for"
    if picture_files.is_planar(modality) and options.modality is None:
        return f"it is a radiograph: ingest such pictures with --modality {modality}"
    return ""


def _moment(piece: Piece) -> float | None:
    """Where in time a volume is in its series (`Task.moment`)."""
    first = piece.slices[0]
    if first.whole and not first.mosaic:
        return float(piece.scan)
    return first.moment if piece.moment is None else piece.moment


def _contrasts(first: Slice, options: ReadRequest) -> tuple[str, ...]:
    """What a series may be a channel of: its modality, and what its description names.

    The description of a PET series names the CT that was taken with it.
    """
    if not options.channels:
        return first.contrasts
    own = {name for name in first.contrasts if channel_names.modality_of(name) in (None, "mri")}
    return tuple(sorted(own | {first.modality}))


def _whose(source: str, piece: Piece, tables: Tables) -> tuple[str, dict[str, Any]]:
    """The patient of a volume and what of the table stays with it. Raises InputError."""
    rows, names = [], set()
    for slice_ in piece.slices:
        table = tables[id(slice_)]
        if table is None:
            names.add(slice_.subject)
        else:
            rows.append(
                (table, table.of(slice_.file.name or PurePosixPath(slice_.file.source).name))
            )
            names.add(rows[-1][1].subject)
    if len(names) > 1:
        by = rows[0][0].source if rows else "the header"
        raise InputError(f"{by} gives its slices different subjects")
    if not rows:
        return piece.slices[0].subject, {}
    table, row = rows[0]
    if len({other.category for _, other in rows}) > 1:
        raise InputError(f"{table.source} gives its slices different classes")
    if len({other.site for _, other in rows}) > 1:
        raise InputError(f"{table.source} gives its slices different sites")
    return row.subject, table.kept(row)


def _folder(slice_: Slice) -> str:
    """The folder of a slice's file, in the words of messages."""
    return posixpath.dirname(slice_.file.source) or "."


def _folders_in_common(pieces: list[Piece]) -> set[str]:
    """Folders that hold files of more than one volume."""
    counts: dict[str, int] = {}
    common = set()
    for number, piece in enumerate(pieces):
        for slice_ in piece.slices:
            folder = _folder(slice_)
            if counts.setdefault(folder, number) != number:
                common.add(folder)
    return common


def _source(piece: Piece, number: int, shared: set[str]) -> str:
    """A volume by its file or folder; numbered where its folder holds others too."""
    first = piece.slices[0].file.source
    scans = piece.slices[0].scans
    if len(scans) > 1:
        return f"{first} (scan {piece.scan + 1} of {len(scans)})"
    if len(piece.slices) == 1:
        return first
    folders = {_folder(slice_) for slice_ in piece.slices}
    folder = min(folders, key=len)
    if len(folders) == 1 and not folders & shared:
        return folder
    return f"{folder} (series {number}, {len(piece.slices)} images)"
