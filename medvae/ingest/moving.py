"""Frames of a moving image put together: what `ingest --frames` reads."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from medvae.cine import frame_names, spread, too_few
from medvae.ingest.cases import Case, with_one_mask
from medvae.ingest.records import Quarantined
from medvae.ingest.steps import Passed, Step, Task

UNORDERED = (
    "its phases do not say in which order they are (TemporalPositionIdentifier, TriggerTime or "
    "AcquisitionTime): export it with one of them"
)


def moving(steps: Iterator[Step], count: int) -> Iterator[Step | Case]:
    """Steps with each moving image as one `Case` of `count` frames, or as a refusal.

    A volume file holds all its frames; the phases of a DICOM series are volumes of their own.
    """
    series: dict[Hashable, list[Task]] = {}
    for step in steps:
        if isinstance(step, Task) and step.name == "series":
            series.setdefault((step.case, step.series), []).append(step)
        elif isinstance(step, Task):
            frames = [_frame(step, index, count) for index in range(count)]
            yield Case(step.source, frame_names(count), tuple(with_one_mask(frames)))
        else:
            yield step
    for phases in series.values():
        yield from _of_series(phases, count)


def _frame(task: Task, index: int, count: int) -> Task:
    """The job of reading one frame of a file; the first counts as the file."""
    job = task.job | {"frame": index, "frames": count}
    return replace(task, job=job, weight=task.weight if index == 0 else 0)


def _of_series(phases: Sequence[Task], count: int) -> Iterator[Step | Case]:
    moments = [phase.moment for phase in phases]
    reason = ""
    if len(phases) < count:
        reason = too_few(len(phases), count)
    elif None in moments or len(set(moments)) < len(moments):
        reason = UNORDERED
    if reason:
        yield Quarantined(phases[0].source, reason)
        yield from [Passed()] * (sum(phase.weight for phase in phases) - 1)
        return
    ordered = sorted(phases, key=lambda phase: phase.moment or 0.0)
    chosen = [ordered[at] for at in spread(count, len(ordered))]
    tasks = [replace(one, job=one.job | {"kinds": _without_split(one)}) for one in chosen]
    if len(ordered) > count:
        tasks[0].job["kinds"].append(("frames", ""))
    yield from [Passed()] * sum(one.weight for one in ordered if one not in chosen)
    yield Case(tasks[0].source, frame_names(count), tuple(with_one_mask(tasks)))


def _without_split(task: Task) -> list[tuple[str, str]]:
    """That a series holds several phases is what was asked for."""
    return [kind for kind in task.job["kinds"] if kind[0] != "split"]
