"""The case and the contrast of each volume file of a tree, where channels are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath

from medvae.ingest import bids, channel_names, fourth_axis
from medvae.ingest.pairing import Pairing
from medvae.ingest.steps import ReadRequest, Step, Task
from medvae.ingest.trees import File, Tree


class FileChannels:
    """Cases and contrasts of the files of one tree."""

    def __init__(self, tree: Tree, pairing: Pairing, request: ReadRequest, *, is_bids: bool):
        self._tree, self._pairing, self._request = tree, pairing, request
        self._is_bids = is_bids

    def with_case(self, file: File, task: Task) -> Task:
        """A task with its case and contrasts, where channels are asked for.

        Raises:
            InputError: as `channel_names.numbered`.
        """
        if not self._request.channels:
            return task
        if self._is_bids:
            # Of a session: its CT is in another folder than its PET.
            name, folder = PurePosixPath(file.name).name, str(PurePosixPath(file.name).parents[1])
            contrast = channel_names.of_bids(bids.suffix(file.name), name.split("_"))
            return replace(task, case=(id(self), folder), contrasts=(contrast,))
        image = self._pairing.layout.images.get(file.name)
        if image is None or not image.contrast:
            return replace(task, case=(id(self), file.name))
        contrasts, kinds = {image.contrast}, list(task.job["kinds"])
        if image.contrast.isdigit():
            contrasts.add(self._numbered.get(image.contrast, image.contrast))
            kinds += [("numbered", "")] if image.contrast in self._by_order else []
        return replace(
            task,
            job=task.job | {"kinds": kinds},
            case=(id(self), image.case),
            contrasts=tuple(sorted(contrasts)),
            several=False,
        )

    def steps_of(self, file: File, step: Step) -> Iterator[Step]:
        """The steps of a volume file, which may hold several channels (`fourth_axis`)."""
        image = self._pairing.layout.images.get(file.name)
        if not isinstance(step, Task) or image is None or image.contrast or self._request.frames:
            yield step
        else:
            yield from fourth_axis.layers(step, file.name, self._listed, self._request)

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        return fourth_axis.listed(self._tree)

    @cached_property
    def _numbered(self) -> Mapping[str, str]:
        """Number of a channel in file names -> its name, by dataset.json, else by order.

        Raises:
            InputError: as `channel_names.numbered`.
        """
        sidecar = self._tree.find("dataset.json")
        if sidecar is None:
            return self._by_order
        return channel_names.numbered(self._tree.read(sidecar.name, channel_names.MOST_JSON))

    @cached_property
    def _by_order(self) -> Mapping[str, str]:
        if self._tree.find("dataset.json") is not None:
            return {}
        return {f"{at:04d}": channel.lower() for at, channel in enumerate(self._request.channels)}
