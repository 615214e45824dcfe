"""How alike two scans are, up to orientation and a linear change of intensities.

A scan is compared by the means of equal blocks of its array: whatever its size, it has
`COARSE`^3 of them to find candidates by and `FINE`^3 to decide by. A copy with another header,
gain, offset, data type, a few other voxels or a little noise keeps its blocks.
"""

from __future__ import annotations

import base64
import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Cube = npt.NDArray[np.float32]

COARSE, FINE = 8, 32
# Correlations of blocks: above the first, two scans may be copies; above the second, they are.
# Chosen on copies and pairs of patients of data sets that the tests do not use.
MAY_BE_COPY, IS_COPY = 0.995, 0.999
EXTREME = 0.002
_LOOKED_AT = 1 << 21
_STEPS = 127


def blocks(voxels: npt.NDArray[Any], edge: int) -> Cube:
    """[edge, edge, edge] means of equal blocks of an array [X, Y, Z], with mean 0 and norm 1.

    Voxels that are not finite count as the least finite one; the `EXTREME` part of them at
    either end count as the least extreme of these, or one bright voxel would outweigh a scan.
    All zeros where the blocks do not differ.
    """
    if voxels.dtype.kind in "iub" and voxels.dtype.itemsize <= 2 and len(voxels) >= edge:
        return _unit(_of_whole_numbers(voxels, edge))
    weights = [_overlaps(n, edge) for n in voxels.shape]
    finite = voxels.dtype.kind in "iub" or bool(np.isfinite(voxels).all())
    least = 0.0 if finite else _least(voxels)
    low, high = _range(voxels)
    total = np.zeros((edge, edge, edge))
    # A slab at a time: no second copy of a large scan.
    for index, slab in enumerate(voxels):
        values = slab.astype(np.float64)
        if not finite:
            values[~np.isfinite(values)] = least
        np.clip(values, low, high, out=values)
        total += np.multiply.outer(weights[0][:, index], weights[1] @ values @ weights[2].T)
    return _unit(total)


def _of_whole_numbers(voxels: npt.NDArray[Any], edge: int) -> npt.NDArray[np.float64]:
    """[edge, edge, edge] means of blocks; the voxels that are inside of one are summed exactly."""
    along, rows, columns = (_overlaps(n, edge) for n in voxels.shape)
    low, high = _range(voxels)
    whole = along.max()
    total = np.empty((edge, edge, edge))
    for block, weights in enumerate(along):
        inside = np.zeros(voxels.shape[1:], np.int64 if len(voxels) >> 15 else np.int32)
        part = np.zeros(voxels.shape[1:])
        for index in np.flatnonzero(weights):
            slab = voxels[index]
            if np.isfinite(low):
                slab = np.clip(slab, low, high)
            if weights[index] == whole and slab.dtype.kind != "f":
                inside += slab
            else:
                part += weights[index] * slab
        total[block] = rows @ (whole * inside + part) @ columns.T
    return total


def _overlaps(count: int, edge: int) -> npt.NDArray[np.float64]:
    """[edge, count] the part of each block that is in each voxel; rows sum to 1."""
    block = np.arange(edge)[:, None] * count / edge
    voxel = np.arange(count)[None]
    inside = np.minimum(block + count / edge, voxel + 1) - np.maximum(block, voxel)
    return np.asarray(np.maximum(inside, 0.0) * edge / count)


def _least(voxels: npt.NDArray[Any]) -> float:
    inside = voxels[np.isfinite(voxels)]
    return float(inside.min()) if inside.size else 0.0


