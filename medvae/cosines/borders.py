"""Borders: what is finer than the kept coefficients has the phases that a shock filter leaves.

Waves of random signs add up to clouds: no border is in them, however right the power of each band
is. A shock filter (Osher and Rudin 1990; with a Gaussian before its sign, Alvarez and Mazorra 1994)
moves the values of an image toward the nearest crest or trough, so that a border is between
them. Depends on the drawn image alone: post-processing, which costs no privacy.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medvae.cosines.basis import Array, Basis

# Public, as all of the constants here. After each round the bands have their power again. Channels
# are sharpened one by one: each round takes some of their correlation.
ROUNDS: Final = 3
ROUNDS_OF_CONTRASTS: Final = 1
# No band is taken to have less power than this: a constant image has none.
FAINTEST: Final = 1e-12
# Steps of a round, and how far each goes: at 1 / 2 or less in two dimensions no step overshoots.
STEPS: Final = 8
STEP: Final = 0.25
# Standard deviation, in voxels, of the Gaussian whose image says where crests and troughs are.
BLUR: Final = 1.5
_REACH: Final = 4
# A second derivative, in half the range of grey values over a voxel's square, that counts as none.
STRAIGHT: Final = 0.005


def sharpened(image: Tensor) -> Tensor:
    """`STEPS` steps of a shock filter on [C, X, Y, Z], each channel by itself; the same shape.

    No value leaves the range of its channel. Additions and products of voxels alone, and continuous
    in them: what rounding changes in an image stays as small.
    """
    axes = [axis for axis in (1, 2, 3) if image.shape[axis] > 1]
    for _ in range(STEPS):
        image = image - STEP * _side(_blurred(image, axes), axes) * _rise(image, axes)
    return image


def _side(image: Tensor, axes: list[int]) -> Tensor:
    """On which side of a border: the second derivative along the gradient, squashed to [-1, 1]."""
    slopes = {axis: _central(image, axis) for axis in axes}
    bend, square = torch.zeros_like(image), torch.full_like(image, FAINTEST)
    for place, first in enumerate(axes):
        square = square + slopes[first] * slopes[first]
        for second in axes[place:]:
            part = slopes[first] * slopes[second] * _central(slopes[first], second)
            bend = torch.add(bend, part, alpha=1.0 if first == second else 2.0)
    bend = bend / square
    return bend / torch.sqrt(bend * bend + STRAIGHT**2)


def _rise(image: Tensor, axes: list[int]) -> Tensor:
    """Length of the gradient, of each axis the smaller of both sides' slopes, 0 at an extremum."""
    square = torch.zeros_like(image)
    for axis in axes:
        behind, ahead = _differences(image, axis)
        least = torch.minimum(ahead.abs(), behind.abs())
        square = square + least * least * (ahead * behind > 0)
    return torch.sqrt(square)


def _blurred(image: Tensor, axes: list[int]) -> Tensor:
    weights = [math.exp(-0.5 * (n / BLUR) ** 2) for n in range(-_REACH, _REACH + 1)]
    for axis in axes:
        wide, count = _widened(image, axis, _REACH), image.shape[axis]
        total = torch.zeros_like(image)
        for place, weight in enumerate(weights):
            part = wide.narrow(axis, place, count)
            total = torch.add(total, part, alpha=weight / sum(weights))
        image = total
    return image


def _central(image: Tensor, axis: int) -> Tensor:
    behind, ahead = _differences(image, axis)
    return (behind + ahead) * 0.5


def _differences(image: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """From the voxel before, and to the one behind; 0 beyond an end."""
    wide, count = _widened(image, axis, 1), image.shape[axis]
    steps = wide.narrow(axis, 1, count + 1) - wide.narrow(axis, 0, count + 1)
    return steps.narrow(axis, 0, count), steps.narrow(axis, 1, count)


def _widened(image: Tensor, axis: int, reach: int) -> Tensor:
    """Each end's value repeated beyond it."""
    count = image.shape[axis]
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, count - 1, 1)
    return torch.cat([first] * reach + [image] + [last] * reach, dim=axis)


def bordered(basis: Basis, values: Array, kept: npt.NDArray[np.int64], rounds: int) -> Array:
    """[F] coefficients with borders: the power of each band and the kept ones stay as they are.

    values: [F] of one image; label planes stay, too.
    """
    return np.asarray(bordered_images(basis, values[None], kept, rounds)[0])


def bordered_images(basis: Basis, values: Array, kept: npt.NDArray[np.int64], rounds: int) -> Array:
    """[n, F] of n images, each as `bordered` makes it, in a fraction of the time."""
    shape = (len(values), basis.channels, *basis.size)
    still = np.concatenate([kept, np.arange(basis.channels * math.prod(basis.size), len(basis))])
    wanted, own = np.stack([basis.by_band(one**2) for one in values]), values
    for _ in range(rounds):
        images = np.stack([basis.synthesise(one) for one in own]).reshape(-1, *basis.size)
        sharp = sharpened(torch.from_numpy(images)).numpy().reshape(shape)
        found = np.stack([basis.analyse(image) for image in sharp])
        power = np.maximum(np.stack([basis.by_band(one**2) for one in found]), FAINTEST)
        own = found * np.sqrt(wanted / power)[:, basis.band]
        own[:, still] = values[:, still]
    return own
