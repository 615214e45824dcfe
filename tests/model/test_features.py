"""Features: one length, whatever the scan's grid; means and deviations of the code."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_artifact import artifact
from test_reconstruct import scan

from medvae.errors import InputError
from medvae.grid import to_grid
from medvae.model import load_model
from medvae.model.features import Extractor
from medvae.volume import Volume

MODEL = artifact()


@pytest.mark.parametrize("shape", [(8, 8, 8), (30, 21, 16), (5, 40, 9)])
def test_every_scan_gives_as_many_numbers(shape: tuple[int, int, int]) -> None:
    extractor = Extractor(MODEL)
    found = extractor.vector(scan(shape))
    assert found.shape == (len(extractor.names),) == (16,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.array_equal(found, Extractor(MODEL).vector(scan(shape))), "no draw is in it"


def test_the_numbers_are_means_and_deviations_of_the_posterior_mean() -> None:
    volume = scan((30, 21, 16))
    image = to_grid(volume, MODEL.config().data).image
    code = load_model(MODEL).encode(torch.from_numpy(image)[None, None])[0][0].numpy()
    wanted = [*code.mean(axis=(1, 2, 3)), *code.std(axis=(1, 2, 3))]
    np.testing.assert_allclose(Extractor(MODEL).vector(volume), wanted, rtol=1e-4, atol=1e-6)
    assert Extractor(MODEL).names[7:9] == ("mean_7", "sd_0")


def test_other_scans_give_other_numbers_and_other_units_the_same() -> None:
    volume = scan((16, 16, 16), "float32")
    extractor = Extractor(MODEL)
    one = extractor.vector(volume)
    scaled = dataclasses.replace(volume, voxels=volume.voxels * 3)
    np.testing.assert_allclose(extractor.vector(scaled), one, atol=1e-3)
    turned = dataclasses.replace(volume, voxels=volume.voxels[::-1].copy())
    assert np.abs(extractor.vector(turned) - one).max() > 1e-3


def test_what_cannot_be_brought_to_the_grid_is_refused() -> None:
    empty = Volume(np.full((8, 8, 8), np.nan, np.float32), np.eye(4), "mri", None)
    with pytest.raises(InputError, match="finite"):
        Extractor(MODEL).vector(empty)
