"""`read`: any sources in, volumes and refusals out, one at a time."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from medvae.cine import MOST_FRAMES
from medvae.errors import InputError, IntegrityError, UsageError
from medvae.ingest import channel_names, confine, names, picture_files
from medvae.ingest.archives import Archive
from medvae.ingest.cases import Case, cases
from medvae.ingest.facts import allowed
from medvae.ingest.groups import Found, series_tasks
from medvae.ingest.moving import moving
from medvae.ingest.notices import FROM_WORKER, Notices
from medvae.ingest.numbering import check_names
from medvae.ingest.pairs import Pair
from medvae.ingest.received import Received, ReceivedTree
from medvae.ingest.records import (
    Ingested,
    Quarantined,
    WorkerDiedError,
    printable,
)
from medvae.ingest.sandbox import Pool
from medvae.ingest.stacking import Placed, as_said, stacked
from medvae.ingest.steps import ReadRequest, Step, Task
from medvae.ingest.stored import is_orientation
from medvae.ingest.subject_tables import table_at_top, table_for
from medvae.ingest.subjects import Subjects
from medvae.ingest.tasks import Scanning
from medvae.ingest.trees import ARCHIVES, Folder, Listed, SingleFile, Tree
from medvae.options.flags import takes
from medvae.volume import Volume

KINDS = ("nifti", "headers", "referred", "series", "directory", "members", "content")


@takes(ReadRequest)
def read(
    sources: Sequence[Path | Received], request: ReadRequest
) -> Iterator[Ingested | Quarantined]:
    """Read scans from files, folders and archives, each in a confined process.

    Args:
        sources: volume files (NIfTI, NRRD, MetaImage, MGH, Analyze), folders (of these, BIDS,
            DICOM, or images/ beside labels/), zip and tar archives of these, DICOMDIR files. Of
            a modality of pictures: PNG, JPEG and TIFF files, folders and archives of these.
            Or studies of DICOM that came over the network.
        request: its fields are keyword arguments.

    Yields:
        One `Ingested` or `Quarantined` a scan: NIfTI in the order of the sources, then DICOM,
        whose series may be spread over several sources. Memory holds `workers` + 1 volumes
        and, for DICOM, the names and places of the files.

    Raises:
        UsageError: an argument that cannot be right, or an image that names no patient where
            `files_are_patients` is not set; nothing has been read then.
        InputError: a source that is not there, a table that is not one, or a received study
            that holds another study or patient than was asked for (before the first volume).
        AccessError: a layer is missing, and `require_sandbox` is set; nothing was read.
    """
    request = _checked(sources, request)
    limits = request.limits
    planar = request.modality if picture_files.is_planar(request.modality) else None
    kinds = KINDS if planar is None else picture_files.kinds(planar)
    pool = Pool(
        request.workers,
        kinds,
        limits,
        require_layers=request.require_sandbox,
        first=request.first,
    )
    return _Reading(request, pool).run(list(sources))


def _checked(sources: Sequence[Path | Received], request: ReadRequest) -> ReadRequest:
    """The request, where its arguments can be right. Raises as `read`."""
    orientation = request.orientation
    modality, of_channels = channel_names.modalities_of(request.modality, request.channels)
    if orientation is not None and not is_orientation(orientation):
        raise UsageError(
            f"--orientation {printable(orientation)} is not three of the letters R, L, A, P, S, I "
            "for three axes: expected such as LPS"
        )
    if request.scheme:
        check_names(request.scheme)
    channels = request.channels
    if channels:
        channels = channel_names.checked(channels)
        if request.contrast is not None:
            raise UsageError("--contrast takes one contrast and --channels several: give one")
        if picture_files.is_planar(modality):
            raise UsageError("--channels is for volumes: the channels of pictures are colours")
    _check_frames(request)
    if request.workers < 1:
        raise UsageError(f"workers must be at least 1, not {request.workers}")
    subjects, labels = request.subjects, request.labels
    if subjects is not None and Path(subjects).is_dir():
        raise InputError(f"{printable(str(subjects))} is a folder: expected a table of subjects")
    for path in [*sources, *(p for p in (subjects, labels) if p is not None)]:
        if not isinstance(path, Received) and not _exists(Path(path)):
            raise InputError(f"{printable(str(path))} does not exist: check the path")
    return replace(request, channels=tuple(channels), modality=modality, modalities=of_channels)


def _check_frames(request: ReadRequest) -> None:
    if request.frames is None:
        return
    if not 2 <= request.frames <= MOST_FRAMES:
        raise UsageError(f"--frames is 2 to {MOST_FRAMES}, not {request.frames}")
    planar = picture_files.is_planar(request.modality)
    if request.channels or request.contrast is not None or planar:
        raise UsageError(
            "--frames makes the frames of a volume its channels, and goes with neither --channels "
            "nor --contrast nor pictures: leave one out"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder on the way may not be entered
        return False


class _Reading:
    """The state of one `read`."""

    def __init__(self, options: ReadRequest, pool: Pool) -> None:
        self._options = options
        self._workers = options.workers
        self._progress = options.progress
        self._notes = options.notes or (lambda note: None)
        self._planar = picture_files.is_planar(options.modality)
        self._pool = pool
        self._counting = threading.Lock()
        self._done = 0
        self._by_name = 0
        self._guessed: Counter[str] = Counter()
        self._masks_left_out = 0
        self._unmarked: list[Quarantined] = []
        self._notices = Notices()

    def run(self, sources: list[Path | Received]) -> Iterator[Ingested | Quarantined]:
        """All results; every table is read before the first of them."""
        subjects, labels = self._options.subjects, self._options.labels
        try:
            self._pool.start()
            limits = self._options.limits
            rows = (
                table_for(SingleFile(Path(subjects), limits), self._options) if subjects else None
            )
            masks = self._tree(Path(labels)) if labels else None
            scans = [self._scanning(path, rows, masks) for path in sources]
            self._progress.start("ingest", self._count(scans))
            # Asked before the end of the results, which kills workers that were not needed.
            lacks = confine.missing(self._pool.layers())
            steps: Iterator[Step | Case] = self._steps(scans)
            if self._options.channels:
                steps = cases(self._steps(scans), self._options, self._notices)
            elif self._options.frames:
                steps = moving(self._steps(scans), self._options.frames)
            usable = False
            for result in self._results(steps):
                usable = usable or isinstance(result, Ingested)
                yield result
            yield from self._unmarked
            tables = {id(s.table): s.table for s in scans if isinstance(s, Scanning) and s.table}
            for table in tables.values():
                yield from table.unmet()
                for first, other in table.alike():
                    self._notices.add("spellings", table.source, f"lines {first} and {other}")
                for line in table.nobodies():
                    self._notices.add("placeholder", table.source, f"line {line}")
            if lacks:
                self._notes(f"this system lacks {lacks} to confine the reading process with")
            if usable:
                self._progress.finish()
            self._summarise()
        finally:
            self._pool.stop()

    def _count(self, scans: list[Scanning | Quarantined]) -> int:
        """The number of files; refuses images that name no patient before any is read."""
        total = 0
        for scan in scans:
            if isinstance(scan, Quarantined):
                continue
            count, unnamed = scan.survey()
            total += count
            if unnamed is not None and not self._options.files_are_patients:
                raise UsageError(
                    f"{unnamed.source} names no patient: give --subjects, a CSV with the columns "
                    "filename and subject, or --files-are-patients if privacy is to be per file"
                )
        return total

    def _scanning(
        self, path: Path | Received, rows: Subjects | None, masks: Tree | None
    ) -> Scanning | Quarantined:
        try:
            tree = self._tree(path)
        except (InputError, WorkerDiedError) as error:
            return Quarantined(printable(str(path)), str(error))
        table = rows if rows is not None else table_at_top(tree, self._options)
        return Scanning(tree, self._options, table, masks, self._notices)

    def _tree(self, path: Path | Received) -> Tree:
        limits = self._options.limits
        if isinstance(path, Received):
            return ReceivedTree(path)
        if path.is_dir():
            return Folder(path, limits)
        if path.name.upper() == "DICOMDIR":
            if self._planar:
                raise InputError(picture_files.NO_DICOMDIR)
            return Listed(path, limits, self._pool)
        if path.name.lower().endswith(ARCHIVES):
            return Archive(path, limits, self._pool)
        if path.name.lower().endswith((*names.DETACHED, *names.HEADERS)):
            return Pair(path, limits)
        return SingleFile(path, limits)

    def _steps(self, scans: list[Scanning | Quarantined]) -> Iterator[Step]:
        unrecognised: list[Found] = []
        for scan in scans:
            if isinstance(scan, Quarantined):
                yield scan
                continue
            yield from scan.tasks()
            unrecognised += [Found(file, scan.table) for file in scan.unrecognised]
            scan.unrecognised.clear()
        # All sources together: a series may lie on several discs.
        yield from series_tasks(unrecognised, self._pool, self._options, self._notices)

    def _results(self, steps: Iterator[Step | Case]) -> Iterator[Ingested | Quarantined]:
        """Run tasks on the pool, a few ahead of the one that is yielded, in order."""
        ahead: deque[tuple[int, Future[Ingested | Quarantined] | Quarantined]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="ingest") as threads:
            try:
                for step in steps:
                    if isinstance(step, Task | Case):
                        ahead.append((step.weight, threads.submit(self._run, step)))
                    elif isinstance(step, Quarantined):
                        ahead.append((1, step))
                    else:
                        self._advance(1)
                    while len(ahead) > self._workers:
                        yield self._next(ahead)
                while ahead:
                    yield self._next(ahead)
            finally:
                # An early end (the caller stopped, or Ctrl-C) must not wait for a long job.
                for _, waiting in ahead:
                    if isinstance(waiting, Future):
                        waiting.cancel()
                if ahead:
                    self._pool.interrupt()

    def _next(
        self, ahead: deque[tuple[int, Future[Ingested | Quarantined] | Quarantined]]
    ) -> Ingested | Quarantined:
        weight, waiting = ahead.popleft()
        result = waiting.result() if isinstance(waiting, Future) else waiting
        self._advance(weight)
        return result

    def _advance(self, files: int) -> None:
        self._done += files
        self._progress.advance(self._done)

    def _run(self, step: Task | Case) -> Ingested | Quarantined:
        first = step.tasks[0] if isinstance(step, Case) else step
        try:
            volume = self._volume(step).volume if isinstance(step, Task) else self._stack(step)
        except (InputError, WorkerDiedError) as error:
            return Quarantined(step.source, str(error))
        with self._counting:
            self._by_name += first.own_subject
        return Ingested(
            step.source,
            first.subject,
            volume,
            first.own_subject,
            first.several,
            first.study,
            first.by_table,
        )

    def _stack(self, case: Case) -> Volume:
        """The volume of all channels of a case. Raises InputError."""
        parts = []
        kinds = self._options.modalities or (None,) * len(case.channels)
        for name, task, kind in zip(case.channels, case.tasks, kinds, strict=True):
            try:
                parts.append(as_said(self._volume(task), name, kind))
            except (InputError, WorkerDiedError) as error:
                raise InputError(f"its channel {name} cannot be used: {error}") from error
        volume, notices = stacked(case.channels, parts, self._options.limits)
        for notice in notices:
            self._notices.add(notice, case.source)
        return volume

    def _volume(self, task: Task) -> Placed:
        """The volume of one task. Raises InputError or WorkerDiedError."""
        try:
            answer, received = self._pool.run(task.name, task.files, **task.job)
            volume = Volume.from_bytes(received)
            summary: dict[str, Any] = answer["ok"]
            if not allowed(volume.meta, task.job["meta"]):
                raise IntegrityError("facts that are not of the kinds that are kept")
            if self._planar and not picture_files.answers(volume, task.job["modality"]):
                raise IntegrityError("another kind of image than was asked for")
        except (IntegrityError, KeyError, TypeError) as error:
            raise InputError("the reading process did not answer with a volume") from error
        self._note(task, volume, summary)
        space = task.space or str(summary.get("space", ""))
        return Placed(volume, space, bool(summary.get("guessed")))

    def _note(self, task: Task, volume: Volume, summary: dict[str, Any]) -> None:
        """Count what the user should know of a volume that was read."""
        with self._counting:
            self._masks_left_out += bool(summary.get("note"))
            self._guessed[volume.modality] += bool(summary.get("guessed"))
        if unmarked := summary.get("unmarked"):
            with self._counting:
                self._unmarked += [
                    Quarantined(source, printable(str(unmarked)))
                    for source in task.job["mark_sources"]
                ]
        for kind in FROM_WORKER.intersection(summary.get("notes") or ()):
            self._notices.add(kind, task.source)
        for kind, detail in task.job.get("kinds", ()):
            self._notices.add(kind, task.source, detail)

    def _summarise(self) -> None:
        """What the user should know, once."""
        if self._by_name:
            self._notes(
                f"the patient of {_counted(self._by_name, 'image')} is not named: each file is a "
                "subject of its own and the unit of privacy of this data set is the file"
            )
        for modality, count in sorted(self._guessed.items()):
            if count:
                images = _counted(count, "image")
                self._notes(f"the modality of {images} was guessed from the numbers: {modality}")
        if self._masks_left_out:
            masks = _counted(self._masks_left_out, "mask")
            self._notes(f"left out, for not fitting the image: {masks}")
        for line in self._notices.lines():
            self._notes(line)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
