"""DICOM: what is no picture of anatomy is refused by name, what is computed is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ingest_makers import series, slice_of, voxels, write

from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.dicom.kinds import is_doubtful, modality_of, notes_of, why_not

PICTURES = [
    "ORIGINAL\\PRIMARY\\AXIAL",
    "ORIGINAL\\PRIMARY\\M\\ND\\NORM",
    "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE",
    "ORIGINAL\\PRIMARY\\IN_PHASE",
    "ORIGINAL\\PRIMARY\\OUT_PHASE",
    "ORIGINAL\\PRIMARY\\DIXON\\WATER",
    "ORIGINAL\\PRIMARY\\T1\\NONE",
    "ORIGINAL\\PRIMARY\\PERFUSION\\NONE",
    "DERIVED\\PRIMARY\\T1\\NONE",
    "DERIVED\\SECONDARY\\MPR",
    "DERIVED\\SECONDARY\\AXIAL\\CT_SOM5 SPI",
    "DERIVED\\PRIMARY\\DIFFUSION\\TRACEW",
    "ORIGINAL\\PRIMARY\\SW_M\\M\\SWI",
    "",
    "ORIGINAL",
]
NO_PICTURES = {
    "DERIVED\\SECONDARY\\AXIAL\\MIP": "projection",
    "DERIVED\\PRIMARY\\MINIP": "projection",
    "DERIVED\\SECONDARY\\PROJECTION IMAGE\\MAX": "projection",
    "DERIVED\\PRIMARY\\MAX_IP\\NONE": "projection",
    "DERIVED\\PRIMARY\\ANGIO\\MAXIMUM": "projection",
    "ORIGINAL\\PRIMARY\\P\\ND": "phase",
    "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE": "phase",
    "DERIVED\\PRIMARY\\SW_P\\P\\SWI": "phase",
    "ORIGINAL\\PRIMARY\\I_FFE": "imaginary",
    "DERIVED\\SECONDARY\\AXIAL\\CT_PERFUSION\\CBF": "perfusion",
    "DERIVED\\PRIMARY\\RCBV": "perfusion",
    "DERIVED\\PRIMARY\\PERFUSION\\RELCBF": "perfusion",
    "DERIVED\\PRIMARY\\GBP\\NONE": "perfusion",
    "DERIVED\\PRIMARY\\PERFUSION_ASL": "computed from other images",
    "DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND": "diffusion",
    "DERIVED\\PRIMARY\\DIFFUSION\\FA": "diffusion",
    "DERIVED\\PRIMARY\\T1 MAP": "relaxation",
    "DERIVED\\PRIMARY\\OTHER\\T2_STAR": "computed from other images",
    "ORIGINAL\\PRIMARY\\B0 MAP\\B0\\FFE": "magnetic field",
    "DERIVED\\SECONDARY\\AXIAL\\IODINE MAP": "material",
    "ORIGINAL\\PRIMARY\\LOCALIZER": "localizer",
}


@pytest.mark.parametrize("words", PICTURES)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_pictures_of_anatomy_are_taken(words: str, modality: str) -> None:
    data = slice_of(0, voxels((4, 4)), modality=modality, ImageType=words.split("\\"))
    assert why_not(data) == ""
    assert ("derived" in notes_of(data)) == words.startswith("DERIVED")


@pytest.mark.parametrize("words", list(NO_PICTURES))
def test_what_is_computed_into_another_unit_is_refused_by_name(words: str) -> None:
    data = slice_of(0, voxels((4, 4)), modality="MR", ImageType=words.split("\\"))
    assert NO_PICTURES[words] in why_not(data)


@pytest.mark.parametrize(
    ("made", "what"),
    [("DF", "a digitised film"), ("SI", "a scanned picture"), ("WSD", ""), ("DI", ""), ("", "")],
)
def test_a_picture_of_a_picture_is_refused_and_what_a_workstation_wrote_is_not(
    made: str, what: str
) -> None:
    data = slice_of(0, voxels((4, 4)), ConversionType=made)
    assert what in why_not(data)
    assert bool(why_not(data)) == bool(what)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"  # computed radiography, of which films are
    data.Modality = "CR"
    assert why_not(data) == ""


@pytest.mark.parametrize(
    ("number", "refused", "note"), [(0, "", False), (1, "phase", False), (2, "", True),
                                    (3, "imaginary", False), (9, "", False)],
)  # fmt: skip
def test_ge_says_the_part_of_the_signal_in_its_own_element(
    number: int, refused: str, note: bool
) -> None:
    data = slice_of(0, voxels((4, 4)), modality="MR")
    block = data.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x2F, "SS", number)
    assert refused in why_not(data)
    assert bool(why_not(data)) == bool(refused)
    assert ("real" in notes_of(data)) == note


def test_another_vendors_element_of_that_tag_says_nothing() -> None:
    data = slice_of(0, voxels((4, 4)), modality="MR")
    data.private_block(0x0043, "SOMEONE ELSE", create=True).add_new(0x2F, "SS", 1)
    assert why_not(data) == ""


@pytest.mark.parametrize("where", ["component", "type"])
def test_a_phase_image_among_magnitudes_is_left_and_they_are_read(
    tmp_path: Path, where: str
) -> None:
    slices = series(modality="MR")
    phases: Any = series(modality="MR")
    for index, data in enumerate(phases):
        data.SOPInstanceUID = f"1.2.777.{index}"
        if where == "component":
            data.ComplexImageComponent = "PHASE"
        else:
            data.ImageType = ["ORIGINAL", "PRIMARY", "P"]
    results = list(read([write(tmp_path / "mr", slices + phases)]))
    assert [r.volume.shape for r in results if isinstance(r, Ingested)] == [(4, 6, 5)]
    assert ["phase" in r.reason for r in results if isinstance(r, Quarantined)] == [True]


def test_derived_volumes_are_told_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = ["DERIVED", "SECONDARY", "MPR"]
        write(tmp_path / name, series(series=f"1.2.{name == 'a':d}", ImageType=words))
    notes: list[str] = []
    assert len(list(read([tmp_path], notes=notes.append))) == 2
    assert [n.partition(":")[0] for n in notes] == [
        "volumes marked as DERIVED, computed from other images"
    ]
    assert ": 2, such as" in notes[0]


@pytest.mark.parametrize(
    ("meta", "modality", "found"),
    [("1.2.840.10008.5.1.4.1.1.4", "", "mri"), ("", "CT", "ct"), ("", "MR", "mri"),
     ("", "PT", "pet"), ("", "US", None), ("", "", None),
     ("1.2.840.10008.5.1.4.1.1.7", "CT", None)],
)  # fmt: skip
def test_without_a_class_the_meta_information_and_then_the_modality_say_it(
    meta: str, modality: str, found: str | None
) -> None:
    data = slice_of(0, voxels((4, 4)))
    data.SOPClassUID, data.Modality = "", modality
    data.file_meta.MediaStorageSOPClassUID = meta
    one = modality_of(data)
    assert (one.name if one else None) == found
    assert bool(why_not(data)) == (found is None)


@pytest.mark.parametrize(
    ("description", "doubtful"),
    [("MIP", True), ("t2_tse ADC", True), ("3-plane loc", True), ("CBF_map", True),
     ("Scout", True), ("dADC(10^-6)", True), ("eADC", True), ("relCBF", True), ("rCBV", True),
     ("R2* map", True), ("arterial phase", False), ("phase map", True),
     ("t1_mprage_sag", False), ("Abdomen 5.0 B30f", False),
     ("family", False), ("", False)],
)  # fmt: skip
def test_a_description_that_names_something_else_is_told(description: str, doubtful: bool) -> None:
    data = slice_of(0, voxels((4, 4)), SeriesDescription=description)
    assert is_doubtful(data) == doubtful


def test_the_description_itself_is_not_shown(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = write(tmp_path / "ct", series(SeriesDescription="MIP of SECRET"))
    assert len(list(read([folder], notes=notes.append))) == 1
    assert notes[0].startswith("volumes whose series description names a projection")
    assert "SECRET" not in " ".join(notes)
