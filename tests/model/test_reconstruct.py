"""Scans through the model and back: grid, geometry, units, tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_artifact import artifact

from medvae.errors import IntegrityError
from medvae.model import reconstruct as module
from medvae.model.procedural import random_volume
from medvae.model.reconstruct import decode, encode, reconstruct
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


def test_tiles_melt_into_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = scan((24, 48, 20), "float32")
    whole = reconstruct(MODEL, volume).voxels
    monkeypatch.setattr(module, "TILE", 24)
    monkeypatch.setattr(module, "OVERLAP", 8)
    tiled = reconstruct(MODEL, volume).voxels
    assert float(np.sqrt(np.mean((whole - tiled) ** 2))) < 0.1 * float(volume.voxels.std())


def test_latents_are_smaller_and_of_one_model() -> None:
    volume = scan((32, 32, 32), "float32")
    data = encode(MODEL, volume)
    assert len(data) < volume.voxels.nbytes / 12
    assert decode(MODEL, data).shape == volume.shape
    with pytest.raises(IntegrityError, match="no latents"):
        decode(MODEL, data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="no latents"):
        decode(MODEL, MODEL.to_bytes())
