"""Scans through the model and back: grid, geometry, units, tiles."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_artifact import artifact

from medvae.config import RunConfig
from medvae.errors import IntegrityError
from medvae.evaluate import psnr
from medvae.grid import normalise
from medvae.model import load_model, tiles
from medvae.model.procedural import random_volume
from medvae.model.reconstruct import decode, encode, reconstruct
from medvae.model.tiles import Tiling
from medvae.train.public import public_artifact, start
from medvae.volume import Volume

MODEL = artifact()


def scan(shape: tuple[int, int, int], dtype: str = "int16") -> Volume:
    image = random_volume(shape, "mri", 9, 0)
    affine = np.diag([1.5, 1.0, 0.7, 1.0])
    affine[:3, 3] = (-4, 5, 6)
    return Volume(((image + 1) * 400 + 100).astype(dtype), affine, "mri", None, {"sex": "F"})


@settings(max_examples=10, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 30)] * 3), dtype=st.sampled_from(["int16", "float32"]))
def test_any_shape_comes_back_on_its_own_grid(shape: tuple[int, int, int], dtype: str) -> None:
    volume = scan(shape, dtype)
    made = reconstruct(MODEL, volume)
    assert made.shape == volume.shape
    assert made.voxels.dtype == volume.voxels.dtype
    assert np.array_equal(made.affine, volume.affine)
    assert made.meta == volume.meta


def test_intensities_are_put_back() -> None:
    volume = scan((24, 20, 16))
    made = reconstruct(MODEL, volume)
    spread = float(volume.voxels.std())
    assert abs(float(made.voxels.mean()) - float(volume.voxels.mean())) < 0.1 * spread
    assert float(np.abs(made.voxels.astype(float) - volume.voxels).mean()) < 0.4 * spread


def test_tiles_melt_into_what_one_pass_gives() -> None:
    volume = scan((24, 48, 20), "float32")
    whole = decode(MODEL, encode(MODEL, volume)).voxels
    data = encode(MODEL, volume, tiling=Tiling(24, 8))
    tiled = decode(MODEL, data).voxels
    assert float(np.sqrt(np.mean((whole - tiled) ** 2))) < 0.1 * float(volume.voxels.std())


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 700),
    edge=st.integers(16, 128),
    overlap=st.integers(1, 8),
    factor=st.sampled_from([1, 4, 8]),
)
def test_tiles_cover_an_axis_and_overlap(n: int, edge: int, overlap: int, factor: int) -> None:
    found = Tiling(edge, overlap).along(n, factor)
    assert found[0][0] == 0
    assert sum(found[-1]) == n
    assert len({size for _, size in found}) == 1
    assert found[0][1] <= edge + overlap
    for (one, size), (other, _) in itertools.pairwise(found):
        assert one < other <= one + size - overlap


@pytest.mark.parametrize(
    ("kind", "front_end", "size", "channels"),
    [
        ("conv", "dct", (8, 8, 8), 1),
        ("conv", "dct", (8, 8, 8), 3),
        ("conv", "none", (8, 8, 8), 2),
        ("transformer", "none", (8, 8, 8), 2),
        ("transformer", "dct", (8, 8, 1), 3),
        ("conv", "dct", (8, 8, 1), 2),
    ],
)
def test_any_number_of_channels_goes_through_tiles(
    kind: str, front_end: str, size: tuple[int, int, int], channels: int
) -> None:
    cfg = RunConfig.model_validate(
        {
            "data": {"size": size},
            "model": {"kind": kind, "front_end": front_end, "preset": "tiny", "latent_channels": 4},
            "pretrain": {"init": None},
        }
    )
    one = public_artifact(cfg, start(cfg, channels))
    model, tiling = load_model(one), Tiling(16, 4)
    shape = (30, 17, 5)
    image = np.stack([random_volume(shape, "mri", 3, i) for i in range(channels)])
    latents = list(tiles.encode(model, image, tiling))
    made = tiles.decode(model, lambda number: latents[number], shape, tiling)
    assert made.shape == image.shape
    if front_end == "dct":
        # The linear path alone tells the channels apart.
        errors = [[float(np.square(a - b).mean()) for b in image] for a in made]
        assert np.argmin(errors, axis=1).tolist() == list(range(channels))
    volume = scan(shape)
    back = reconstruct(one, volume)
    assert (back.shape, back.voxels.dtype) == (volume.shape, volume.voxels.dtype)
    with pytest.raises(ValueError, match=f"takes \\[{channels}, X, Y, Z\\]"):
        next(tiles.encode(model, image[:1].repeat(channels + 1, axis=0), tiling))


def test_latents_are_smaller_and_of_one_model() -> None:
    volume = scan((32, 32, 32), "float32")
    data = encode(MODEL, volume)
    # An eighth of the numbers, a quarter of the bytes each; the rest is names and places.
    assert len(data) < volume.voxels.nbytes / 24
    assert decode(MODEL, data).shape == volume.shape
    with pytest.raises(IntegrityError, match="no latents"):
        decode(MODEL, data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="no latents"):
        decode(MODEL, MODEL.to_bytes())


def test_rounding_of_stored_latents_costs_hardly_anything() -> None:
    volume = scan((32, 32, 32), "float32")
    model = load_model(MODEL)
    image, (low, high) = normalise(volume.voxels, MODEL.config().data)
    exact = list(tiles.encode(model, image[None], Tiling()))
    best = tiles.decode(model, lambda number: exact[number], volume.shape, Tiling())[0]
    stored = (decode(MODEL, encode(MODEL, volume)).voxels - low) / (high - low) * 2 - 1
    assert psnr(stored, image) > psnr(np.clip(best, -1, 1), image) - 0.1


def test_a_mask_is_stored_in_few_bytes_and_comes_back() -> None:
    plain = scan((32, 32, 32))
    mask = (plain.voxels > np.median(plain.voxels)).astype(np.uint8)
    mask[:8] = 3
    volume = dataclasses.replace(plain, mask=mask)
    data = encode(MODEL, volume)
    assert len(data) - len(encode(MODEL, plain)) < mask.nbytes / 4
    back = decode(MODEL, data).mask
    assert back is not None
    assert np.array_equal(back, mask)


def changed(**facts: object) -> bytes:
    """Latents whose facts say something else."""
    data = encode(MODEL, scan((12, 12, 12)))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    told = json.loads(header["__metadata__"]["facts"]) | facts
    header["__metadata__"]["facts"] = json.dumps(told)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


@pytest.mark.parametrize(
    "facts",
    [
        {"format": 1},
        {"shape": [12, 12]},
        {"shape": [12, 12, 0]},
        {"shape": [30000, 30000, 30000]},
        {"shape": [1 << 60, 12, 12]},
        {"shape": [16, 16, 16]},
        {"tile": 0},
        {"tile": 1 << 40},
        {"overlap": -1},
        {"limits": [0]},
        {"dtype": "no type"},
        {"modality": "sonogram"},
    ],
)
def test_facts_that_do_not_fit_are_refused_before_memory_is_taken(facts: dict[str, object]) -> None:
    decode(MODEL, changed())
    with pytest.raises(IntegrityError, match="no latents"):
        decode(MODEL, changed(**facts))


LARGE = """
import json, resource
import numpy as np
import torch
from medvae.config import RunConfig
from medvae.model.reconstruct import decode, encode, reconstruct
from medvae.train.public import public_artifact, start
from medvae.volume import Volume

