"""Files that hold all channels along their fourth axis, as the Medical Segmentation Decathlon has.

`dataset.json` names the channels. A file is one task for each of them that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from medvae.errors import InputError
from medvae.ingest import channel_names, names
from medvae.ingest.layout_names import tokens
from medvae.ingest.pairing import EVERY_CONTRAST
from medvae.ingest.records import Quarantined, printable
from medvae.ingest.steps import ReadRequest, Step, Task
from medvae.ingest.trees import Tree


def listed(tree: Tree) -> tuple[str, ...]:
    """The channels that a tree's dataset.json names, in order; none for one, or without it."""
    sidecar = tree.find("dataset.json")
    if sidecar is None:
        return ()
    try:
        numbered = channel_names.numbered(tree.read(sidecar.name, channel_names.MOST_JSON))
    except InputError:
        # Other programs have a file of that name; where channels are asked for by number, it is
        # refused (`file_channels`).
        return ()
    ordered = tuple(f"{at:04d}" for at in range(len(numbered)))
    if len(numbered) < 2 or set(ordered) != set(numbered):
        return ()
    return tuple(printable(numbered[number]) for number in ordered)


def layers(
    task: Task, name: str, channels: tuple[str, ...], request: ReadRequest
) -> Iterator[Step]:
    """The tasks of a file that may hold these channels along its fourth axis.

    Args:
        task: of the file as a whole.
        name: of the file.
    """
    numbers = {f"{at:04d}" for at in range(len(channels))}
    if not channels or not name.lower().endswith(names.NIFTI) or tokens(name)[-1] in numbers:
        yield task
        return
    kinds = [kind for kind in task.job["kinds"] if kind[0] != "nameless"]
    of_each = [
        replace(
            task,
            job=task.job | {"kinds": kinds, "frame": at, "frames": len(channels), "exact": True},
            contrasts=(channel,),
            weight=int(at == 0),
        )
        for at, channel in enumerate(channels)
    ]
    if request.channels:
        yield from of_each
    elif request.contrast == EVERY_CONTRAST:
        for channel, of_one in zip(channels, of_each, strict=True):
            source = f"{task.source} ({channel})"
            yield replace(of_one, source=source, several=task.own_subject)
    elif request.contrast is None:
        yield replace(task, job=task.job | {"layers": list(channels)})
    elif request.contrast.lower() in channels:
        yield replace(of_each[channels.index(request.contrast.lower())], weight=1)
    else:
        yield Quarantined(
            task.source,
            f"it has no channel {printable(request.contrast)}: dataset.json names "
            f"{', '.join(channels)}",
        )
