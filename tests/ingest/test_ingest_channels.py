"""Contrasts of one case as the channels of one volume: by name, on one grid, or refused."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import (
    AFFINE,
    is_sentence,
    nifti,
    one,
    patched,
    refusal,
    save,
    series,
    taken,
    write,
)

from medvae.errors import InputError, UsageError
from medvae.ingest import Ingested, Limits, Quarantined, read
from medvae.ingest.channel_names import candidates, numbered, of_description

SHAPE = (12, 11, 10)
THREE = ("t1", "t2", "flair")


def image(seed: int, shape: tuple[int, ...] = SHAPE, affine: np.ndarray = AFFINE) -> bytes:
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    return nifti(values, affine)


def found(root: Path, **options: Any) -> tuple[list[Ingested], list[Quarantined], list[str]]:
    notes: list[str] = []
    results = list(read([root], modality="mri", notes=notes.append, **options))
    refused = [r for r in results if isinstance(r, Quarantined)]
    assert all(is_sentence(r.reason) for r in refused)
    return [r for r in results if isinstance(r, Ingested)], refused, notes


@pytest.mark.parametrize(
    "names",
    [
        ("p_t1.nii", "p_t2.nii", "p_flair.nii"),
        ("p-t1n.nii.gz", "p-t2w.nii.gz", "p-t2f.nii.gz"),
        ("a/T1W.nii", "a/T2W.nii", "a/FLAIR.nii"),
        ("sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T2w.nii", "sub-1/anat/sub-1_FLAIR.nii"),
        ("imagesTr/p_0000.nii", "imagesTr/p_0001.nii", "imagesTr/p_0002.nii"),
    ],
)
def test_files_of_one_case_are_one_volume(tmp_path: Path, names: tuple[str, ...]) -> None:
    for seed, name in enumerate(names):
        save(tmp_path / name, image(seed))
    volume = one(tmp_path, modality="mri", channels=THREE).volume
    assert volume.channels == THREE
    assert volume.voxels.shape == (3, *SHAPE)
    assert volume.voxels.dtype == np.int16
    for seed, channel in enumerate(volume.voxels):
        values = np.random.default_rng(seed).integers(0, 900, SHAPE)
        assert np.array_equal(channel, values)


def test_channels_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    for seed, name in enumerate(THREE):
        save(tmp_path / f"p_{name}.nii", image(seed))
    straight = one(tmp_path, modality="mri", channels=THREE).volume
    back = one(tmp_path, modality="mri", channels=THREE[::-1]).volume
    assert back.channels == ("flair", "t2", "t1")
    assert np.array_equal(back.voxels, straight.voxels[::-1])


def test_without_channels_nothing_changes(tmp_path: Path) -> None:
    for seed, name in enumerate(THREE):
        save(tmp_path / f"p_{name}.nii", image(seed))
    volumes = taken(tmp_path, modality="mri", contrast="all")
    assert [v.volume.voxels.shape for v in volumes] == [SHAPE] * 3
    with pytest.raises(UsageError, match="several contrasts a case"):
        found(tmp_path)


def test_dataset_json_says_which_number_is_which_channel(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"imagesTr/p_{number:04d}.nii", image(number))
    names = {"0": "FLAIR", "1": "T1", "2": "T2"}
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": names}))
    volumes, _, notes = found(tmp_path, channels=THREE)
    expected = [np.random.default_rng(seed).integers(0, 900, SHAPE) for seed in (1, 2, 0)]
    assert np.array_equal(volumes[0].volume.voxels, expected)
    assert not any("in the order of" in note for note in notes)
    (tmp_path / "dataset.json").unlink()
    volumes, _, notes = found(tmp_path, channels=THREE)
    assert np.array_equal(volumes[0].volume.voxels[0], expected[2])
    assert any("in the order of --channels" in note for note in notes)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"channel_names": {"x": "T1"}}', "[" * 100_000])
def test_a_damaged_dataset_json_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"dataset\.json does not name its channels"):
        numbered(text.encode())


def test_a_case_that_lacks_a_channel_is_refused_and_the_others_are_kept(tmp_path: Path) -> None:
    for seed, name in enumerate(("p1_t1", "p1_t2", "p2_t1", "p3_t1", "p3_t2")):
        save(tmp_path / f"{name}.nii", image(seed))
    volumes, refused, _ = found(tmp_path, channels=("t1", "t2"))
    assert [Path(v.source).name for v in volumes] == ["p1_t1.nii", "p3_t1.nii"]
    assert [Path(r.source).name for r in refused] == ["p2_t1.nii"]
    assert "no image of the channel t2" in refused[0].reason


def test_two_images_for_one_channel_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "sub-1/anat"
    for seed, name in enumerate(("run-1_T1w", "run-2_T1w", "T2w")):
        save(folder / f"sub-1_{name}.nii", image(seed))
    reason = refusal(tmp_path, modality="mri", channels=("t1", "t2"))
    assert "2 images of the channel t1 (sub-1_run-1_T1w.nii and sub-1_run-2_T1w.nii)" in reason


def test_other_images_are_left_out_with_a_note(tmp_path: Path) -> None:
    for seed, name in enumerate((*THREE, "adc")):
        save(tmp_path / f"p_{name}.nii", image(seed))
    save(tmp_path / "plan.nii", image(9))
    volumes, refused, notes = found(tmp_path, channels=("t1", "t2"))
    assert len(volumes) == 1
    assert not refused
    assert any("none of the --channels: 3" in note for note in notes)


def test_a_channel_may_have_any_name_that_files_have(tmp_path: Path) -> None:
    save(tmp_path / "p_early.nii", image(0))
    save(tmp_path / "p_late.nii", image(1))
    assert one(tmp_path, modality="mri", channels=("early", "late")).volume.channels == (
        "early",
        "late",
    )


def test_enhanced_t1_of_bids_is_a_channel_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "sub-1/anat"
    save(folder / "sub-1_T1w.nii", image(0))
    save(folder / "sub-1_ce-gadolinium_T1w.nii", image(1))
    volume = one(tmp_path, modality="mri", channels=("t1", "t1ce")).volume
    assert np.array_equal(volume.voxels[1], np.random.default_rng(1).integers(0, 900, SHAPE))


def test_exact_names_come_before_synonyms() -> None:
    assert candidates([("t1",), ("t1w",)], ("t1", "t1w")) == [[0], [1]]
    assert candidates([("t1w",), ("t2",)], ("T1", "T2")) == [[0], [1]]
    assert candidates([("t1w",), ("t1n",)], ("t1", "t2")) == [[0, 1], []]


def test_words_of_a_series_description() -> None:
    assert of_description("Ax T2 FLAIR fs", THREE) == ["flair"]
    assert of_description("sag T1 MPRAGE post Gd", THREE) == ["t1ce"]
    assert of_description("t1_tse_sag", THREE) == ["t1"]
    assert of_description("Doe^Jane, knee", THREE) == []
    assert of_description("knee PD", ("knee", "pd")) == ["knee", "pd"]


def moved(millimetres: float, step: float = 1.0) -> np.ndarray:
    affine = AFFINE @ np.diag([step, step, step, 1.0])
    affine[:3, 3] = millimetres
    return affine


def ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Intensities that are linear in millimetres, so that interpolation is exact."""
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
    x, y, z, _ = np.tensordot(affine, index, axes=1)
    return (100 + 3 * x + 2 * y - z).astype(np.float32)