torch.set_num_threads(1)
cfg = RunConfig.model_validate({"data": {"size": (32, 32, 32)}, "model": {"preset": "tiny"}})
model = public_artifact(cfg, start(cfg))

def scan(shape):
    random = np.random.default_rng(0)
    voxels = np.empty(shape, np.int16)
    for slab in voxels:
        slab[...] = random.integers(0, 1000, slab.shape)
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    return Volume(voxels, affine, "ct", (voxels > 900).astype(np.uint8))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

reconstruct(model, scan((96, 96, 96)))
volume = scan((256, 256, 128))
before = peak()
data = encode(model, volume)
made = decode(model, data)
print(json.dumps({
    "grown": peak() - before,
    "scan": volume.voxels.nbytes / 2**20,
    "geometry": bool(np.array_equal(made.affine, volume.affine)) and made.shape == volume.shape,
    "mask": bool(np.array_equal(made.mask, volume.mask)),
}))
"""


@pytest.mark.slow
def test_a_large_volume_needs_memory_for_itself_and_a_tile() -> None:
    """256 x 256 x 128, of which one tile holds an eleventh; in a process of its own."""
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["geometry"]
    assert found["mask"]
    # Float32 in, float32 out and the result are 5 times an int16 scan; some slack for malloc.
    assert found["grown"] < 8 * found["scan"]
