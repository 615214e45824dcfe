"""Releases in nnU-Net's raw layout: its rules, the numbers of labels, and training on them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch

import medvae
from medvae.errors import UsageError
from medvae.release import ReleaseResult, verify
from medvae.release.nnunet import NnunetWriter
from tests.release.made import CT, MRI, facts, synthetic

Make = Callable[..., ReleaseResult]
# The scheme's numbers have gaps, as SynthSeg's do.
GAPS = MRI.model_copy(update={"label_scheme": {"17": "left hippocampus", "53": "right one"}})


def gapped() -> Any:
    numbers = np.zeros(256, np.uint8)
    numbers[[1, 2]] = 17, 53
    for volume in synthetic(3, MRI):
        assert volume.mask is not None
        yield replace(volume, mask=numbers[volume.mask])


def voxels(path: Path) -> npt.NDArray[Any]:
    return np.asanyarray(nib.load(path).dataobj)


def check_rules(root: Path) -> None:
    """What nnU-Net's `verify_dataset_integrity` asks of a raw data set."""
    told = json.loads((root / "dataset.json").read_text())
    assert {"channel_names", "labels", "numTraining", "file_ending"} <= set(told)
    numbers = sorted(told["labels"].values())
    assert told["labels"]["background"] == 0
    assert numbers == list(range(len(numbers))), "without a gap"
    assert [int(one) for one in told["channel_names"]] == list(range(len(told["channel_names"])))
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (root / "labelsTr").iterdir())
    assert len(cases) == told["numTraining"]
    wanted = {f"{case}_{i:04d}.nii.gz" for case in cases for i in range(len(told["channel_names"]))}
    assert {path.name for path in (root / "imagesTr").iterdir()} == wanted
    for case in cases:
        label = nib.load(root / "labelsTr" / f"{case}.nii.gz")
        assert set(np.unique(voxels(root / "labelsTr" / f"{case}.nii.gz"))) <= set(numbers)
        for channel in range(len(told["channel_names"])):
            image = nib.load(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
            assert image.shape == label.shape
            assert len(image.shape) == 3
            assert not np.isnan(voxels(root / f"imagesTr/{case}_{channel:04d}.nii.gz")).any()
            np.testing.assert_allclose(image.affine, label.affine)


def test_a_release_keeps_the_rules_and_its_own_numbers_are_told(make: Make) -> None:
    release = make(GAPS, volumes=gapped(), facts=facts(GAPS), fmt="nnunet").path
    check_rules(release)
    assert verify(release).unchanged
    told = json.loads((release / "dataset.json").read_text())
    assert told["labels"] == {"background": 0, "left hippocampus": 1, "right one": 2}
    assert told["channel_names"] == {"0": "T1w"}
    rows = [line.split("\t") for line in (release / "labels.tsv").read_text().splitlines()]
    assert rows[0] == ["number", "scheme_number", "name"]
    assert rows[2:] == [["1", "17", "left hippocampus"], ["2", "53", "right one"]]
    data = json.loads((release / "card.json").read_text())["data"]
    assert data["format"] == "nnunet"
    assert data["label_numbers_in_files"] == {"17": 1, "53": 2}
    assert "17: 1, 53: 2" in (release / "CARD.md").read_text()
    (released, source) = voxels(release / "labelsTr/synth0002.nii.gz"), list(gapped())[1]
    np.testing.assert_array_equal(np.array([0, 17, 53], np.uint8)[released], source.mask)
    np.testing.assert_array_equal(voxels(release / "imagesTr/synth0002_0000.nii.gz"), source.voxels)


def test_ct_is_named_so_that_hounsfield_units_are_kept(make: Make) -> None:
    labelled = CT.model_copy(update={"label_scheme": {"1": "a", "2": "b"}, "labels": 2})
    release = make(labelled, facts=facts(labelled), fmt="nnunet").path
    check_rules(release)
    assert json.loads((release / "dataset.json").read_text())["channel_names"] == {"0": "CT"}


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ({"1": "Background", "2": "ignore"}, ["Background (1)", "ignore (2)"]),
        ({"1": "lobe", "2": "lobe"}, ["lobe (1)", "lobe (2)"]),
        ({"1": "lobe (2)", "2": "lobe", "3": "lobe"}, ["label 1", "label 2", "label 3"]),
    ],
)
def test_no_label_is_lost_to_a_name(make: Make, scheme: dict[str, str], told: list[str]) -> None:
    data = MRI.model_copy(update={"label_scheme": scheme, "labels": len(scheme)})
    release = make(data, facts=facts(data), fmt="nnunet").path
    labels = json.loads((release / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, **{name: i for i, name in enumerate(told, 1)}}


def test_several_channels_are_several_files(tmp_path: Path) -> None:
    writer = NnunetWriter(tmp_path, facts(MRI.model_copy(update={"channels": ("t1", "t2")})))
    volume = next(iter(synthetic(1, MRI)))
    two = np.stack([volume.voxels, volume.voxels[::-1]])
    writer.add(replace(volume, voxels=two, channels=("t1", "t2")))
    for index in range(2):
        path = tmp_path / f"imagesTr/synth0001_{index:04d}.nii.gz"
        np.testing.assert_array_equal(voxels(path), two[index])


def test_without_label_maps_there_is_nothing_to_train_on(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trains on label maps"):
        make(CT, fmt="nnunet")
    bare = (replace(one, mask=None) for one in synthetic(3, MRI))
    with pytest.raises(UsageError, match="trains on label maps"):
        make(MRI, volumes=bare, fmt="nnunet")
    assert not any(tmp_path.iterdir())


def test_a_network_trains_on_it(make: Make) -> None:
    """What a recipient writes: MONAI's network and loss on `Release.dataset`."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet
    from torch.utils.data import DataLoader

    release = medvae.Release.open(make(fmt="nnunet").path)
    torch.manual_seed(0)
    net = UNet(3, 1, 3, channels=(4, 8), strides=(2,))
    adam, loss = (
        torch.optim.Adam(net.parameters(), 0.05),
        DiceCELoss(to_onehot_y=True, softmax=True),
    )
    lost = []
    for _ in range(8):
        for batch in DataLoader(release.dataset(), batch_size=3):
            cost = loss(net(batch["image"].as_tensor() / 500 - 1), batch["label"].as_tensor())
            adam.zero_grad()
            cost.backward()
            adam.step()
            lost.append(float(cost.detach()))
    assert lost[-1] < lost[0]


@pytest.mark.skipif(importlib.util.find_spec("torchio") is None, reason="TorchIO is not there")
def test_torchio_reads_it(make: Make) -> None:
    import torchio

    release = medvae.Release.open(make(fmt="nnunet").path)
    subject = release.torchio(torchio.ToCanonical())[0]
    assert subject.label.data.unique().tolist() == [0, 1, 2]
