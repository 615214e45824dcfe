"""Arrays as bytes: those of the safetensors library, read without a copy, damage found."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from medvae import memory, tensors

KINDS = ["<f8", "<f4", "<i2", "|u1"]
ARRAYS = st.dictionaries(
    st.text("abcxyz_", min_size=1, max_size=6),
    st.sampled_from(KINDS).flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=4))),
    min_size=1,
    max_size=4,
)
ONE = {"voxels": np.arange(24, dtype=np.int16).reshape(2, 3, 4), "affine": np.eye(4)}


@given(ARRAYS, st.text(max_size=20))
def test_bytes_are_those_of_the_library(arrays: dict[str, np.ndarray], text: str) -> None:
    ours = tensors.packed(arrays, {"facts": text})
    assert ours == save(arrays, {"facts": text})
    for read in (tensors.unpacked(ours)[0], tensors.unpacked(bytes(ours))[0], load(bytes(ours))):
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype
    assert tensors.unpacked(ours)[1] == {"facts": text}


def test_the_order_of_axes_in_memory_does_not_matter() -> None:
    turned = {"voxels": np.asfortranarray(ONE["voxels"])[::-1, :, ::-1]}
    plain = {"voxels": np.ascontiguousarray(turned["voxels"])}
    assert tensors.packed(turned, {}) == tensors.packed(plain, {})


@pytest.mark.parametrize("zeros", [0, memory.LARGE])
def test_arrays_stay_where_they_are_and_can_be_changed_always(zeros: int) -> None:
    data = tensors.packed(ONE | {"zeros": np.zeros(zeros, np.uint8)}, {})
    array = tensors.unpacked(data)[0]["voxels"]
    array[0, 0, 0] = 77
    assert tensors.unpacked(data)[0]["voxels"][0, 0, 0] == 77
    copied = tensors.unpacked(bytes(data))[0]["voxels"]
    copied[0, 0, 0] = 78


def test_a_type_that_is_not_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="voxels is of int64"):
        tensors.packed({"voxels": np.zeros(3, np.int64)}, {})


def changed(**facts: Any) -> bytes:
    """`ONE` with other facts of its voxels in the header, whose length stays right."""
    data = bytes(tensors.packed(ONE, {}))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["voxels"] |= facts
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


GOOD = bytes(tensors.packed(ONE, {}))
DAMAGED = {
    "nothing": b"",
    "cut short": GOOD[:-1],
    "longer": GOOD + b"\0",
    "no header": GOOD[:20],
    "a huge header": (1 << 62).to_bytes(8, "little") + GOOD[8:],
    "overlapping": changed(data_offsets=[64, 112]),
    "beyond the end": changed(data_offsets=[128, 178], shape=[25]),
    "another size": changed(shape=[2, 3, 5]),
    "negative": changed(shape=[-2, -12]),
    "another type": changed(dtype="I64"),
    "a type that is none": changed(dtype=7),
    "no place": changed(data_offsets=[]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found(name: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        tensors.unpacked(DAMAGED[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(67, 70, 61), (3, 67, 70, 61)])
def test_a_large_array_in_another_order_is_copied_whole(kind: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    order = (*range(len(shape) - 3), *(len(shape) - n for n in (1, 2, 3)))
    turned = np.ascontiguousarray(values.transpose(order)).transpose(order)[..., ::-1, :, :]
    assert turned.nbytes >= tensors.LARGE
    assert turned.strides[-1] != turned.itemsize
    packed = tensors.packed({"voxels": turned}, {})
    np.testing.assert_array_equal(tensors.unpacked(packed)[0]["voxels"], values[..., ::-1, :, :])


@pytest.mark.parametrize("edge", [4, memory.LARGE // 6])
def test_bytes_that_hold_an_array_are_given_back_where_nothing_of_them_would_change(
    edge: int,
) -> None:
    arrays = ONE | {"mask": np.ones((2, 3, edge), np.uint8)}
    data = tensors.packed(arrays, {"facts": "a"})
    found, facts = tensors.unpacked(data)
    assert tensors.packed(found, facts, reuse=True).obj is data.obj
    assert tensors.packed(found, facts).obj is not data.obj
    for others, texts in (
        (found, {"facts": "b"}),
        (found | {"affine": np.eye(4)}, facts),
        (found | {"voxels": found["voxels"][::-1]}, facts),
        ({name: array for name, array in found.items() if name != "mask"}, facts),
        (tensors.unpacked(bytes(data))[0], facts),
    ):
        again = tensors.packed(others, texts, reuse=True)
        assert again.obj is not data.obj
        assert again == tensors.packed(others, texts)


def test_bytes_in_another_form_of_the_same_arrays_are_not_given_back() -> None:
    data = tensors.packed(ONE, {"facts": "a"})
    size = int.from_bytes(data[:8], "little")
    header = bytes(data[8 : 8 + size]).rstrip(b" ").replace(b":[", b": [", 1)
    header += b" " * (-len(header) % 8)
    other = bytearray(len(header).to_bytes(8, "little") + header + data[8 + size :])
    found, facts = tensors.unpacked(other)
    assert tensors.packed(found, facts, reuse=True) == data
