"""Layouts of well-known public data sets: every scan is read, with the mask that is its own."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, nifti, save
from test_ingest_odd import LABELS, RADIUS, head

from medvae.ingest import Ingested, Quarantined, read

CT = (np.where(RADIUS < 0.8, 40, -1000) + head() // 20).astype(np.int16)


def left() -> np.ndarray:
    return (np.roll(RADIUS, 7, 0) < 0.3).astype(np.uint8)


# Layout -> scan -> its mask, or "" where it has none. A list is of masks of one structure each.
PAIRED: dict[str, dict[str, str | list[str]]] = {
    "AMOS": {
        "imagesTr/amos_1.nii.gz": "labelsTr/amos_1.nii.gz",
        "imagesVa/amos_8.nii.gz": "labelsVa/amos_8.nii.gz",
        "imagesTs/amos_9.nii.gz": "",
    },
    "RibFrac": {"train-images/R1-image.nii.gz": "train-labels/R1-label.nii.gz"},
    "BTCV": {
        "RawData/Training/img/img0001.nii.gz": "RawData/Training/label/label0001.nii.gz",
        "averaged-training-images/D101_avg.nii.gz": "averaged-training-labels/D101_avg_seg.nii.gz",
        "RawData/Testing/img/img0061.nii.gz": "",
    },
    "SLIVER": {
        "training/liver-orig001.nii": "training/liver-seg001.nii",
        "training/liver-orig002.nii": "training/liver-seg002.nii",
    },
    "VerSe": {
        "rawdata/sub-v4/sub-v4_ct.nii.gz": "derivatives/sub-v4/sub-v4_seg-vert_msk.nii.gz",
        "rawdata/sub-v5/sub-v5_ct.nii.gz": "derivatives/sub-v5/sub-v5_seg-vert_msk.nii.gz",
    },
    "French": {"images/P1.nii.gz": "masques/P1.nii.gz", "images/P2.nii.gz": ""},
    "German": {"Bilder/P1.nii.gz": "Segmentierungen/P1_Maske.nii.gz"},
    "Spanish": {"imágenes/P1.nii.gz": "máscaras/P1.nii.gz"},
    "Italian": {"P1/immagine.nii.gz": "P1/segmentazione.nii.gz", "P2/immagine.nii.gz": ""},
    "Portuguese": {"P1.nii.gz": "P1_segmentação.nii.gz"},
    "Russian": {"изображения/1.nii.gz": "маски/1.nii.gz"},
    "Chinese": {"图像/病例1.nii.gz": "标注/病例1.nii.gz", "图像/病例2.nii.gz": "标注/病例2.nii.gz"},
    "Japanese": {"画像/1.nii.gz": "ラベル/1.nii.gz"},
    "Korean": {"영상1.nii.gz": "라벨1.nii.gz", "영상2.nii.gz": "라벨2.nii.gz"},
    "KiTS": {"case_0/imaging.nii.gz": "case_0/segmentation.nii.gz", "case_2/imaging.nii.gz": ""},
    "LiTS": {
        "Training Batch 1/volume-0.nii": "Training Batch 1/segmentation-0.nii",
        "Training Batch 1/volume-1.nii": "Training Batch 1/segmentation-1.nii",
    },
    "CT-ORG": {"volume-0.nii.gz": "labels-0.nii.gz", "volume-1.nii.gz": "labels-1.nii.gz"},
    "MM-WHS": {"ct_train/ct_train_1_image.nii.gz": "ct_train/ct_train_1_label.nii.gz"},
    "SegTHOR": {"P_1/P_1.nii.gz": "P_1/GT.nii.gz", "P_2/P_2.nii.gz": "P_2/GT.nii.gz"},
    "AbdomenCT": {"Image/Case_1_0000.nii.gz": "Mask/Case_1.nii.gz"},
    "PARSE": {"PA5/image/PA5.nii.gz": "PA5/label/PA5.nii.gz"},
    "ATM": {"B1/imagesTr/ATM_1_0000.nii.gz": "B1/labelsTr/ATM_1_0000.nii.gz"},
    "StructSeg": {"1/data.nii.gz": "1/label.nii.gz", "2/data.nii.gz": "2/label.nii.gz"},
    "ImageCAS": {"1.img.nii.gz": "1.label.nii.gz", "2.img.nii.gz": "2.label.nii.gz"},
    "HaN-Seg": {
        "case_1/case_1_IMG_CT.nii": ["case_1/case_1_OAR_A_L.seg.nii", "case_1/case_1_OAR_B.seg.nii"]
    },
    "TotalSegmentator": {
        "s1/ct.nii.gz": ["s1/segmentations/liver.nii.gz", "s1/segmentations/spleen.nii.gz"]
    },
}


def put(root: Path, layout: dict[str, str | list[str]]) -> None:
    for number, (scan, masks) in enumerate(layout.items()):
        save(root / scan, nifti((CT + (head(number) % 7)).astype(np.int16)))
        if isinstance(masks, str):
            if masks:
                save(root / masks, nifti(LABELS))
            continue
        for mask, structure in zip(masks, ((LABELS == 2).astype(np.uint8), left()), strict=True):
            save(root / mask, nifti(structure))


def found(source: Path, **options: Any) -> tuple[dict[str, Ingested], list[str], list[str]]:
    """Volumes by source, reasons of refusals, notes."""
    notes: list[str] = []
    results = list(read([source], notes=notes.append, **options))
    refused = [is_sentence(r.reason) for r in results if isinstance(r, Quarantined)]
    volumes = [r for r in results if isinstance(r, Ingested)]
    return {r.source.removeprefix(f"{source}/"): r for r in volumes}, refused, notes


@pytest.mark.parametrize("name", PAIRED)
def test_every_scan_of_a_layout_is_read_with_its_mask(tmp_path: Path, name: str) -> None:
    layout = PAIRED[name]
    put(tmp_path, layout)
    volumes, refused, _ = found(tmp_path, modality="ct")
    assert refused == []
    assert set(volumes) == set(layout)
    for scan, masks in layout.items():
        mask = volumes[scan].volume.mask
        if not masks:
            assert mask is None
        else:
            inside = LABELS > 0 if isinstance(masks, str) else (LABELS == 2) | (left() > 0)
            assert mask is not None
            assert np.array_equal(mask > 0, inside)


def test_scans_of_another_modality_by_name_are_told(tmp_path: Path) -> None:
    for name, values in (("P1/ct", CT), ("P1/mr", head()), ("P2/ct", CT + 1), ("P2/mr", head(1))):
        save(tmp_path / f"{name}.nii", nifti(values.astype(np.int16)))
    _, _, notes = found(tmp_path, modality="ct")
    (told,) = [note for note in notes if "though --modality says otherwise" in note]
    assert told.startswith("images whose names say mri")
    assert ": 2, such as " in told


def test_a_bids_image_that_only_mri_has_is_no_ct(tmp_path: Path) -> None:
    scans(tmp_path, "sub-1/anat/sub-1_T1w.nii", "sub-2/anat/sub-2_FLAIR.nii")
    save(tmp_path / "sub-3/anat/sub-3_ct.nii", nifti(CT))
    volumes, refused, _ = found(tmp_path, modality="ct")
    assert list(volumes) == ["sub-3/anat/sub-3_ct.nii"]
    assert sorted(refused) == [
        f"it is a {suffix} image, and ct was asked for" for suffix in ("FLAIR", "T1w")
    ]


def scans(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        save(root / name, nifti(head(number)))
    return root


@pytest.mark.parametrize(
    ("contrast", "mask"), [("t1", LABELS), ("t2", (LABELS == 2).astype(np.uint8))]
)
def test_a_mask_that_has_the_name_of_a_contrast_is_of_it_alone(
    tmp_path: Path, contrast: str, mask: np.ndarray
) -> None:
    scans(tmp_path, "images/1_t1.nii", "images/1_t2.nii")
    save(tmp_path / "masks/1_t1.nii", nifti(LABELS))
    save(tmp_path / "masks/1_t2.nii", nifti((LABELS == 2).astype(np.uint8)))
    volumes, refused, _ = found(tmp_path, contrast=contrast, modality="mri")
    assert (list(volumes), refused) == ([f"images/1_{contrast}.nii"], [])
    assert np.array_equal(volumes[f"images/1_{contrast}.nii"].volume.mask, mask)


def test_another_contrast_is_left_out_also_where_its_case_has_no_other(tmp_path: Path) -> None:
    scans(tmp_path, "p1-t1.nii", "p1-t2.nii", "p1-MRA.nii", "p2-t1.nii", "p3-flair.nii", "p4.nii")
    volumes, _, notes = found(tmp_path, contrast="t1", modality="mri")
    assert sorted(volumes) == ["p1-t1.nii", "p2-t1.nii", "p4.nii"]
    assert [n for n in notes if "of another contrast" in n and ": 3, such as" in n], notes
    assert [
        n
        for n in notes
        if "say no contrast" in n and n.split(": ")[1].endswith("p4.nii; they were taken")
    ]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("P1/T1/img.nii", "P1/T2/img.nii"), "t1, t2"),
        (("T1/P1.nii", "FLAIR/P1.nii"), "flair, t1"),
        (("1/VSD.MR_T1.545/a.nii", "1/VSD.MR_T2.546/a.nii"), "t1, t2"),
        (("P1/T1/img.nii", "P2/T1/img.nii"), ""),
        (("sub-1/T1/x.nii", "sub-1/T2/x.nii"), ""),
        (("P1/a.nii", "P2/b.nii"), ""),
    ],
)
def test_contrasts_that_may_be_of_one_person_are_told(
    tmp_path: Path, names: tuple[str, ...], told: str
) -> None:
    volumes, _, notes = found(scans(tmp_path / "set", *names), modality="mri")
    assert len(volumes) == (0 if "sub-" in names[0] else 2)
    assert bool([n for n in notes if f"several contrasts ({told})" in n]) == bool(told)


def test_one_of_several_masks_with_several_labels_costs_no_scan(tmp_path: Path) -> None:
    scans(tmp_path, "p1/x.nii")
    save(tmp_path / "p1/x_tumour_segmentation.nii", nifti(LABELS))
    save(tmp_path / "p1/x_brain_segmentation.nii", nifti(left()))
    volumes, refused, notes = found(tmp_path, modality="mri")
    assert (list(volumes), refused) == (["p1/x.nii"], [])
    assert volumes["p1/x.nii"].volume.mask is None
    assert [n for n in notes if "one of which has several labels" in n]


def test_masks_and_suffixes_of_bids_are_told(tmp_path: Path) -> None:
    scans(tmp_path, "sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T2w.nii")
    save(tmp_path / "sub-1/anat/sub-1_label-L_desc-lesion_mask.nii", nifti(LABELS))
    volumes, refused, notes = found(tmp_path)
    assert (len(volumes), refused) == (2, [])
    assert [n for n in notes if n.startswith("masks of BIDS data sets that are no segmentations")]
    assert [n for n in notes if "scans of several suffixes (T1w, T2w)" in n]
    _, _, notes = found(tmp_path, contrast="T1w")
    assert not [n for n in notes if "several suffixes" in n]


TABLE = b"filename,subject\nx.nii,P1\ny.nii,P1\n"


def test_a_table_in_a_folder_of_the_source_is_no_table_and_told(tmp_path: Path) -> None:
    scans(tmp_path, "top/x.nii", "top/y.nii")
    save(tmp_path / "top/subjects.csv", TABLE)
    _, refused, _ = found(tmp_path, modality="mri")
    assert len(refused) == 1
    assert refused[0].startswith("it is a table of subjects that is not at the top of the source")


@pytest.mark.parametrize("beside", [False, True])
def test_the_one_folder_of_an_archive_is_its_top(tmp_path: Path, beside: bool) -> None:
    scans(tmp_path, "top/x.nii", "top/y.nii", *(["other/z.nii"] if beside else []))
    save(tmp_path / "top/subjects.csv", TABLE)
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        for folder in ("top", "other") if beside else ("top",):
            archive.add(tmp_path / folder, folder)
    volumes, refused, _ = found(tmp_path / "a.tgz", modality="mri")
    people = {r.subject for r in volumes.values()}
    assert set(volumes) >= {"top/x.nii", "top/y.nii"}
    assert (people == {"P1"}, len(refused)) == ((False, 1) if beside else (True, 0))


def test_a_mask_with_the_name_of_several_images_is_given_to_none(tmp_path: Path) -> None:
    scans(tmp_path / "i", "P1/ct.nii", "P2/ct.nii", "P3/x.nii")
    for name in ("ct.nii", "x.nii"):
        save(tmp_path / "l" / name, nifti(LABELS))
    volumes, refused, _ = found(tmp_path / "i", modality="mri", labels=tmp_path / "l")
    assert list(volumes) == ["P3/x.nii"]
    assert volumes["P3/x.nii"].volume.mask is not None
    assert [why.startswith("the mask ct.nii has the name of 2 images") for why in refused] == [
        True
    ] * 2


def test_masks_given_for_images_of_one_name_are_found_by_their_folders(tmp_path: Path) -> None:
    scans(tmp_path / "i", "P1/ct.nii", "P2/ct.nii")
    save(tmp_path / "l/P1/ct.nii", nifti(LABELS))
    volumes, refused, notes = found(tmp_path / "i", modality="mri", labels=tmp_path / "l")
    assert refused == []
    assert [v.volume.mask is not None for v in volumes.values()] == [True, False]
    assert [note for note in notes if "without a mask among those of --labels" in note]


def test_masks_given_are_found_one_folder_down(tmp_path: Path) -> None:
    scans(tmp_path / "i", "a/P1/ct.nii", "a/P2/ct.nii")
    for name in ("P1/ct.nii", "P2/ct.nii"):
        save(tmp_path / "l" / name, nifti(LABELS))
    volumes, refused, _ = found(tmp_path / "i", modality="mri", labels=tmp_path / "l")
    assert refused == []
    assert [v.volume.mask is not None for v in volumes.values()] == [True, True]


@pytest.mark.parametrize(
    ("masks", "there", "told"),
    [
        (("sub-1_ses-1_dseg.nii",), True, ""),
        (
            ("sub-1_ses-1_desc-a_dseg.nii", "sub-1_ses-1_desc-b_dseg.nii"),
            False,
            "several label maps",
        ),
        (("sub-1_ses-2_dseg.nii",), False, "without a mask among those of --labels"),
    ],
)
def test_masks_given_for_bids_are_found_by_their_entities(
    tmp_path: Path, masks: tuple[str, ...], there: bool, told: str
) -> None:
    scans(tmp_path / "i", "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii")
    for name in masks:
        save(tmp_path / "l" / name, nifti(LABELS))
    (volume,), refused, notes = (
        list(part) for part in found(tmp_path / "i", labels=tmp_path / "l")
    )
    assert refused == []
    assert volume.endswith("_T1w.nii")
    assert bool([n for n in notes if told and told in n]) == bool(told)
    volumes, _, _ = found(tmp_path / "i", labels=tmp_path / "l")
    assert (volumes[volume].volume.mask is not None) == there


def test_another_table_is_called_one(tmp_path: Path) -> None:
    scans(tmp_path, "x.nii")
    save(tmp_path / "patients.csv", TABLE)
    _, refused, _ = found(tmp_path, modality="mri")
    assert refused == [
        "it is a table that is not read: give it with --subjects if it names patients"
    ]