def test_a_channel_on_another_grid_is_resampled_as_headers_place_it(tmp_path: Path) -> None:
    other = moved(-3.0, 0.8)
    save(tmp_path / "p_t1.nii", nifti(ramp(SHAPE, AFFINE), AFFINE, change=coded(1)))
    larger = (24, 22, 20)
    save(tmp_path / "p_t2.nii", nifti(ramp(larger, other), other, change=coded(2)))
    volumes, _, notes = found(tmp_path, channels=("t1", "t2"))
    first, second = volumes[0].volume.voxels
    assert np.allclose(first, ramp(SHAPE, AFFINE))
    assert np.isfinite(second).all()
    assert np.abs(second - first).max() < 0.01
    assert any("resampled onto the grid of the first" in note for note in notes)


def coded(code: int) -> Any:
    def change(header: Any) -> None:
        header["sform_code"] = code
        header["qform_code"] = code

    return change


def test_voxels_that_a_channel_does_not_reach_are_outside(tmp_path: Path) -> None:
    save(tmp_path / "p_t1.nii", nifti(ramp(SHAPE, AFFINE), AFFINE, change=coded(1)))
    save(tmp_path / "p_t2.nii", nifti(ramp(SHAPE, AFFINE), moved(5.0), change=coded(1)))
    volume = one(tmp_path, modality="mri", channels=("t1", "t2")).volume
    lost = np.isnan(volume.voxels[1])
    assert lost[0].all()
    assert not lost[6:, 6:, 6:].any()
    assert not np.isnan(volume.voxels[0]).any()


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (1, 4)])
def test_another_grid_in_no_common_space_is_refused(
    tmp_path: Path, first: int, second: int
) -> None:
    save(tmp_path / "p_t1.nii", with_codes(image(0), first))
    save(tmp_path / "p_t2.nii", with_codes(image(1, (14, 13, 12)), second))
    reason = refusal(tmp_path, modality="mri", channels=("t1", "t2"))
    assert "t2 is on another grid than t1" in reason


