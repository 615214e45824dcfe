"""Can a network that learnt one contrast from the others on draws do so for patients?

A small network of 3 x 3 x 3 convolutions predicts the last channel from those before it. It is
trained once on patients' volumes and once on draws, and tested on other patients'. Each channel is
scaled by its own percentiles, so that only how channels go together counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor, nn

from medvae.config import DataConfig
from medvae.grid import crop_or_pad, normalise

Volumes = npt.NDArray[np.float32]
WIDTH, STEPS, BATCH, EDGE = 16, 500, 8, 16
RATE = 3e-3


def scaled(channels: Sequence[npt.NDArray[np.generic]]) -> Volumes:
    """[C, X, Y, Z] in [-1, 1] of the channels [X, Y, Z] of a person."""
    data = DataConfig(modality="mri")
    return np.stack([normalise(np.asarray(one, np.float32), data)[0] for one in channels])


def people(folder: Path, endings: Sequence[str], grid: DataConfig | None = None) -> Volumes:
    """[n, C, X, Y, Z] of a folder with one file a channel, of names that end so, in this order.

    grid: with a spacing; volumes are brought to it and cropped or padded. None: they are on one.
    """
    first = sorted(folder.glob(f"*{endings[0]}.nii.gz"))
    names = [path.name.removesuffix(f"{endings[0]}.nii.gz") for path in first]
    return np.stack(
        [
            _on_grid(scaled([own.get_fdata() for own in images]), images[0], grid)
            for name in names
            for images in [[nib.load(folder / f"{name}{own}.nii.gz") for own in endings]]
        ]
    )


def _on_grid(images: Volumes, header: nib.Nifti1Image, grid: DataConfig | None) -> Volumes:
    """[C, X, Y, Z] on the grid's voxels, linearly between those of the file."""
    if grid is None or grid.spacing is None:
        return images
    ratio = np.asarray(header.header.get_zooms()[:3]) / np.asarray(grid.spacing)
    found = [
        ndimage.zoom(image, ratio, order=1, grid_mode=True, mode="nearest") for image in images
    ]
    return np.stack([crop_or_pad(image, grid.size, "edge") for image in found])


def error(train: Volumes, test: Volumes, seed: int, steps: int = STEPS) -> float:
    """Mean absolute error over the test volumes of the last channel, which is in [-1, 1]."""
    torch.manual_seed(seed)
    channels = train.shape[1] - 1
    layers: list[nn.Module] = []
    for before, after in ((channels, WIDTH), (WIDTH, WIDTH)):
        layers += [nn.Conv3d(before, after, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv3d(WIDTH, 1, 3, padding=1))
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    random = np.random.default_rng(seed)
    for _ in range(steps):
        batch = crops(train, random)
        optimizer.zero_grad()
        (net(batch[:, :-1]) - batch[:, -1:]).abs().mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        errors = [
            float((net(one[None, :-1]) - one[None, -1:]).abs().mean())
            for one in torch.from_numpy(test)
        ]
    return float(np.mean(errors))


def crops(volumes: Volumes, random: np.random.Generator) -> Tensor:
    """[BATCH, C, EDGE, EDGE, EDGE] at random places of random volumes; of thin ones all of it."""
    found = []
    for own in random.integers(len(volumes), size=BATCH):
        x, y, z = (int(random.integers(max(n - EDGE, 0) + 1)) for n in volumes.shape[2:])
        found.append(volumes[own][:, x : x + EDGE, y : y + EDGE, z : z + EDGE])
    return torch.from_numpy(np.stack(found))


def without_others(train: Volumes, test: Volumes) -> float:
    """The error of one grey value for all voxels: the training volumes' median."""
    return float(np.abs(test[:, -1] - np.median(train[:, -1])).mean())
