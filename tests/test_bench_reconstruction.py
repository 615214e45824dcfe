"""The benchmark of reconstruction: equal rates, pieces of an image, and its networks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_reconstruction as bench  # noqa: E402

from medvae.errors import UsageError  # noqa: E402
from medvae.model import load_model  # noqa: E402
from medvae.model.procedural import random_volume  # noqa: E402
from medvae.model.weights import shipped  # noqa: E402


def test_pieces_hold_each_voxel_once() -> None:
    seen = np.zeros((96, 40, 88), int)
    for at in bench.pieces(seen.shape, 32):
        assert max(seen[at].shape) <= 32
        seen[at] += 1
    assert (seen == 1).all()
    assert len(bench.pieces(seen.shape, None)) == 1


@pytest.mark.parametrize("code", [bench.cube, bench.ball])
def test_a_linear_code_keeps_an_eighth_of_the_numbers(code: object) -> None:
    x = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    kept = float((code(x) ** 2).sum() / (x**2).sum())
    assert kept == pytest.approx(1 / 8, abs=0.02)


def test_noise_and_tiles_cost_a_network_something_and_not_much() -> None:
    model = load_model(shipped.read(shipped.FOLDER / f"{bench.WEIGHTS}.safetensors"))
    images = [random_volume((32, 32, 32), "mri", 7, index) for index in range(3)]
    clean, noisy, sharp = bench.networks(model, images)
    tiled, _, _ = bench.networks(model, images, tile=16)
    assert noisy + 0.3 < clean
    assert clean - 1.5 < tiled < clean
    assert 0.0 < sharp < bench.sharpness(images, [np.zeros_like(x) for x in images])


def test_a_kind_of_network_is_made_in_steps_that_are_told() -> None:
    model, cost = bench.trained("transformer", 2)
    assert cost["steps"] == 2
    assert cost["parameters"] == sum(one.numel() for one in model.parameters())


def test_a_cohort_that_is_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDVAE_REAL_DATA", raising=False)
    with pytest.raises(UsageError, match="MEDVAE_REAL_DATA"):
        next(bench.sets(["mri_ixi_t1"], 1))
