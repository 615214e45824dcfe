"""Masks of pictures: paired by name, read as label numbers, and refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medvae.ingest import Ingested, Quarantined, read

SIZE = (12, 20)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SIZE).astype(np.uint8)


def mask(value: int = 1) -> np.ndarray:
    """A label in the upper left of the picture."""
    labels = np.zeros(SIZE, np.uint8)
    labels[1:4, 2:9] = value
    return labels


def save(folder: Path, name: str, values: np.ndarray, **how: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(folder / name, **how)


def taken(
    folder: Path, scheme: dict[str, str] | None = None, **more: Any
) -> tuple[dict[str, Ingested], dict[str, str]]:
    found = list(read([folder], modality="xray", scheme=scheme, **more))
    return (
        {Path(one.source).name: one for one in found if isinstance(one, Ingested)},
        {Path(one.source).name: one.reason for one in found if isinstance(one, Quarantined)},
    )


def expected(value: int = 1) -> np.ndarray:
    """Rows run down, and the second axis of a volume runs up."""
    return mask(value)[::-1].swapaxes(0, 1)[..., None]


def test_a_mask_beside_its_picture_is_its_label_map_and_no_picture(tmp_path: Path) -> None:
    for index in range(2):
        save(tmp_path, f"p{index}.png", picture(index))
        save(tmp_path, f"p{index}_mask.png", mask(1 + index))
    found, refused = taken(tmp_path)
    assert (sorted(found), refused) == (["p0.png", "p1.png"], {})
    for index, name in enumerate(sorted(found)):
        np.testing.assert_array_equal(found[name].volume.mask, expected(1 + index))
        upright = found[name].volume.voxels[..., 0].swapaxes(0, 1)[::-1]
        np.testing.assert_array_equal(upright, picture(index))


@pytest.mark.parametrize("apart", [False, True])
def test_a_folder_of_masks_is_paired_by_name(tmp_path: Path, apart: bool) -> None:
    save(tmp_path / "a" / "images", "p.png", picture(0))
    save(tmp_path / ("b" if apart else "a/labels"), "p.png", mask(3))
    more = {"labels": tmp_path / "b"} if apart else {}
    found, refused = taken(tmp_path / "a", **more)
    assert (sorted(found), refused) == (["p.png"], {})
    np.testing.assert_array_equal(found["p.png"].volume.mask, expected(3))


def test_black_and_white_is_the_one_label_of_the_scheme(tmp_path: Path) -> None:
    save(tmp_path, "p.png", picture(0))
    save(tmp_path, "p_segmentation.png", mask(255))
    found, _ = taken(tmp_path, {"7": "mole"})
    np.testing.assert_array_equal(found["p.png"].volume.mask, expected(7))
    found, _ = taken(tmp_path)
    np.testing.assert_array_equal(found["p.png"].volume.mask, expected(1))
    found, refused = taken(tmp_path, {"7": "mole", "9": "hair"})
    assert not found
    assert "black and white" in refused["p.png"]


def test_masks_of_structures_are_joined_by_the_names_of_the_scheme(tmp_path: Path) -> None:
    save(tmp_path, "p.png", picture(0))
    save(tmp_path / "masks", "p_mole.png", mask(255))
    save(tmp_path / "masks", "p_hair.png", mask(255)[::-1])
    for name, values in (("p_mole.png", mask(255)), ("p_hair.png", mask(255)[::-1])):
        save(tmp_path / "masks", name, values)
    found, refused = taken(tmp_path, {"2": "mole", "5": "hair"})
    assert (sorted(found), refused) == (["p.png"], {})
    assert set(np.unique(found["p.png"].volume.mask)) == {0, 2, 5}


def colour(values: np.ndarray) -> np.ndarray:
    return np.stack([values * 200, values * 10, values], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("p_mask.png", mask()[:-1], "20 x 11 pixels, and its picture has 20 x 12"),
        ("p_mask.png", mask().T, "it is turned"),
        ("p_mask.png", colour(mask()), "it is in colour"),
        ("p_mask.jpg", mask(255), "other formats change label numbers"),
        ("p_mask.png", picture(5), "it is an image, not a mask"),
        ("p_mask.png", mask().astype(np.uint16) * 700, "whole numbers from 0 to 255"),
    ],
)
def test_what_is_no_label_map_of_the_picture_is_refused_with_it(
    tmp_path: Path, name: str, values: np.ndarray, says: str
) -> None:
    save(tmp_path, "p.png", picture(0))
    save(tmp_path, name, values)
    found, refused = taken(tmp_path)
    assert not found
    assert says in refused["p.png"], refused


def test_a_picture_that_only_sounds_like_a_mask_stays_a_picture(tmp_path: Path) -> None:
    save(tmp_path, "face_mask.png", picture(0))
    save(tmp_path, "study_t1_t2.png", picture(1))
    found, refused = taken(tmp_path)
    assert (sorted(found), refused) == (["face_mask.png", "study_t1_t2.png"], {})
    assert all(one.volume.mask is None for one in found.values())
