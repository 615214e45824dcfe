"""A file of labels that drawn volumes shall show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvae.errors import InputError

if TYPE_CHECKING:
    from medvae.anatomy.scan import LabelMap
    from medvae.config import DataConfig


def read(path: Path, data: DataConfig) -> LabelMap:
    """The labels of a file as the model numbers them; parsed in the sandbox, as scans are.

    Raises:
        InputError: the model has no labels, or the file cannot be read, has a number that the
            model's scheme lacks, or more voxels than a volume may have.
    """
    from medvae.anatomy.scan import LabelMap
    from medvae.api.anatomy_files import Reader
    from medvae.grid import MOST_VOXELS

    if not data.label_numbers:
        raise InputError(
            f"{path} cannot be drawn: the model was trained on scans without labels; train one on "
            "scans with masks"
        )
    with Reader() as reader:
        maps = reader.label_map(path)
    if maps.labels.size > MOST_VOXELS:
        raise InputError(f"{path}: it has more than {MOST_VOXELS} voxels")
    scheme = data.label_scheme or {}
    numbers = list(data.label_numbers)
    others = sorted(set(np.unique(maps.labels).tolist()) - {0, *numbers})
    if others:
        named = ", ".join(f"{number} {scheme.get(str(number), '')}".strip() for number in numbers)
        raise InputError(
            f"{path} has labels that the model does not ({', '.join(map(str, others[:5]))}); "
            f"its labels are {named}"
        )
    table = np.zeros(max(numbers) + 1, np.uint8)
    table[numbers] = np.arange(1, len(numbers) + 1)
    return LabelMap(table[maps.labels], np.asarray(maps.affine, np.float64))
