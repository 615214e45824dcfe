"""A verified release as tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from torch.utils.data import Dataset

from medvae.release import OpenRelease, Sample

if TYPE_CHECKING:
    import torchio

# image and label (tensors), subject (text), class (whole number).
Item = dict[str, torch.Tensor | str | int]


class ReleaseDataset(Dataset[Item]):
    """One dictionary a volume (see `medvae.Release.dataset`), read and checked when asked for.

    Raises:
        IntegrityError: on reading a file that was changed after it had been verified.
    """

    def __init__(self, files: OpenRelease, transform: Callable[[Item], Item] | None = None) -> None:
        self._files = files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files.samples)

    def __getitem__(self, index: int) -> Item:
        item = self._item(self._files.samples[index])
        return item if self._transform is None else self._transform(item)

    def _item(self, sample: Sample) -> Item:
        item: Item = {
            "image": self._tensor(sample.images, torch.float32),
            "subject": sample.subject,
        }
        if sample.label_map is not None:
            item["label"] = self._tensor((sample.label_map,), torch.uint8)
        if sample.class_id is not None:
            item["class"] = sample.class_id
        if sample.site is not None:
            item["site"] = sample.site
        return item

    def _tensor(self, paths: tuple[str, ...], dtype: torch.dtype) -> torch.Tensor:
        """[C, X, Y, Z], a channel a file, with its affine [4, 4]."""
        voxels, affine = _stacked(self._files, paths)
        tensor: torch.Tensor = MetaTensor(voxels.to(dtype), affine=torch.from_numpy(affine))
        return tensor


def _stacked(
    files: OpenRelease, paths: tuple[str, ...]
) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """[C, X, Y, Z] of a file a channel, and the affine of the first."""
    images = [files.nifti(path) for path in paths]
    if len(images) == 1 and images[0][0].ndim == 4:
        # A moving image is one file, its frames the last axis.
        voxels, affine = images[0]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0))), affine
    return torch.from_numpy(np.stack([voxels for voxels, _ in images])), images[0][1]


def subjects(files: OpenRelease) -> list[torchio.Subject]:
    """TorchIO subjects, whose voxels are read and checked when they are asked for."""
    import torchio

    def image(kind: type[torchio.Image], *paths: str) -> torchio.Image:
        def read(_: object) -> tuple[torch.Tensor, object]:
            return _stacked(files, paths)

        return kind(files.root / paths[0], reader=read)

    subjects = []
    for sample in files.samples:
        parts: dict[str, object] = {"image": image(torchio.ScalarImage, *sample.images)}
        if sample.label_map is not None:
            parts["label"] = image(torchio.LabelMap, sample.label_map)
        if sample.class_id is not None:
            parts["class_id"] = sample.class_id
        subjects.append(torchio.Subject(subject=sample.subject, **parts))
    return subjects
