"""`Release.open`: what a recipient trains on is what was signed."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandFlipd
from torch.utils.data import DataLoader

import medvae
from medvae.errors import IntegrityError, NotFoundError, UsageError
from medvae.release import ReleaseResult
from medvae.volume import Volume
from tests.release.made import CT, Key, facts, synthetic

Make = Callable[..., ReleaseResult]


@pytest.fixture
def folder(make: Make) -> Path:
    return make().path


def test_items_hold_image_label_and_affine_of_the_files(folder: Path) -> None:
    release = medvae.Release.open(folder)
    assert (release.check.valid, release.check.trusted) == (None, False)
    assert release.card["data"]["volumes"] == len(release) == 3
    assert [one.subject for one in release.samples] == ["synth0001", "synth0002", "synth0003"]
    item = release.dataset()[1]
    source = nib.load(folder / release.samples[1].image)
    image, label = item["image"], item["label"]
    assert isinstance(image, MetaTensor)
    assert isinstance(label, MetaTensor)
    assert (image.shape, image.dtype) == ((1, 12, 16, 10), torch.float32)
    assert (label.shape, label.dtype) == ((1, 12, 16, 10), torch.uint8)
    np.testing.assert_array_equal(image[0], source.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(image.affine, source.affine)
    assert set(label.unique().tolist()) == {0, 1, 2}
    assert item["subject"] == "synth0002"
    assert "class" not in item


def test_monai_transforms_and_loaders_take_it(folder: Path) -> None:
    flip = RandFlipd(keys=["image", "label"], prob=1.0, spatial_axis=0)
    release = medvae.Release.open(folder)
    plain = release.dataset()[0]["image"]
    assert isinstance(plain, torch.Tensor)
    flipped = release.dataset(flip)[0]["image"]
    torch.testing.assert_close(torch.as_tensor(flipped), torch.as_tensor(plain).flip(1))
    (batch,) = DataLoader(release.dataset(), batch_size=3)
    assert batch["image"].shape == (3, 1, 12, 16, 10)


def test_a_release_without_labels_and_with_classes(make: Make) -> None:
    data = CT.model_copy(update={"classes": 2})
    volumes = [
        Volume(one.voxels, one.affine, "ct", None, {"class": index % 2})
        for index, one in enumerate(synthetic(3, data))
    ]
    release = medvae.Release.open(make(data, volumes=iter(volumes), facts=facts(data)).path)
    items = [release.dataset()[index] for index in range(3)]
    assert [one["class"] for one in items] == [0, 1, 0]
    assert all("label" not in one for one in items)


def test_the_key_that_was_given_is_the_one_that_counts(
    folder: Path, key: Key, tmp_path: Path
) -> None:
    known = tmp_path / "hospital.pem"
    known.write_bytes(key.public)
    assert medvae.Release.open(folder, known).check.trusted
    known.write_bytes(Key(9).public)
    with pytest.raises(IntegrityError, match="not the key that was given"):
        medvae.Release.open(folder, known)


def test_a_changed_release_does_not_open(folder: Path) -> None:
    path = next(folder.glob("sub-*/anat/*.nii.gz"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="is not valid: sub-synth"):
        medvae.Release.open(folder)


@pytest.mark.parametrize("how", ["another volume", "a link", "longer", "gone"])
def test_a_file_changed_after_verification_is_not_read(folder: Path, how: str) -> None:
    release = medvae.Release.open(folder)
    first, second = (folder / one.image for one in release.samples[:2])
    other = second.read_bytes()
    if how == "longer":
        first.write_bytes(first.read_bytes() + b"\0")
    else:
        first.unlink()
        if how == "another volume":
            first.write_bytes(other)
        elif how == "a link":
            first.symlink_to(second)
    with pytest.raises(IntegrityError, match=r"sub-synth0001.*\.nii\.gz"):
        release.dataset()[0]
    assert release.dataset()[1]["subject"] == "synth0002"


def test_what_is_no_bids_release_says_so(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        medvae.Release.open(tmp_path / "nowhere")
    dicom = make(out=tmp_path / "dicom", fmt="dicom").path
    with pytest.raises(UsageError, match="a DICOM release"):
        medvae.Release.open(dicom)


def test_a_file_that_unpacks_to_too_much_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = medvae.Release.open(folder)
    unpacked = len(gzip.decompress((folder / release.samples[0].image).read_bytes()))
    monkeypatch.setattr("medvae.release.opened._MOST_BYTES", unpacked)
    assert release.dataset()[0]
    monkeypatch.setattr("medvae.release.opened._MOST_BYTES", unpacked - 1)
    with pytest.raises(IntegrityError, match="no NIfTI image"):
        release.dataset()[0]


@pytest.mark.skipif(importlib.util.find_spec("torchio") is None, reason="TorchIO is not there")
def test_torchio_subjects(folder: Path) -> None:
    import torchio

    release = medvae.Release.open(folder)
    subjects = release.torchio(torchio.RescaleIntensity((0, 1)))
    assert len(subjects) == 3
    subject = subjects[0]
    assert subject["image"].data.max() == 1
    assert subject["label"].data.max() == 2
    np.testing.assert_array_equal(
        subject["image"].affine, nib.load(folder / release.samples[0].image).affine
    )
    (folder / release.samples[1].image).write_bytes(b"")
    with pytest.raises(IntegrityError):
        subjects[1]


@pytest.mark.skipif(importlib.util.find_spec("torchio") is not None, reason="TorchIO is there")
def test_without_torchio_it_says_what_to_install(folder: Path) -> None:
    with pytest.raises(UsageError, match="pip install torchio"):
        medvae.Release.open(folder).torchio()
