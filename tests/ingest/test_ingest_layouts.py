"""Label maps beside images as people lay them out: paired, merged or told, never a patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import AFFINE, is_sentence, nifti, one, refusal, save, series, taken, write

from medvae.errors import UsageError
from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.layouts import arrange
from medvae.ingest.numbering import numbering

SHAPE = (12, 11, 10)


def scan(seed: int = 0, low: int = 0) -> bytes:
    image = np.random.default_rng(seed).integers(low, 900, SHAPE)
    return nifti(image.astype(np.int16))


def block(number: int = 1, at: int = 2) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[at : at + 3, 2:8, 3:7] = number
    return mask


def found(root: Path, **options: Any) -> tuple[list[Ingested], list[Quarantined], list[str]]:
    notes: list[str] = []
    results = list(read([root], modality="mri", notes=notes.append, **options))
    refused = [r for r in results if isinstance(r, Quarantined)]
    assert all(is_sentence(r.reason) for r in refused)
    return [r for r in results if isinstance(r, Ingested)], refused, notes


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("x.nii.gz", "x_seg.nii.gz"),
        ("x.nii", "x-label.nii.gz"),
        ("x.nii", "x_mask.nii"),
        ("x.nii", "X_Mask.nii"),
        ("x.nii", "x.seg.nii"),
        ("x.nii", "x_dseg.nii"),
        ("x_0000.nii", "x_gt.nii"),
        ("p/image.nii", "p/segmentation.nii"),
        ("p/imaging.nii", "p/seg.nii"),
        ("volume-0.nii", "segmentation-0.nii"),
        ("img/img0001.nii", "label/label0001.nii"),
        ("Task01/imagesTr/x_0000.nii", "Task01/labelsTr/x.nii"),
        ("imagesTr/amos_0000.nii", "labelsTr/amos_0000.nii"),
        ("s1/ct.nii", "s1/segmentations/liver.nii"),
        ("x.nii", "masks/x.nii"),
        ("a/b/images/x.nii", "a/b/masks/x.nii"),
        ("f/p1_frame01.nii", "f/p1_frame01_gt.nii"),
    ],
)
def test_a_label_map_goes_with_its_image(tmp_path: Path, image: str, mask: str) -> None:
    save(tmp_path / image, scan())
    save(tmp_path / mask, nifti(block(3)))
    volume = one(tmp_path, modality="mri").volume
    assert volume.mask is not None
    assert np.array_equal(np.unique(volume.mask), [0, 3])


@pytest.mark.parametrize(
    "names",
    [
        ("p1.nii", "p1_2_seg.nii"),
        ("a/x.nii", "b/x_seg.nii"),
        ("imagesTs/x.nii", "labelsTr/x.nii"),
        ("p1.nii", "p10_seg.nii"),
    ],
)
def test_another_name_is_no_pair(names: tuple[str, str]) -> None:
    assert arrange(names).masks == {}


def test_masks_of_single_structures_become_one_label_map(tmp_path: Path) -> None:
    for n, organs in enumerate((("spleen", "aorta", "liver"), ("liver", "spleen"))):
        save(tmp_path / f"s{n}/ct.nii.gz", scan(n))
        for organ in organs:
            number = ["aorta", "liver", "spleen"].index(organ)
            save(tmp_path / f"s{n}/segmentations/{organ}.nii.gz", nifti(block(1, 1 + 3 * number)))
    (first, second), refused, notes = found(tmp_path)
    assert refused == []
    assert set(np.unique(first.volume.mask)) == {0, 1, 2, 3}
    # Who lacks a mask does not change the number of another structure.
    assert set(np.unique(second.volume.mask)) == {0, 2, 3}
    assert np.array_equal(first.volume.mask == 2, block(1, 4) > 0)
    assert any("1=aorta,2=liver,3=spleen" in note for note in notes)
    (first, _), _, _ = found(tmp_path, scheme={"7": "Spleen", "200": "aorta"})
    assert set(np.unique(first.volume.mask)) == {0, 7, 200}
    taken, refused, _ = found(tmp_path, scheme={"1": "heart"})
    assert taken == []
    assert "none of the structures" in refused[0].reason


def test_masks_of_structures_that_share_voxels_are_left_out_and_noted(tmp_path: Path) -> None:
    save(tmp_path / "s/ct.nii.gz", scan())
    for organ, at in (("a", 2), ("b", 4)):
        save(tmp_path / f"s/segmentations/{organ}.nii.gz", nifti(block(1, at)))
    (result,), refused, notes = found(tmp_path)
    assert (refused, result.volume.mask) == ([], None)
    assert any("share voxels" in note for note in notes)
    (result,), _, notes = found(tmp_path, scheme={"5": "b"})
    assert set(np.unique(result.volume.mask)) == {0, 5}
    assert not any("share voxels" in note for note in notes)


def test_117_structures(tmp_path: Path) -> None:
    names = [f"s/segmentations/organ_{n}.nii.gz" for n in range(256)]
    layout = arrange(["s/ct.nii.gz", *names[:117]])
    assert len(numbering(layout.structures(), None)) == 117
    save(tmp_path / "s/ct.nii.gz", scan())
    for name in names:
        save(tmp_path / name, nifti(block(0)))
    assert "256 structures" in refusal(tmp_path, modality="mri")


def brats(root: Path, *contrasts: str) -> Path:
    for n in range(2):
        case = f"BraTS2021_0000{n}"
        for k, contrast in enumerate(contrasts):
            save(root / f"{case}/{case}_{contrast}.nii.gz", scan(10 * n + k))
        save(root / f"{case}/{case}_seg.nii.gz", nifti(block(4)))
    return root


def nnunet(root: Path, *channels: str) -> Path:
    for n in range(2):
        for k, channel in enumerate(channels):
            save(root / f"imagesTr/case_00{n}_{channel}.nii.gz", scan(10 * n + k))
        save(root / f"labelsTr/case_00{n}.nii.gz", nifti(block(4)))
    return root


@pytest.mark.parametrize(
    ("make", "contrasts"),
    [
        (brats, ("flair", "t1", "t1ce", "t2")),
        (brats, ("t1n", "t1c", "t2w", "t2f")),
        (nnunet, ("0000", "0001", "0002", "0003")),
    ],
)
def test_the_contrasts_of_a_case_are_no_patients(
    tmp_path: Path, make: Any, contrasts: tuple[str, ...]
) -> None:
    root = make(tmp_path, *contrasts)
    with pytest.raises(UsageError, match="--contrast") as error:
        list(read([root], modality="mri"))
    assert all(contrast in str(error.value) for contrast in contrasts)
    with pytest.raises(UsageError, match="--contrast"):
        list(read([root], modality="mri", contrast="bold"))
    chosen, refused, notes = found(root, contrast=contrasts[1].upper())
    assert refused == []
    assert len(chosen) == len({r.subject for r in chosen}) == 2
    assert all(set(np.unique(r.volume.mask)) == {0, 4} for r in chosen)
    assert any("another contrast" in note for note in notes)
    every, _, _ = found(root, contrast="all")
    assert (len(every), len({r.subject for r in every})) == (8, 2)
    assert all(r.several for r in every)


def test_numbers_of_patients_are_no_channels(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        save(tmp_path / f"imagesTs/amos_000{n}.nii.gz", scan(n))
    assert len({r.subject for r in taken(tmp_path, modality="mri")}) == 3


def test_numbers_with_a_gap_are_channels_where_a_mask_is_of_their_case(tmp_path: Path) -> None:
    for n in (0, 2):
        save(tmp_path / f"imagesTr/p_000{n}.nii.gz", scan(n))
    save(tmp_path / "labelsTr/p.nii.gz", nifti(block()))
    with pytest.raises(UsageError, match="several contrasts a case"):
        list(read([tmp_path], modality="mri"))
    volume = one(tmp_path, modality="mri", contrast="0002").volume
    assert volume.mask is not None


@pytest.mark.parametrize("values", [[1], [255], [1, 2], list(range(1, 148))])
def test_a_label_map_alone_is_no_patient(tmp_path: Path, values: list[int]) -> None:
    """By its content: its name says nothing."""
    mask = np.zeros((40, 40, 40), np.int16)
    edges = np.linspace(5, 35, len(values) + 1).astype(int)
    if len(values) > 30:
        mask = np.repeat(np.repeat(np.arange(148).reshape(1, 4, 37), 8, 1), 6, 0).astype(np.int16)
    else:
        for value, low, high in zip(values, edges, edges[1:], strict=False):
            mask[low:high, 5:30, 5:30] = value
    save(tmp_path / "organ.nii.gz", nifti(mask))
    assert "label map" in refusal(tmp_path, modality="ct")
    assert "label map" in refusal(tmp_path)


def test_a_label_map_beside_dicom_costs_no_scan(tmp_path: Path) -> None:
    """Nobody has to say that files are patients: the one that names none is no scan by its name."""
    write(tmp_path / "ct", series())
    save(tmp_path / "seg.nii.gz", nifti(block()))
    found = list(read([tmp_path], files_are_patients=False))
    assert [one.subject for one in found if isinstance(one, Ingested)] == ["PAT-1"]
    (refused,) = [one.reason for one in found if isinstance(one, Quarantined)]
    assert is_sentence(refused).startswith("it is named like a label map")
    save(tmp_path / "scan.nii.gz", scan())
    with pytest.raises(UsageError, match=r"scan\.nii\.gz names no patient"):
        list(read([tmp_path], files_are_patients=False))


def test_an_empty_mask_is_no_patient(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", nifti(np.zeros(SHAPE, np.uint8)))
    assert "same value" in refusal(tmp_path, modality="ct")


@pytest.mark.parametrize("most", [20, 225, 255])
def test_an_image_given_as_a_mask_is_refused(tmp_path: Path, most: int) -> None:
    image = np.random.default_rng(0).integers(0, most + 1, SHAPE)
    save(tmp_path / "images/x.nii", scan())
    save(tmp_path / "labels/x.nii", nifti(image.astype(np.int16)))
    assert "an image, not a mask" in refusal(tmp_path, modality="mri")


def test_sparse_labels_up_to_255_are_taken(tmp_path: Path) -> None:
    mask = block(255) + block(33, 6)
    save(tmp_path / "images/x.nii", scan())
    save(tmp_path / "labels/x.nii", nifti(mask))
    assert set(np.unique(one(tmp_path, modality="mri").volume.mask)) == {0, 33, 255}
    save(tmp_path / "labels/x.nii", nifti(block(1).astype(np.int16) * 256))
    assert "0 to 255" in refusal(tmp_path, modality="mri")


@pytest.mark.parametrize("name", ["x.nii", "x_seg.nii", "deep/x_mask.nii", "x-label.nii.gz"])
def test_masks_given_apart_are_found_by_their_stem(tmp_path: Path, name: str) -> None:
    save(tmp_path / "i/x.nii.gz", scan())
    save(tmp_path / f"m/{name}", nifti(block(2)))
    volume = one(tmp_path / "i", labels=tmp_path / "m", modality="mri").volume
    assert volume.mask is not None


def test_masks_given_apart_that_fit_nothing_are_told(tmp_path: Path) -> None:
    save(tmp_path / "i/x.nii.gz", scan())
    save(tmp_path / "m/other.nii.gz", nifti(block(2)))
    (result,), _, notes = found(tmp_path / "i", labels=tmp_path / "m")
    assert result.volume.mask is None
    assert any("images without a mask" in note for note in notes)
    assert any("masks of --labels without an image" in note for note in notes)


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.nii", scan())
    for word in ("seg", "mask"):
        save(tmp_path / f"x_{word}.nii", nifti(block()))
    assert "more than one mask" in refusal(tmp_path, modality="mri")


def test_folders_named_by_adni_name_the_patient(tmp_path: Path) -> None:
    for n, path in enumerate(("002_S_0413/MPRAGE/2006", "002_S_0413/MPRAGE/2007", "003_S_1000/a")):
        save(tmp_path / path / "I13.nii", scan(n))
    results, _, notes = found(tmp_path, files_are_patients=False)
    assert [r.subject for r in results] == ["002_S_0413", "002_S_0413", "003_S_1000"]
    assert not any(r.own_subject for r in results)
    assert any("ADNI identifier in their path: 3, such as" in note for note in notes)


def test_bids_maps_and_parts_are_no_scans_and_derivatives_are_label_maps(tmp_path: Path) -> None:
    anat = "sub-01/anat/sub-01"
    for n, suffix in enumerate(("T1w", "FLAIR", "T1map", "part-phase_T2starw")):
        save(tmp_path / f"{anat}_{suffix}.nii.gz", scan(n))
    save(tmp_path / f"derivatives/s/{anat}_T1w_dseg.nii.gz", nifti(block(2)))
    results, refused, _ = found(tmp_path)
    masked = {Path(r.source).name: r.volume.mask is not None for r in results}
    assert masked == {"sub-01_T1w.nii.gz": True, "sub-01_FLAIR.nii.gz": False}
    assert sorted(r.reason for r in refused) == [
        "it is a quantitative map (T1map), not a scan",
        "it is the phase part of a complex image, not a scan",
    ]
    (chosen,), _, _ = found(tmp_path, contrast="flair")
    assert chosen.source.endswith("FLAIR.nii.gz")


def test_a_nifti_pair_is_one_scan(tmp_path: Path) -> None:
    import nibabel

    image = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    pair = nibabel.Nifti1Pair(image, AFFINE)
    for ending in ("hdr", "img"):
        pair.to_filename(tmp_path / "plain.img")
        save(tmp_path / f"packed.{ending}.gz", (tmp_path / f"plain.{ending}").read_bytes())
    for result in taken(tmp_path, modality="mri"):
        assert np.array_equal(result.volume.voxels, image)
        assert result.subject in ("plain", "packed")
    nibabel.AnalyzeImage(image, AFFINE).to_filename(tmp_path / "plain.img")
    (tmp_path / "packed.img.gz").unlink()
    results, refused, _ = found(tmp_path)
    assert results == []
    assert {r.reason.split(" ")[2] for r in refused} == {"an", "half"}
