"""Bundles of MONAI: what they hold, and that they draw what `generate` draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from test_run import KEY, Cohort, configuration, plan_of

from medvae.errors import UsageError
from medvae.generate import generate
from medvae.model import Artifact
from medvae.portable import write_bundle
from medvae.train import train
from tests.bundles import FILES, check_metadata, run


def trained(**changes: Any) -> Artifact:
    cfg = configuration(finetune={"steps": 0}, **changes)
    return train(cfg, plan_of(cfg, 6), Cohort(6, cfg.data.size), key=KEY)


@pytest.fixture(scope="module")
def model() -> Artifact:
    return trained(prior={"kind": "gaussian"})


def test_a_bundle_draws_what_generate_draws(model: Artifact, tmp_path: Path) -> None:
    files = write_bundle(model, tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in files} == FILES
    told = check_metadata(tmp_path)
    assert told["differential_privacy"]["kind"] == "private"
    assert told["network_data_format"]["outputs"]["pred"]["spatial_shape"] == [16, 16, 16]
    drawn = run(tmp_path, seed=9, first=1, n=2)
    assert [path.name for path in drawn] == ["synth0002.nii.gz", "synth0003.nii.gz"]
    wanted = list(generate(model, 3, seed=9))[1:]
    for path, volume in zip(drawn, wanted, strict=True):
        image = nib.load(path)
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
        # Whole steps; one of them where a sum was rounded on the other side.
        np.testing.assert_allclose(image.get_fdata(), volume.voxels, atol=1)
        assert np.mean(image.get_fdata() == volume.voxels) > 0.999
    assert not np.array_equal(nib.load(drawn[0]).get_fdata(), nib.load(drawn[1]).get_fdata())


def test_the_network_takes_the_numbers_that_metadata_says(model: Artifact, tmp_path: Path) -> None:
    write_bundle(model, tmp_path)
    told = check_metadata(tmp_path)["network_data_format"]
    (count,) = told["inputs"]["latent"]["spatial_shape"]
    network = torch.jit.load(str(tmp_path / "models" / "model.ts"))
    image = network(torch.randn(1, count))
    pred = told["outputs"]["pred"]
    assert list(image.shape) == [1, pred["num_channels"], *pred["spatial_shape"]]
    low, high = pred["value_range"]
    assert low <= float(image.min()) < float(image.max()) <= high


def test_what_draws_outside_of_a_network_is_refused(model: Artifact, tmp_path: Path) -> None:
    structure = trained(prior={"kind": "structure"})
    with pytest.raises(UsageError, match="procedural structure"):
        write_bundle(structure, tmp_path)
    public = Artifact(
        {k: v for k, v in model.tensors.items() if not k.startswith("prior.")}, model.facts
    )
    with pytest.raises(UsageError, match="nothing to draw from"):
        write_bundle(public, tmp_path)
    for part in ("anatomy", "atlas"):
        other = Artifact({**model.tensors, f"{part}.x": torch.zeros(1)}, model.facts)
        with pytest.raises(UsageError, match=f"draws from an {part}"):
            write_bundle(other, tmp_path)
    assert not any(tmp_path.iterdir())