def _range(voxels: npt.NDArray[Any]) -> tuple[float, float]:
    """Range of all voxels but the `EXTREME` ones; unbounded where there are no others.

    In a mask every voxel counts; in a large scan every nth is read.
    """
    everything = -np.inf, np.inf
    if voxels.dtype.kind == "b":
        return everything
    sample = voxels.ravel()[:: max(1, voxels.size // _LOOKED_AT)]
    if sample.dtype.kind in "iu" and sample.dtype.itemsize <= 2:
        low, high = _quantiles(sample)
        return (low, high) if low < high else everything
    sample = sample[np.isfinite(sample)].astype(np.float64)
    if not sample.size:
        return everything
    low, high = (float(v) for v in np.quantile(sample, (EXTREME, 1 - EXTREME)))
    return (low, high) if low < high else everything


def _quantiles(sample: npt.NDArray[Any]) -> tuple[float, float]:
    """What `np.quantile` gives of whole numbers, by counting them; as int where they are whole."""
    least = int(sample.min())
    upto = np.cumsum(np.bincount(sample.astype(np.intp) - least))
    ends = []
    for part in (EXTREME, 1 - EXTREME):
        place = part * (sample.size - 1)
        first, after = (
            least + int(np.searchsorted(upto, min(int(place) + step, sample.size - 1), "right"))
            for step in (0, 1)
        )
        ends.append(first if first == after else first + (after - first) * (place - int(place)))
    return ends[0], ends[1]


def _unit(values: npt.NDArray[Any]) -> Cube:
    centred = values.astype(np.float64) - values.mean(dtype=np.float64)
    size = float(np.linalg.norm(centred))
    flat = 1e-9 * float(np.abs(values).max()) * values.size**0.5
    return np.asarray(centred / size if size > flat else np.zeros_like(centred), np.float32)


def packed(cube: Cube) -> str:
    """A cube as text, 8 bits a block."""
    most = float(np.abs(cube).max()) or 1.0
    return base64.b64encode(np.rint(cube / most * _STEPS).astype(np.int8).tobytes()).decode("ascii")


def unpacked(text: str) -> Cube:
    """The `COARSE` cube of `packed`."""
    steps = np.frombuffer(base64.b64decode(text), np.int8)
    return _unit(steps.reshape(COARSE, COARSE, COARSE))


def orientations(cube: Cube) -> npt.NDArray[np.float32]:
    """[48, edge^3] a cube flipped in every way, along every order of its axes."""
    return np.stack(
        [
            np.transpose(cube, order)[::x, ::y, ::z].ravel()
            for order in itertools.permutations(range(3))
            for x, y, z in itertools.product((1, -1), repeat=3)
        ]
    )


def invariants(cube: Cube) -> npt.NDArray[np.float32]:
    """[n] numbers that are the same in every orientation, and of the negative; of the cube's norm.

    A flip changes the signs of cosine coefficients, an order of axes their places: magnitudes are
    kept, sorted within those that can change places. Two cubes have invariants whose product is at
    least their `correlation` (the rearrangement inequality).
    """
    edge = len(cube)
    size = cube.astype(np.float64)
    for _ in range(3):  # each turn transforms the last axis and puts it first
        size = np.moveaxis(size @ _cosines(edge).T, -1, 0)
    size = np.abs(size)
    turned = np.stack([size.transpose(order) for order in itertools.permutations(range(3))])
    first, second, third = np.indices(cube.shape)
    ordered = (first <= second) & (second <= third)
    # Of 6 orders, a coefficient with two equal numbers is met twice, with three 6 times.
    equal = (first == second).astype(int) + (second == third)
    weights = np.sqrt(np.array([1.0, 0.5, 1 / 6])[equal[ordered]])
    assert len(weights) == edge * (edge + 1) * (edge + 2) // 6
    return np.asarray(np.sort(turned[:, ordered], axis=0) * weights, np.float32).ravel()


def sizes(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[n / 6] the norm of each six of `invariants` that one set of coefficients gives.

    Products of two cubes' are at least those of their invariants (Cauchy and Schwarz).
    """
    return np.asarray(np.linalg.norm(numbers.reshape(6, -1), axis=0), np.float32)


@lru_cache
def _cosines(edge: int) -> npt.NDArray[np.float64]:
    """[edge, edge] the orthonormal cosine transform (DCT-II): scipy.fft takes .2 s to load."""
    number, place = np.indices((edge, edge))
    rows = np.asarray(np.cos(np.pi * number * (place + 0.5) / edge) * np.sqrt(2 / edge))
    rows[0] /= np.sqrt(2)
    return rows


def correlation(cube: Cube, other: Cube) -> float:
    """The largest correlation, by size, over all orientations; 0 where either is flat."""
    return float(np.abs(orientations(cube) @ other.ravel()).max())
