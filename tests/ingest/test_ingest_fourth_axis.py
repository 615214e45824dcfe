"""Volumes whose channels are along the fourth axis, as the Medical Segmentation Decathlon has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, nifti, save
from test_ingest_odd import LABELS, head

from medvae.errors import UsageError
from medvae.ingest import Ingested, Quarantined, read

NAMES = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
STACK = np.stack([head(seed) for seed in range(4)], axis=-1)


def decathlon(root: Path, stack: np.ndarray = STACK, names: Any = NAMES) -> Path:
    save(root / "imagesTr/B_1.nii.gz", nifti(stack))
    save(root / "labelsTr/B_1.nii.gz", nifti(LABELS))
    save(root / "imagesTr/B_2.nii.gz", nifti(stack[..., ::-1] if stack.ndim == 4 else stack + 1))
    (root / "dataset.json").write_text(json.dumps({"modality": names}))
    return root


def found(root: Path, **options: Any) -> tuple[list[Ingested], list[str], list[str]]:
    """Volumes, reasons of refusals, notes."""
    notes: list[str] = []
    results = list(read([root], modality="mri", notes=notes.append, **options))
    refused = [is_sentence(r.reason) for r in results if isinstance(r, Quarantined)]
    return [r for r in results if isinstance(r, Ingested)], refused, notes


def test_one_contrast_of_a_file_is_taken_by_its_name(tmp_path: Path) -> None:
    volumes, refused, notes = found(decathlon(tmp_path), contrast="t1gd")
    assert refused == []
    # The second file has its channels in the other order.
    assert np.array_equal(volumes[0].volume.voxels, head(2))
    assert np.array_equal(volumes[1].volume.voxels, head(1))
    assert np.array_equal(volumes[0].volume.mask, LABELS)
    assert volumes[1].volume.mask is None
    assert not [note for note in notes if "say no contrast" in note]


def test_channels_of_a_file_become_those_of_a_volume(tmp_path: Path) -> None:
    volumes, refused, notes = found(decathlon(tmp_path), channels=("t1ce", "flair", "t2"))
    assert refused == []
    assert [list(v.volume.channels) for v in volumes] == [["t1ce", "flair", "t2"]] * 2
    assert np.array_equal(volumes[0].volume.voxels, STACK.transpose(3, 0, 1, 2)[[2, 0, 3]])
    assert np.array_equal(volumes[0].volume.mask, LABELS)
    assert volumes[1].volume.mask is None
    assert [note for note in notes if "none of the --channels" in note]


def test_all_contrasts_of_a_file_are_volumes_of_their_own(tmp_path: Path) -> None:
    volumes, refused, _ = found(decathlon(tmp_path), contrast="all")
    assert refused == []
    assert len({v.source for v in volumes}) == 8
    assert [v.several for v in volumes] == [True] * 8
    assert len({v.subject for v in volumes}) == 2


def test_without_a_choice_the_channels_are_named(tmp_path: Path) -> None:
    volumes, refused, _ = found(decathlon(tmp_path))
    assert volumes == []
    assert len(refused) == 2
    assert refused[0].startswith("it holds 4 channels (flair, t1w, t1gd, t2w): take one with")


@pytest.mark.parametrize("count", [3, 5])
def test_a_file_of_another_number_of_channels_is_refused(tmp_path: Path, count: int) -> None:
    stack = np.stack([head(seed) for seed in range(count)], axis=-1)
    for options in ({"contrast": "flair"}, {"channels": ("flair", "t1")}):
        _, refused, _ = found(decathlon(tmp_path, stack), **options)
        assert [f"4 channels, and it holds {count}: correct it" in why for why in refused] == [
            True
        ] * 2


def test_a_contrast_that_is_not_there_is_refused(tmp_path: Path) -> None:
    _, refused, _ = found(decathlon(tmp_path), contrast="adc")
    assert refused == ["it has no channel adc: dataset.json names flair, t1w, t1gd, t2w"] * 2


@pytest.mark.parametrize(
    "names", [NAMES, {"0": "MRI"}, ["T1", "T2"], {"a": "b"}, {"0": "T1", "2": "T2"}]
)
def test_volumes_of_three_axes_are_read_whatever_the_list_says(tmp_path: Path, names: Any) -> None:
    volumes, refused, _ = found(decathlon(tmp_path, head(), names))
    assert (len(volumes), refused) == (2, [])


def test_four_axes_without_a_list_are_a_series(tmp_path: Path) -> None:
    root = decathlon(tmp_path)
    (root / "dataset.json").unlink()
    _, refused, _ = found(root)
    assert len(refused) == 2
    assert refused[0].startswith("it is a series of volumes (20 x 22 x 18 x 4)")


def test_numbered_files_are_no_stacks(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr/B_1_0000.nii.gz", nifti(head()))
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1", "1": "T2"}}))
    volumes, refused, _ = found(tmp_path)
    assert (len(volumes), refused) == (1, [])
    save(tmp_path / "imagesTr/B_1_0001.nii.gz", nifti(head(1)))
    with pytest.raises(UsageError, match="several contrasts a case"):
        found(tmp_path)
