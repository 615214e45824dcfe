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

# Name in the format -> type of the array; the widest types come first in a file.
TYPES = {"F64": "<f8", "F32": "<f4", "I16": "<i2", "U8": "|u1"}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}
LENGTH_BYTES = 8
MOST_HEADER = 1 << 20
AT_ONCE = 16

Arrays = dict[str, npt.NDArray[Any]]


def packed(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytearray:
    """The file that holds arrays of `TYPES` and texts, equal for equal contents.

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
    data = bytearray(start + at)
    data[:start] = len(text).to_bytes(LENGTH_BYTES, "little") + text
    for name in order:
        first, last = places[name]
        array = arrays[name]
        place = np.frombuffer(memoryview(data)[start + first : start + last], array.dtype)
        _copy(array, place.reshape(array.shape))
    return data


def _copy(array: npt.NDArray[Any], place: npt.NDArray[Any]) -> None:
    """Copy an array whose axes may lie in another order in memory.

    A few places along the last axis at a time: what is read stays in the processor's cache, which
    takes a quarter of the time where that axis is the slowest one.
    """
    if array.ndim < 2 or array.flags.c_contiguous:
        place[...] = array
        return
    for first in range(0, array.shape[-1], AT_ONCE):
        place[..., first : first + AT_ONCE] = array[..., first : first + AT_ONCE]


def unpacked(data: bytes | bytearray) -> tuple[Arrays, dict[str, str]]:
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
