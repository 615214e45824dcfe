"""Tables, BIDS data sets and headers as hospitals have them: right, with a note, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, nifti, one, refusal, save, series, write
from test_ingest_odd import head

from medvae.errors import InputError
from medvae.ingest import Ingested, Quarantined, read

FILES = {"x.nii": nifti(head(0)), "y.nii": nifti(head(1))}


def found(root: Path, files: dict[str, bytes], **options: Any) -> tuple[list[Any], list[str], str]:
    """Volumes, reasons of refusals, notes."""
    for name, data in files.items():
        save(root / name, data)
    notes: list[str] = []
    results = list(read([root], notes=notes.append, **options))
    refused = [is_sentence(r.reason) for r in results if isinstance(r, Quarantined)]
    return [r for r in results if isinstance(r, Ingested)], refused, "\n".join(notes)


def by_table(root: Path, table: str, **options: Any) -> tuple[list[Any], list[str], str]:
    return found(root, FILES | {"subjects.csv": table.encode()}, modality="mri", **options)


@pytest.mark.parametrize(
    "table",
    [
        "filename,subject\nx.nii,P1\ny.nii,P2\n",
        "sep=;\nfilename;subject\nx.nii;P1\ny.nii;P2\n",
        "\ufeffsep=,\r\nFilename , Subject\r\nx.nii,P1\r\ny.nii,P2\r\n",
        'filename,subject\nx.nii,"P1",,\ny.nii,P2,  \n',
    ],
)
def test_tables_that_say_whose_each_file_is(tmp_path: Path, table: str) -> None:
    volumes, refused, _ = by_table(tmp_path, table)
    assert refused == []
    assert [r.subject for r in volumes] == ["P1", "P2"]


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("Doe, Jane", "line 2 of {} has more cells than the table has columns"),
        ("#N/A", "line 2 of {} gives it no subject"),
        ("nan", "line 2 of {} gives it no subject"),
        ("-", "line 2 of {} gives it no subject"),
        ("1.23E+11", "line 2 of {} gives it the beginning of a long number"),
        ('"1,23E+11"', "line 2 of {} gives it the beginning of a long number"),
    ],
)
def test_cells_that_name_nobody_are_refused(tmp_path: Path, cell: str, why: str) -> None:
    volumes, refused, _ = by_table(tmp_path, f"filename,subject\nx.nii,{cell}\ny.nii,P2\n")
    assert [r.subject for r in volumes] == ["P2"]
    (reason,) = refused
    assert reason.startswith(why.format(tmp_path / "subjects.csv"))


@pytest.mark.parametrize("folder", ["/data/", "C:\\data\\"])
def test_a_whole_path_in_a_table_is_named_as_that(tmp_path: Path, folder: str) -> None:
    volumes, refused, _ = by_table(tmp_path, f"filename,subject\n{folder}x.nii,P1\ny.nii,P2\n")
    assert [r.subject for r in volumes] == ["P2"]
    assert "does not name it" in refused[0]
    assert refused[1].endswith("write its path from the source on, not from the root of the disk")


@pytest.mark.parametrize(("word", "noted"), [("unknown", True), ("0", True), ("P0", False)])
def test_words_for_nobody_get_a_note(tmp_path: Path, word: str, noted: bool) -> None:
    _, refused, notes = by_table(tmp_path, f"filename,subject\nx.nii,{word}\ny.nii,{word}\n")
    assert refused == []
    assert ("stand for nobody, such as ANONYMOUS or 0 (on line 2)" in notes) == noted


@pytest.mark.parametrize(
    ("cell", "label"), [('"1,5"', 1.5), ("-2.5", -2.5), ("n/a", None), ('"a,5"', "a,5"), ("7", 7)]
)
def test_labels_with_a_decimal_comma_are_numbers(tmp_path: Path, cell: str, label: Any) -> None:
    table = f"filename,subject,grade\nx.nii,P1,{cell}\ny.nii,P2,\n"
    volumes, _, _ = by_table(tmp_path, table, label_column="grade")
    assert [r.volume.meta.get("label") for r in volumes] == [label, None]


def test_quotes_that_do_not_match_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="each cell in a pair of quotes or in none"):
        by_table(tmp_path, 'filename,subject\n"x.nii" ,"P1" \n')


@pytest.mark.parametrize("age", ["45", "45.5", "45,5", "045Y"])
@pytest.mark.parametrize("columns", ["participant_id\tage\tsex", "participant_id \tAge\tSex "])
def test_participants_of_spreadsheets(tmp_path: Path, age: str, columns: str) -> None:
    files = {
        "sub-1/anat/sub-1_T1w.nii": FILES["x.nii"],
        "participants.tsv": f"{columns}\nsub-1\t{age}\tF\n".encode(),
    }
    ((volume,), _, _) = found(tmp_path, files, demographics=True)
    assert volume.volume.meta == {"age_group": "40-49", "sex": "F"}


def test_a_bids_file_of_two_subjects_is_refused(tmp_path: Path) -> None:
    volumes, refused, _ = found(tmp_path, {"sub-1/anat/sub-2_T1w.nii": FILES["x.nii"]})
    assert volumes == []
    assert refused == ["its name and its folder are of two subjects (sub-): rename one"]
    table = {"subjects.csv": b"filename,subject\nsub-2_T1w.nii,P1\n"}
    volumes, refused, _ = found(tmp_path, table)
    assert (refused, [r.subject for r in volumes]) == ([], ["P1"])


@pytest.mark.parametrize(("other", "noted"), [("01", True), ("001", True), ("2", False)])
def test_bids_labels_that_are_one_number_get_a_note(
    tmp_path: Path, other: str, noted: bool
) -> None:
    names = [f"sub-{label}/anat/sub-{label}_T1w.nii" for label in ("1", other)]
    volumes, _, notes = found(tmp_path, dict(zip(names, FILES.values(), strict=True)))
    assert len({r.subject for r in volumes}) == 2
    assert ("differ in leading zeros or case only" in notes) == noted


def slices(**more: Any) -> list[Any]:
    return series(8, (20, 16), **more)


def drawn(bits: int, place: int) -> list[Any]:
    """Slices with an overlay in a bit of their pixels, or in data of its own (1 bit)."""
    made = slices(PixelRepresentation=0, BitsStored=12, HighBit=11)
    for data in made:
        data.add_new(0x60000100, "US", bits)
        data.add_new(0x60000102, "US", place)
    return made


def test_overlays_in_the_pixels_are_told_from_the_pixels(tmp_path: Path) -> None:
    plain = one(write(tmp_path / "none", slices())).volume
    for name, bits, place in (("above", 16, 15), ("apart", 1, 0)):
        volume = one(write(tmp_path / name, drawn(bits, place))).volume
        assert np.array_equal(volume.voxels, plain.voxels)
    assert "an overlay is drawn into the bits" in refusal(write(tmp_path / "in", drawn(16, 11)))


# What is changed in each slice -> the sentence.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "place": ({"ImagePositionPatient": [0, 0, 0]}, "its 8 slices all have one place"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "those of a table of colours"),
    "grey": ({"PhotometricInterpretation": ""}, "its header lacks PhotometricInterpretation"),
    "slope": ({"RescaleSlope": 0}, "its intensity scale is 0 or not a finite number"),
    "float": ({"FloatPixelData": bytes(1280)}, "its pixels are floating numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_headers_are_refused_by_what_is_wrong(tmp_path: Path, name: str) -> None:
    more, why = REFUSED[name]
    assert why in refusal(write(tmp_path, slices(**more)))
