"""Volumes: channels, pictures, and bytes that were sealed before there were channels."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from medvae.config import DataConfig
from medvae.errors import InputError, IntegrityError, UsageError
from medvae.grid import to_grid
from medvae.volume import MOST_CHANNELS, Volume

# `Volume.to_bytes` of version 1.0, with a mask and two facts.
SEALED = (
    "KAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmYWN0cyI6IntcIm1ldGFcIjoge1wiY2xhc3NcIjogMSwgXCJlY2hvX3"
    "RpbWVcIjogMy41fSwgXCJtb2RhbGl0eVwiOiBcIm1yaVwifSJ9LCJhZmZpbmUiOnsiZHR5cGUiOiJGNjQiLCJzaGFw"
    "ZSI6WzQsNF0sImRhdGFfb2Zmc2V0cyI6WzAsMTI4XX0sInZveGVscyI6eyJkdHlwZSI6IkkxNiIsInNoYXBlIjpbMi"
    "wzLDJdLCJkYXRhX29mZnNldHMiOlsxMjgsMTUyXX0sIm1hc2siOnsiZHR5cGUiOiJVOCIsInNoYXBlIjpbMiwzLDJd"
    "LCJkYXRhX29mZnNldHMiOlsxNTIsMTY0XX19ICAgICAgIAAAAAAAAPA/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACEAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPA/7P/z//r/AQAIAA8AFgAdACQAKwAyADkAAAECAAECAAECAAEC"
)
RGB = ("red", "green", "blue")


def grey() -> Volume:
    return Volume(
        np.arange(12, dtype=np.int16).reshape(2, 3, 2) * 7 - 20,
        np.diag([1.0, 2.0, 3.0, 1.0]),
        "mri",
        (np.arange(12) % 3).astype(np.uint8).reshape(2, 3, 2),
        {"class": 1, "echo_time": 3.5},
    )


def colour(shape: tuple[int, ...] = (3, 6, 4, 1)) -> Volume:
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume(values, np.eye(4), "photo", channels=RGB)


def test_bytes_sealed_before_there_were_channels_open_and_are_still_written():
    sealed = base64.b64decode(SEALED)
    opened = Volume.from_bytes(sealed)
    np.testing.assert_array_equal(opened.voxels, grey().voxels)
    np.testing.assert_array_equal(opened.mask, grey().mask)
    assert opened.meta == grey().meta
    assert opened.channels == ()
    # Equal volumes give equal bytes: what is stored is found again by its digest.
    assert grey().to_bytes() == sealed


def test_channels_survive_sealing_and_shape_is_of_space():
    opened = Volume.from_bytes(colour().to_bytes())
    assert opened.channels == RGB
    assert opened.shape == (6, 4, 1)
    np.testing.assert_array_equal(opened.voxels, colour().voxels)
    np.testing.assert_allclose(opened.grey, colour().voxels.mean(axis=0))


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((3, 6, 4, 1), ()),
        ((6, 4, 1), RGB),
        ((2, 6, 4, 1), RGB),
        ((3, 6, 0, 1), RGB),
        ((3, 6, 4, 1), ("red", "red", "blue")),
        ((3, 6, 4, 1), ("red", "", "blue")),
        ((3, 6, 4, 1), ("red", "a\nb", "blue")),
        ((MOST_CHANNELS + 1, 6, 4, 1), tuple("abcdefghi")),
        ((6, 4), ()),
    ],
)
def test_channels_that_do_not_fit_are_refused(shape, channels):
    with pytest.raises(ValueError, match=r"channels|voxels"):
        Volume(np.zeros(shape, np.int16), np.eye(4), "photo", channels=channels)


def test_a_mask_fits_the_space_of_a_volume_with_channels():
    mask = np.ones((6, 4, 1), np.uint8)
    assert Volume(colour().voxels, np.eye(4), "photo", mask, channels=RGB).mask is mask
    with pytest.raises(ValueError, match="does not fit"):
        Volume(colour().voxels, np.eye(4), "photo", mask[:5], channels=RGB)


def test_what_reads_one_grey_value_refuses_channels():
    with pytest.raises(UsageError, match=r"NIfTI needs volumes with one grey value.*red, green"):
        colour().single("NIfTI")
    volume = grey()
    assert volume.single("NIfTI") is volume.voxels


def test_stored_bytes_with_wrong_channels_are_damage():
    wrong = bytes(colour().to_bytes()).replace(b"green", b"red\\\\")
    with pytest.raises(IntegrityError):
        Volume.from_bytes(wrong)


def test_a_grid_without_channels_refuses_a_volume_with_them():
    with pytest.raises(InputError, match="its channels are red, green, blue, and the grid's"):
        to_grid(colour(), DataConfig(modality="mri", size=(6, 4, 1)))


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_an_image_of_another_size_comes_onto_the_grid(fit):
    voxels = np.zeros((8, 4, 1), np.int16)
    voxels[:4] = 100
    data = DataConfig(modality="mri", size=(8, 8, 1), fit=fit, percentiles=(0.0, 100.0))
    gridded = to_grid(Volume(voxels, np.eye(4), "mri"), data)
    assert gridded.image.shape == (8, 8, 1)
    # The left half is bright, whichever way the picture was brought there.
    assert (gridded.image[:4] > 0).all()
    assert (gridded.image[4:] < 0).all()


def test_pad_keeps_proportions_and_stretch_does_not():
    voxels = np.zeros((16, 8, 1), np.int16)
    voxels[4:12] = 100
    square = {"modality": "mri", "size": (8, 8, 1), "percentiles": (0.0, 100.0)}
    padded = to_grid(Volume(voxels, np.eye(4), "mri"), DataConfig(**square, fit="pad"))
    stretched = to_grid(Volume(voxels, np.eye(4), "mri"), DataConfig(**square, fit="stretch"))
    tall = voxels.transpose(1, 0, 2)
    padded_tall = to_grid(Volume(tall, np.eye(4), "mri"), DataConfig(**square, fit="pad"))
    for image in (padded.image, stretched.image):
        np.testing.assert_array_equal((image[..., 0] > 0).sum(axis=0), 4)
    np.testing.assert_allclose(padded_tall.image, padded.image.transpose(1, 0, 2), atol=1e-6)
    # 16 x 8 becomes 8 x 4: two rows at either end repeat the border.
    assert (padded.image[:, 0] == padded.image[:, 2]).all()