def with_codes(data: bytes, code: int) -> bytes:
    """A NIfTI-1 file whose qform_code and sform_code are `code`; nibabel writes no zeros."""
    return patched(data, 252, struct.pack("<hh", code, code))


def test_one_grid_needs_no_space(tmp_path: Path) -> None:
    for name in ("p_t1.nii", "p_t2.nii"):
        save(tmp_path / name, with_codes(image(0), 0))
    assert one(tmp_path, modality="mri", channels=("t1", "t2")).volume.channels == ("t1", "t2")


def test_a_channel_that_shows_another_place_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "p_t1.nii", nifti(ramp(SHAPE, AFFINE), AFFINE, change=coded(1)))
    save(tmp_path / "p_t2.nii", nifti(ramp(SHAPE, AFFINE), moved(14.0), change=coded(1)))
    reason = refusal(tmp_path, modality="mri", channels=("t1", "t2"))
    assert "shows only" in reason


def test_a_channel_that_cannot_be_read_refuses_the_case(tmp_path: Path) -> None:
    save(tmp_path / "p_t1.nii", image(0))
    save(tmp_path / "p_t2.nii", image(1)[:600])
    assert refusal(tmp_path, modality="mri", channels=("t1", "t2")).startswith(
        "its channel t2 cannot be used: "
    )


def test_channels_together_keep_to_the_limit_of_voxels(tmp_path: Path) -> None:
    for name in ("p_t1.nii", "p_t2.nii"):
        save(tmp_path / name, image(0))
    limits = Limits(voxels=int(np.prod(SHAPE)) * 2 - 1)
    reason = refusal(tmp_path, modality="mri", channels=("t1", "t2"), limits=limits)
    assert "its 2 channels of 12 x 11 x 10 voxels are more than" in reason


def test_modalities_are_not_mixed(tmp_path: Path) -> None:
    save(tmp_path / "p_t1.nii", image(0))
    values = np.full(SHAPE, -1000, np.int16)
    values[3:9, 3:9, 3:9] = np.random.default_rng(0).integers(-50, 60, (6, 6, 6))
    save(tmp_path / "p_t2.nii", nifti(values))
    assert "several modalities (ct, mri)" in refusal(tmp_path, channels=("t1", "t2"))


def test_the_label_map_of_a_case_is_kept_once(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 2:8, 3:7] = 3
    for seed, name in enumerate(("p_t1", "p_t2")):
        save(tmp_path / f"{name}.nii", image(seed))
    save(tmp_path / "p_seg.nii", nifti(mask))
    volume = one(tmp_path, modality="mri", channels=("t1", "t2")).volume
    assert volume.mask is not None
    assert np.array_equal(volume.mask, mask)


def test_one_table_row_a_file_must_name_one_patient(tmp_path: Path) -> None:
    for seed, name in enumerate(("p_t1", "p_t2")):
        save(tmp_path / f"{name}.nii", image(seed))
    (tmp_path / "subjects.csv").write_text("filename,subject\np_t1.nii,A\np_t2.nii,B\n")
    assert "different subjects" in refusal(tmp_path, modality="mri", channels=("t1", "t2"))
    (tmp_path / "subjects.csv").write_text("filename,subject\np_t1.nii,A\np_t2.nii,A\n")
    result = one(tmp_path, modality="mri", channels=("t1", "t2"))
    assert (result.subject, result.own_subject) == ("A", False)


def mr(name: str, number: int, **more: Any) -> list[Any]:
    return series(
        modality="MR",
        series=f"1.2.3.{number}",
        SeriesDescription=name,
        FrameOfReferenceUID="1.2.9",
        **more,
    )


def test_series_of_one_study_become_channels_by_their_description(tmp_path: Path) -> None:
    write(tmp_path / "a", mr("t1_tse_sag", 1))
    write(tmp_path / "b", mr("Ax T2 FLAIR", 2))
    write(tmp_path / "c", mr("t2 space", 3))
    write(tmp_path / "d", mr("DWI b1000", 4))
    result = one(tmp_path, channels=THREE)
    assert result.subject == "PAT-1"
    assert result.volume.channels == THREE


def test_series_of_two_studies_are_two_volumes(tmp_path: Path) -> None:
    for study in "12":
        for number, name in enumerate(("t1", "t2")):
            more = {"StudyInstanceUID": f"1.2.7.{study}"}
            write(tmp_path / study / name, mr(name, 10 * int(study) + number, **more))
    assert len(taken(tmp_path, channels=("t1", "t2"))) == 2


