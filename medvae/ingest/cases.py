"""Tasks of one case, one a channel, put together: what `ingest --channels` reads."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from medvae import modality as modalities
from medvae.ingest.channel_names import candidates, modality_of
from medvae.ingest.notices import Notices
from medvae.ingest.records import Quarantined
from medvae.ingest.steps import Passed, ReadRequest, Step, Task

# What a table says of a file that must hold for the whole volume.
_OF_THE_TABLE = {"class": "classes", "site": "sites", "label": "labels"}


@dataclass(frozen=True)
class Case:
    """The tasks of one volume, in the order of its channels."""

    source: str
    channels: Sequence[str]
    tasks: tuple[Task, ...]

    @property
    def weight(self) -> int:
        """How many files it consumes, for progress."""
        return sum(task.weight for task in self.tasks)


def cases(steps: Iterator[Step], request: ReadRequest, notices: Notices) -> Iterator[Step | Case]:
    """Steps with the tasks of each case as one `Case`, or as one refusal.

    Files of no channel are left out with a notice. Decided by names and DICOM headers alone,
    before a voxel is read.
    """
    channels = request.channels
    tasks: dict[Hashable, list[Task]] = {}
    for step in steps:
        if isinstance(step, Task):
            tasks.setdefault(step.case, []).append(step)
        else:
            yield step
    for members in tasks.values():
        places = candidates([task.contrasts for task in members], channels)
        taken = {at for own in places for at in own}
        for at, task in enumerate(members):
            if at not in taken:
                notices.add("channel", task.source)
                yield from [Passed()] * task.weight
        if taken:
            yield from _case(members, places, request)


def _case(
    tasks_of_case: Sequence[Task], places: Sequence[Sequence[int]], request: ReadRequest
) -> Iterator[Step | Case]:
    channels = request.channels
    first = tasks_of_case[min(at for own in places for at in own)]
    reason = _refusal(tasks_of_case, places, channels) or _unsaid(tasks_of_case, places, request)
    if reason:
        yield Quarantined(first.source, reason)
        count = sum(tasks_of_case[at].weight for at in {at for own in places for at in own})
        yield from [Passed()] * (count - 1)
        return
    tasks = [tasks_of_case[own[0]] for own in places]
    if request.modalities:
        pairs = zip(tasks, request.modalities, strict=True)
        tasks = [replace(task, job=task.job | {"modality": own}) for task, own in pairs]
    yield Case(tasks[0].source, channels, tuple(with_one_mask(tasks)))


def _refusal(
    tasks_of_case: Sequence[Task], places: Sequence[Sequence[int]], channels: Sequence[str]
) -> str:
    """Why files are not one volume; empty where they are."""
    for name, own in zip(channels, places, strict=True):
        if not own:
            return (
                f"its case has no image of the channel {name}, and a volume needs all of "
                f"{', '.join(channels)}: add it, or leave the channel out of --channels"
            )
        if len(own) > 1:
            files = " and ".join(PurePosixPath(tasks_of_case[at].source).name for at in own[:3])
            return f"its case has {len(own)} images of the channel {name} ({files}): keep one"
    tasks = [tasks_of_case[own[0]] for own in places]
    if len({task.subject for task in tasks}) > 1:
        return "the table of subjects gives its channels different subjects: keep one"
    for key, plural in _OF_THE_TABLE.items():
        if len({task.job["meta"].get(key) for task in tasks}) > 1:
            return f"the table of subjects gives its channels different {plural}: keep one"
    return ""


def _unsaid(
    tasks_of_case: Sequence[Task], places: Sequence[Sequence[int]], request: ReadRequest
) -> str:
    """Why the unit of a channel is unknown; empty where its file or the user says it."""
    if request.modality or request.modalities:
        return ""
    for name, own in zip(request.channels, places, strict=True):
        kind = modality_of(name)
        if kind is None or tasks_of_case[own[0]].name != "nifti":
            continue
        if modalities.get(kind).recognised is None:
            return (
                f"its channel {name} is a file that does not say whether its intensities are "
                f"{modalities.get(kind).units.words}: say so with --modality, one for each "
                "channel, such as ct,pet"
            )
    return ""


def with_one_mask(tasks: Sequence[Task]) -> Iterator[Task]:
    """Tasks of which the first with label maps alone reads them: they are of the whole case."""
    read = False
    for task in tasks:
        masks = task.job.get("masks")
        if masks and read:
            job = task.job | {"masks": [], "numbers": []}
            yield replace(task, files=task.files[: len(task.job["image"])], job=job)
        else:
            yield task
        read = read or bool(masks)
