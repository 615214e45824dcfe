"""Named arrays as the bytes of a safetensors file (https://huggingface.co/docs/safetensors).

The library copies what it writes twice and what it reads once more; a volume of a gigabyte must
not be held three times. The bytes are those that the library writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae import memory

# Name in the format -> type of the array; the widest types come first in a file.
TYPES = {"F64": "<f8", "F32": "<f4", "I16": "<i2", "U8": "|u1"}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}
LENGTH_BYTES = 8
MOST_HEADER = 1 << 20
# Bytes that a processor fetches at once, and from how many on an array outgrows its caches.
CACHE_LINE = 64
LARGE = 1 << 18

Arrays = dict[str, npt.NDArray[Any]]


def packed(
    arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str], *, reuse: bool = False
) -> memoryview:
    """The file that holds arrays of `TYPES` and texts, equal for equal contents.

    Args:
        reuse: give the bytes that `unpacked` found the arrays in, where they are this file.

    Raises:
        ValueError: an array of another type.
    """
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    places, at = {}, 0
    for name in order:
        array = arrays[name]
        kind = NAMES.get(array.dtype)
        if kind is None:
            raise ValueError(f"{name} is of {array.dtype}, expected one of {', '.join(TYPES)}")
        places[name] = at, at + array.nbytes
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [*places[name]]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    start = LENGTH_BYTES + len(text)
    preamble = len(text).to_bytes(LENGTH_BYTES, "little") + text
    found = _held(arrays, places, start, at) if reuse else None
    if found is not None and found[:start] == preamble:
        return found
    data = memory.fresh(start + at)
    data[:start] = preamble
    for name in order:
        first, last = places[name]
        array = arrays[name]
        place = np.frombuffer(data[start + first : start + last], array.dtype)
        _copy(array, place.reshape(array.shape))
    return data


def _held(
    arrays: Mapping[str, npt.NDArray[Any]],
    places: dict[str, tuple[int, int]],
    start: int,
    size: int,
) -> memoryview | None:
    """The memory of `start` + `size` bytes that has every array at its place, if one has."""
    owners = [_owner(array) for array in arrays.values()]
    if not owners or owners[0] is None or any(one is not owners[0] for one in owners):
        return None
    whole = memoryview(owners[0])  # type: ignore[arg-type]
    if len(whole) != start + size:
        return None
    begin = np.frombuffer(whole, np.uint8).ctypes.data + start
    for name, array in arrays.items():
        if not array.flags.c_contiguous or array.ctypes.data != begin + places[name][0]:
            return None
    return whole


def _owner(array: npt.NDArray[Any]) -> object:
    """The bytes that an array is stored in, if it is in a part of such."""
    owner: Any = array
    while isinstance(owner, np.ndarray | memoryview):
        inside = owner.base if isinstance(owner, np.ndarray) else owner.obj
        if inside is None:
            break
        owner = inside
    is_bytes = isinstance(owner, np.ndarray) and owner.dtype == np.uint8 and owner.ndim == 1
    return owner if is_bytes or isinstance(owner, bytearray) else None


def _copy(array: npt.NDArray[Any], place: npt.NDArray[Any]) -> None:
    """Copy an array whose axes may lie in another order in memory."""
    if array.ndim == 4:
        for one, its_place in zip(array, place, strict=True):
            _copy(one, its_place)
    elif array.ndim == 3 and array.nbytes >= LARGE and _is_turned(array):
        _copy_turned(array, place)
    else:
        place[...] = array


def _is_turned(array: npt.NDArray[Any]) -> bool:
    """Whether neighbours along the first axis are nearer in memory than along the last."""
    return abs(array.strides[0]) < abs(array.strides[2])


def _copy_turned(array: npt.NDArray[Any], place: npt.NDArray[Any]) -> None:
    """Copy [X, Y, Z] whose axes lie in the opposite order in memory.

    A plane is copied as it is stored, then turned in strips as wide as a cache line: of what is
    read and written nothing is fetched twice, which takes a third of the time.
    """
    step = max(1, CACHE_LINE // array.itemsize)
    for y in range(array.shape[1]):
        plane = np.ascontiguousarray(array[:, y].T)
        for x in range(0, len(array), step):
            place[x : x + step, y] = plane[:, x : x + step].T


def unpacked(data: bytes | bytearray | memoryview) -> tuple[Arrays, dict[str, str]]:
    """The arrays and texts of `packed`; arrays are in `data` where that may be written to.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: the bytes are no such file.
    """
    size = int.from_bytes(data[:LENGTH_BYTES], "little")
    start = LENGTH_BYTES + size
    if size > MOST_HEADER or start > len(data):
        raise ValueError("its header is cut short or too long")
    header = json.loads(bytes(data[LENGTH_BYTES:start]))
    metadata = header.pop("__metadata__")
    arrays: Arrays = {}
    end = 0
    for name, facts in sorted(header.items(), key=lambda item: int(item[1]["data_offsets"][0])):
        kind, shape = np.dtype(TYPES[facts["dtype"]]), [int(n) for n in facts["shape"]]
        first, last = (int(place) for place in facts["data_offsets"])
        if first != end or min(shape, default=0) < 0 or last > len(data) - start:
            raise ValueError(f"{name} is not where its header says")
        if last - first != math.prod(shape) * kind.itemsize:
            raise ValueError(f"{name} has another size than its header says")
        array = np.frombuffer(data, kind, math.prod(shape), start + first).reshape(shape)
        arrays[name] = array if array.flags.writeable else array.copy()
        end = last
    if end != len(data) - start:
        raise ValueError("it holds more than its header says")
    return arrays, metadata