def test_series_of_another_frame_of_reference_are_not_resampled(tmp_path: Path) -> None:
    write(tmp_path / "a", mr("t1", 1))
    write(tmp_path / "b", mr("t2", 2, n=7))
    assert one(tmp_path, channels=("t1", "t2")).volume.shape == (4, 6, 5)
    other = mr("t2", 2, n=7)
    for data in other:
        data.FrameOfReferenceUID = "1.2.10"
    write(tmp_path / "b", other)
    assert "another grid" in refusal(tmp_path, channels=("t1", "t2"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"channels": ("t1",)}, "2 to 8 names"),
        ({"channels": ("t1", "T1")}, "one channel twice"),
        ({"channels": ("t1", "a b")}, "letters and digits"),
        ({"channels": ("t1", "t2"), "contrast": "t1"}, "give one"),
        ({"channels": ("t1", "t2"), "modality": "photo"}, "colours"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        read([tmp_path], **options)


def test_any_number_of_workers_gives_the_same(tmp_path: Path) -> None:
    for seed in range(4):
        for at, name in enumerate(THREE):
            save(tmp_path / f"p{seed}_{name}.nii", image(10 * seed + at))
    single, double = (
        [v.volume.to_bytes() for v in taken(tmp_path, modality="mri", channels=THREE, workers=n)]
        for n in (1, 2)
    )
    assert single == double


@pytest.mark.skipif("MEDVAE_REAL_DATA" not in os.environ, reason="needs MEDVAE_REAL_DATA")
def test_real_visits_on_three_grids() -> None:
    root = Path(os.environ["MEDVAE_REAL_DATA"]) / "mri_open_ms"
    volumes = taken(root, modality="mri", channels=("flair", "t1", "t2"))
    assert [v.volume.shape for v in volumes] == [(320, 320, 36), (320, 320, 46)]
    for result in volumes:
        flair, t1, _ = result.volume.voxels
        both = np.isfinite(flair) & np.isfinite(t1)
        # Heads of one person in one place: their bodies overlap.
        bodies = [one > np.percentile(one[both], 60) for one in (flair, t1)]
        shared = (bodies[0] & bodies[1] & both).sum() / (bodies[0] & both).sum()
        assert shared > 0.8


def ct_and_pet(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Saves a BIDS session with both; returns their voxels."""
    random = np.random.default_rng(3)
    ct = random.integers(-1000, 400, SHAPE).astype(np.int16)
    pet = random.uniform(0, 9, SHAPE).astype(np.float32)
    save(root / "sub-1/ct/sub-1_ct.nii", nifti(ct, AFFINE))
    save(root / "sub-1/pet/sub-1_pet.nii", nifti(pet, AFFINE))
    return ct, pet


def test_channels_of_several_modalities_keep_their_units(tmp_path: Path) -> None:
    ct, pet = ct_and_pet(tmp_path)
    volume = one(tmp_path, modality="ct,pet", channels=("ct", "pet")).volume
    assert (volume.modality, volume.modalities) == ("ct", ("ct", "pet"))
    assert np.array_equal(volume.voxels[0], ct)
    assert np.array_equal(volume.voxels[1], pet)
    assert (volume.channel(1).modality, volume.channel(1).modalities) == ("pet", ())
    # The mean of Hounsfield units and uptake values means nothing.
    assert np.array_equal(volume.grey, ct)


def test_a_modality_that_nobody_said_is_not_mixed_in(tmp_path: Path) -> None:
    ct_and_pet(tmp_path)
    by_bids = list(read([tmp_path], channels=("ct", "pet")))
    assert all(isinstance(found, Quarantined) for found in by_bids)
    assert any("--modality pet" in found.reason for found in by_bids)
    flat = tmp_path / "flat"
    for name in ("ct", "pet"):
        save(flat / f"p_{name}.nii", (tmp_path / f"sub-1/{name}/sub-1_{name}.nii").read_bytes())
    (named,) = read([flat], channels=("ct", "pet"))
    assert isinstance(named, Quarantined)
    assert "does not say" in named.reason
    # Two contrasts of which the numbers of one look like CT are no CT and MRI.
    values = np.random.default_rng(1).integers(-900, 900, SHAPE).astype(np.int16)
    save(tmp_path / "x" / "p_t1.nii", nifti(values, AFFINE))
    save(tmp_path / "x" / "p_t2.nii", image(1))
    (mixed,) = read([tmp_path / "x"], channels=("t1", "t2"))
    assert isinstance(mixed, Quarantined)
    assert "was guessed" in mixed.reason


@pytest.mark.parametrize("given", ["ct,pet,mri", "ct,photo", "ct,xyz"])
def test_modalities_are_one_for_each_channel(tmp_path: Path, given: str) -> None:
    ct_and_pet(tmp_path)
    with pytest.raises(UsageError) as caught:
        list(read([tmp_path], modality=given, channels=("ct", "pet")))
    assert is_sentence(str(caught.value))
