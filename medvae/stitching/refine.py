"""Registration below a voxel: least squares of grey values over the overlap, in millimetres.

Gauss-Newton on the shift, rotation or affine matrix together with gain and offset, with Huber
weights, so that a lesion or an artefact of one part does not pull.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medvae.stitching.parts import Array, Matrix, corners, points, translation
from medvae.stitching.search import MAD, Mask, band, smoothed

Freedom = Literal["translation", "rigid", "affine"]
FREEDOMS: Final[tuple[Freedom, ...]] = get_args(Freedom)

# Gaussian means of the two rounds, in voxels; steps of a round.
SIGMAS: Final = (2.0, 1.0)
MOST_STEPS: Final = 25
# A step that moves no corner this far (in voxels) is the last.
STILL: Final = 2e-3
MOST_POINTS: Final = 60_000
LEAST_POINTS: Final = 100
# Of a comparison of two images.
COMPARED: Final = 200_000
# Voxels around an overlap that smoothing reaches.
MARGIN: Final = 10
HUBER: Final = 1.345
SEED: Final = 0


@dataclass(frozen=True)
class Image:
    """Grey values on a grid.

    Attributes:
        grey: [X, Y, Z]; shown: where they are known.
        affine: [4, 4] index to millimetres.
    """

    grey: Array
    shown: Mask
    affine: Matrix

    @property
    def axes(self) -> list[int]:
        """Axes with more than one voxel: a picture has two."""
        return [axis for axis, size in enumerate(self.grey.shape) if size > 1]


def overlapping(fixed: Image, moved: Image, matrix: Matrix) -> tuple[Image, Image]:
    """Both images cut to their overlap under a registration, and a margin around it."""
    there = np.linalg.inv(fixed.affine) @ matrix @ moved.affine
    return (
        _cut(fixed, points(there, corners(moved.grey.shape)[:, :3])),
        _cut(
            moved,
            points(np.asarray(np.linalg.inv(there), np.float64), corners(fixed.grey.shape)[:, :3]),
        ),
    )


def _cut(image: Image, box: Matrix) -> Image:
    """The image within the bounds of points [N, 3] in voxels, and `MARGIN` around them."""
    size = np.array(image.grey.shape)
    low = np.clip(np.floor(box.min(axis=0)).astype(int) - MARGIN, 0, size - 1)
    high = np.clip(np.ceil(box.max(axis=0)).astype(int) + MARGIN + 1, low + 1, size)
    where = tuple(map(slice, low, high))
    return Image(image.grey[where], image.shown[where], image.affine @ translation(low))


def refine(fixed: Image, moved: Image, start: Matrix, freedom: Freedom) -> Matrix:
    """[4, 4] millimetres of `moved` to those of `fixed`, near `start`.

    `start` itself is returned where the overlap is too small to improve it.
    """
    matrix = start
    for sigma in SIGMAS:
        matrix = _Round(fixed, moved, sigma, freedom).run(matrix)
    return matrix


class _Round:
    """Gauss-Newton steps on images of one smoothness."""

    def __init__(self, fixed: Image, moved: Image, sigma: float, freedom: Freedom) -> None:
        image = smoothed(fixed.grey, fixed.shown, sigma)
        self._moved = smoothed(moved.grey, moved.shown, sigma)
        self._to_index = np.linalg.inv(moved.affine)
        self._size = np.array(moved.grey.shape)
        self._freedom = freedom
        inner = ndimage.binary_erosion(fixed.shown, _cross(fixed), border_value=1)
        self._index = np.argwhere(inner)
        self._where = points(fixed.affine, self._index)
        at = tuple(self._index.T)
        self._values = image[at].astype(np.float64)
        slopes = np.zeros((len(self._index), 3))
        for axis in fixed.axes:
            slopes[:, axis] = np.gradient(image, axis=axis)[at]
        self._slopes = slopes @ np.linalg.inv(fixed.affine[:3, :3])
        self._voxel = float(np.sqrt((fixed.affine[:3, :3] ** 2).sum(axis=0)).min())
        self._axes = fixed.axes

    def run(self, start: Matrix) -> Matrix:
        back = np.linalg.inv(start)
        chosen = self._inside(self._where, back)
        if len(chosen) < LEAST_POINTS:
            return start
        if len(chosen) > MOST_POINTS:
            chosen = np.random.default_rng(SEED).choice(chosen, MOST_POINTS, replace=False)
        where = self._where[chosen]
        middle = where.mean(axis=0)
        radius = float(np.sqrt(((where - middle) ** 2).sum(axis=1).max())) or 1.0
        moves = self._moves((where - middle) / radius)
        columns = np.einsum("npi,ni->np", moves, self._slopes[chosen])
        for _ in range(MOST_STEPS):
            inside = self._inside(where, back)
            if len(inside) < LEAST_POINTS:
                return start
            index = points(self._to_index @ back, where[inside])
            values = ndimage.map_coordinates(self._moved, index.T, order=3, mode="nearest")
            step = _solve(columns[inside], values, self._values[chosen[inside]])
            back = back @ _moving(step, self._freedom, self._axes, middle, radius)
            if np.abs(np.einsum("npi,p->ni", moves, step)).max() < STILL * self._voxel:
                break
        return np.asarray(np.linalg.inv(back))

    def _inside(self, where: Matrix, back: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        index = points(self._to_index @ back, where)
        inside = ((index > -0.01) & (index < self._size - 0.99)).all(axis=1)
        return np.flatnonzero(inside)

    def _moves(self, place: Matrix) -> npt.NDArray[np.float64]:
        """[N, P, 3] how points (relative to the middle, in radii) move with each parameter."""
        units = np.eye(3)
        moves = [np.broadcast_to(units[axis], place.shape) for axis in self._axes]
        if self._freedom == "rigid":
            moves += [np.cross(units[axis], place) for axis in _turned(self._axes)]
        elif self._freedom == "affine":
            moves += [
                place[:, [other]] * units[axis] for axis in self._axes for other in self._axes
            ]
        return np.stack(moves, axis=1)


def _turned(axes: list[int]) -> list[int]:
    """Axes of rotation: a picture turns around the axis that it lacks."""
    return [0, 1, 2] if len(axes) == 3 else [axis for axis in range(3) if axis not in axes][:1]


def _cross(image: Image) -> Mask:
    """A voxel and its neighbours along the axes that have any."""
    structure = np.zeros((3, 3, 3), bool)
    structure[1, 1, 1] = True
    for axis in image.axes:
        at = [slice(1, 2)] * 3
        at[axis] = slice(None)
        structure[tuple(at)] = True
    return structure


def _solve(columns: Matrix, moved: Matrix, fixed: Matrix) -> npt.NDArray[np.float64]:
    """The parameters' step: fixed = gain * moved + offset + slopes * move, with Huber weights."""
    table = np.concatenate([columns, moved[:, None], np.ones((len(moved), 1))], axis=1)
    weight = np.ones(len(moved))
    solved = np.zeros(table.shape[1])
    for _ in range(2):
        root = np.sqrt(weight)
        solved = np.linalg.lstsq(table * root[:, None], fixed * root, rcond=None)[0]
        left = np.abs(fixed - table @ solved)
        scale = HUBER * MAD * float(np.median(left))
        weight = np.minimum(1.0, scale / np.maximum(left, 1e-12)) if scale > 0 else weight
    return np.asarray(solved[: columns.shape[1]])


