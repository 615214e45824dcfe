"""DICOM files, mixed and at any depth, into series: one task a volume."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from medvae.errors import InputError
from medvae.ingest import wire
from medvae.ingest.records import Quarantined, WorkerDiedError, printable
from medvae.ingest.sandbox import Pool
from medvae.ingest.subjects import Subjects, clean_subject
from medvae.ingest.tasks import ReadOptions, Step, Task
from medvae.ingest.trees import File

NO_SUBJECT = "it has no PatientID: say whose it is in a table (--subjects)"


@dataclass
class Group:
    """Files of one key: the slices of a volume, or objects to be passed over alike.

    All that is kept of a file between the two passes is its name.
    """

    subject: str
    modality: str
    skip: str
    files: list[File] = field(default_factory=list)


def series_tasks(
    unrecognised: Sequence[File], pool: Pool, options: ReadOptions, table: Subjects | None
) -> Iterator[Step]:
    """Look at every file once, then make a task of each series found."""
    groups: dict[str, Group] = {}
    for start in range(0, len(unrecognised), wire.BATCH):
        for file, summary in _summaries(unrecognised[start : start + wire.BATCH], pool):
            if reason := summary.get("refused"):
                yield Quarantined(file.source, printable(str(reason)))
            elif summary.get("foreign"):
                yield Quarantined(file.source, "it is neither a NIfTI nor a DICOM file")
            else:
                new = Group(
                    clean_subject(str(summary["subject"])),
                    str(summary["modality"]),
                    printable(str(summary["skip"])),
                )
                groups.setdefault(str(summary["key"]), new).files.append(file)
    shared = _folders_in_common(groups)
    for number, (key, group) in enumerate(groups.items(), start=1):
        source = _source(group, number, shared)
        yield _task(source, key, group, options, table)


def _summaries(files: Sequence[File], pool: Pool) -> Iterator[tuple[File, dict[str, Any]]]:
    """A summary of each file; where a batch brings the worker down, one file at a time."""
    good = []
    for file in files:
        try:
            os.close(file.open())
            good.append(file)
        except InputError as error:
            yield file, {"refused": str(error)}
    if not good:
        return
    try:
        answer, _ = pool.run("headers", good)
        yield from zip(good, answer["ok"], strict=True)
    except (InputError, WorkerDiedError) as error:
        if len(good) == 1:
            yield good[0], {"refused": str(error)}
            return
        for file in good:
            yield from _summaries([file], pool)


def _task(
    source: str, key: str, group: Group, options: ReadOptions, table: Subjects | None
) -> Step:
    if group.skip:
        return Quarantined(source, group.skip)
    if options.modality not in (None, group.modality):
        return Quarantined(source, f"it is {group.modality}, and {options.modality} was asked for")
    subject = group.subject
    meta: dict[str, Any] = {}
    if table is not None:
        try:
            rows = [table.of(file.name or PurePosixPath(source).name) for file in group.files]
        except InputError as error:
            return Quarantined(source, str(error))
        if len({row.subject for row in rows}) > 1:
            return Quarantined(source, f"{table.source} gives its slices different subjects")
        if len({row.category for row in rows}) > 1:
            return Quarantined(source, f"{table.source} gives its slices different classes")
        subject = rows[0].subject
        meta |= table.kept(rows[0])
    if not subject:
        return Quarantined(source, NO_SUBJECT)
    job = {"key": key, "keep_demographics": options.keep_demographics, "meta": meta}
    return Task(source, subject, "series", tuple(group.files), job, weight=len(group.files))


def _folders_in_common(groups: dict[str, Group]) -> set[str]:
    """Folders that hold files of more than one series."""
    seen: dict[str, str] = {}
    common = set()
    for key, group in groups.items():
        for file in group.files:
            folder = str(PurePosixPath(file.source).parent)
            if seen.setdefault(folder, key) != key:
                common.add(folder)
    return common


def _source(group: Group, number: int, shared: set[str]) -> str:
    """A series by its file or folder; numbered where its folder holds others too."""
    first = group.files[0].source
    if len(group.files) == 1:
        return first
    folders = {str(PurePosixPath(file.source).parent) for file in group.files}
    folder = min(folders, key=len)
    if len(folders) == 1 and not folders & shared:
        return folder
    return f"{folder} (series {number}, {len(group.files)} images)"