def _moving(
    step: npt.NDArray[np.float64], freedom: Freedom, axes: list[int], middle: Matrix, radius: float
) -> Matrix:
    """[4, 4] the motion of a step."""
    moving = np.eye(4)
    shift = np.zeros(3)
    shift[axes] = step[: len(axes)]
    rest = step[len(axes) :] / radius
    if freedom == "rigid":
        turn = np.zeros(3)
        turn[_turned(axes)] = rest
        moving[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    elif freedom == "affine":
        moving[np.ix_(axes, axes)] += rest.reshape(len(axes), len(axes))
    moving[:3, 3] = middle + shift - moving[:3, :3] @ middle
    return moving


@dataclass(frozen=True)
class Agreement:
    """How well two images agree where they overlap.

    Attributes:
        correlation: of their fine structure.
        gain, offset: by which values of the moved image become those of the fixed one.
        voxels: of the fixed image in the overlap.
    """

    correlation: float
    gain: float
    offset: float
    voxels: int


def agreement(fixed: Image, moved: Image, matrix: Matrix) -> Agreement:
    """The agreement under a registration: a correlation of 0 where nothing can be said.

    The gain is the ratio of the two spreads, which noise on both sides does not bias, without
    the voxels that disagree most.
    """
    index = np.argwhere(fixed.shown)
    there = points(np.linalg.inv(moved.affine) @ np.linalg.inv(matrix) @ fixed.affine, index)
    size = np.array(moved.grey.shape)
    inside = ((there > -0.01) & (there < size - 0.99)).all(axis=1)
    count = int(inside.sum())
    if count < LEAST_POINTS:
        return Agreement(0.0, 1.0, 0.0, count)
    indices = np.flatnonzero(inside)
    if count > COMPARED:
        indices = np.random.default_rng(SEED).choice(indices, COMPARED, replace=False)
    at, there = tuple(index[indices].T), there[indices].T

    def both(image: Array, other: Array) -> tuple[Matrix, Matrix]:
        values = ndimage.map_coordinates(other, there, order=3, mode="nearest")
        return image[at].astype(np.float64), values.astype(np.float64)

    a, b = both(band(fixed.grey, fixed.shown), band(moved.grey, moved.shown))
    flat = min(float(a.std()), float(b.std())) < 1e-9
    correlation = 0.0 if flat else float(np.corrcoef(a, b)[0, 1])
    a, b = both(smoothed(fixed.grey, fixed.shown, 1.0), smoothed(moved.grey, moved.shown, 1.0))
    gain, offset = _line(a, b)
    left = np.abs(a - gain * b - offset)
    is_inlier = left <= 3 * MAD * np.median(left) + 1e-9
    if is_inlier.sum() >= LEAST_POINTS:
        gain, offset = _line(a[is_inlier], b[is_inlier])
    return Agreement(correlation, gain, offset, count)


def _line(a: Matrix, b: Matrix) -> tuple[float, float]:
    """Gain and offset of the reduced major axis; the means alone where one side is flat."""
    spread = float(b.std())
    gain = float(a.std()) / spread if min(float(a.std()), spread) > 1e-9 else 1.0
    return gain, float(a.mean()) - gain * float(b.mean())
