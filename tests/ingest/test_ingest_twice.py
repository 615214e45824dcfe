"""Two things of one name: none of them wins without a word."""

from __future__ import annotations

import io
import struct
import tarfile
import unicodedata
import zipfile
from contextlib import nullcontext
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingest_makers import AFFINE, dicomdir, nifti, one, refusal, save, series, taken, write
from test_ingest_odd import LABELS, MASK, head

from medvae.errors import InputError, UsageError
from medvae.ingest import Ingested, Quarantined, read

A, B = nifti(head(0)), nifti(head(1))
OTHER = nifti((LABELS > 0).astype(np.uint8))
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é.nii") for form in ("NFC", "NFD"))


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        save(root / name, data)
    return root


def archive(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """A zip or tar archive; names may be there more than once."""
    twice = len(dict(members)) < len(members)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed, pytest.warns() if twice else nullcontext():
            for name, data in members:
                packed.writestr(name, data)
        return path
    with tarfile.open(path, "w") as packed:
        for name, data in members:
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            packed.addfile(facts, io.BytesIO(data))
    return path


def noted(source: Path, **options: object) -> tuple[list[Ingested], str]:
    """What was taken, and all notes."""
    notes: list[str] = []
    results = list(read([source], notes=notes.append, **options))
    return [r for r in results if isinstance(r, Ingested)], "\n".join(notes)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "names", [("x.nii", "x.nii"), ("d/x.nii", "d\\x.nii"), ("x.nii", "./x.nii")]
)
def test_members_of_one_name_are_refused_and_the_others_taken(
    tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    members = [(names[0], A), (names[1], B), ("y.nii", A)]
    results = list(read([archive(tmp_path / f"a.{kind}", members)], modality="mri"))
    (left,) = [r.reason for r in results if isinstance(r, Quarantined)]
    assert left == "the archive holds 2 files of this name: pack it again with one of them"
    assert [r.subject for r in results if isinstance(r, Ingested)] == ["y"]


def test_two_tables_of_one_name_in_an_archive_are_no_table(tmp_path: Path) -> None:
    table = b"filename,subject\nx.nii,P1\n"
    packed = archive(tmp_path / "a.tar", [("x.nii", A), ("subjects.csv", table)] * 2)
    with pytest.raises(InputError, match=r"subjects\.csv twice: keep one"):
        list(read([packed], modality="mri"))


@pytest.mark.parametrize("table", [b"", b"filename,subject\n\xc3\xa9.nii,P1\n"])
def test_names_that_are_one_in_unicode_are_no_two_patients(tmp_path: Path, table: bytes) -> None:
    files = {COMPOSED: A, DECOMPOSED: B} | ({"subjects.csv": table} if table else {})
    results = list(read([folder(tmp_path, files)], modality="mri"))
    reasons = [r.reason for r in results if isinstance(r, Quarantined)]
    assert sum("another file has its name" in reason for reason in reasons) == 2
    assert not any(isinstance(r, Ingested) for r in results)


@pytest.mark.parametrize("names", [("A", "a"), ("x-1", "x_1")])
def test_a_mask_goes_to_the_image_that_is_spelled_like_it(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    other, own = names
    source = folder(tmp_path, {f"{other}.nii": A, f"{own}.nii": B, f"{own}_seg.nii": MASK})
    found = {r.subject: r.volume.mask is not None for r in taken(source, modality="mri")}
    assert found == {other: False, own: True}


def test_voxels_of_a_header_are_those_that_are_spelled_like_it(tmp_path: Path) -> None:
    pairs = []
    for seed in (0, 1):
        image = nibabel.Nifti1Pair(head(seed), AFFINE)
        pairs.append((io.BytesIO(), io.BytesIO()))
        image.to_file_map(
            image.make_file_map(dict(zip(("header", "image"), pairs[-1], strict=True)))
        )
    (header, own), (_, other) = ([part.getvalue() for part in pair] for pair in pairs)
    source = folder(tmp_path, {"x.hdr": header, "x.img": own, "X.IMG": other})
    (volume,), _ = noted(source, modality="mri")
    assert int(volume.volume.voxels.sum()) == int(head(0).sum())


def test_masks_of_one_name_in_two_formats_are_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "s", {"x.nii": A})
    masks = folder(tmp_path / "m", {"x.nii": MASK, "x.nii.gz": OTHER})
    assert "more than one mask (x.nii, x.nii.gz)" in refusal(source, labels=masks, modality="mri")


def test_bids_with_two_label_maps_keeps_none_and_says_so(tmp_path: Path) -> None:
    scan, labels = "sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_dseg.nii"
    source = folder(tmp_path, {scan: A, labels: MASK, f"{labels}.gz": OTHER})
    (volume,), notes = noted(source)
    assert volume.volume.mask is None
    assert "images with several label maps, none of which was kept" in notes


PEOPLE = b"participant_id\tage\tsex\n"


@pytest.mark.parametrize(
    ("table", "meta", "note"),
    [
        (PEOPLE + b"sub-1\t70\tF\nsub-1\t70\tF\n", {"age_group": "70-79", "sex": "F"}, ""),
        (PEOPLE + b"sub-1\t20\tM\nsub-1\t70\tF\n", {}, "two ages or sexes"),
        (b"participant_id\tage\tage\nsub-1\t20\t70\n", {}, "no age or sex was kept"),
        ((PEOPLE + b"sub-1\t20\tM\n").decode().encode("utf-16"), {}, "no age or sex was kept"),
        (b"id;age\nsub-1;20\n", {}, "no age or sex was kept"),
    ],
)
def test_participants(tmp_path: Path, table: bytes, meta: dict[str, str], note: str) -> None:
    files = {"sub-1/anat/sub-1_T1w.nii": A, "participants.tsv": table}
    (volume,), notes = noted(folder(tmp_path, files), demographics=True)
    assert volume.volume.meta == meta
    assert note in notes
    assert bool(note) == ("participants.tsv" in notes)


MONTHS = '{"Age": {"Units": "months"}, "sex": {"Levels": {"1": "male", "2": "female"}}}'


@pytest.mark.parametrize(
    ("age", "sex", "described", "meta", "note"),
    [
        ("36", "2", MONTHS, {"age_group": "0-9", "sex": "F"}, ""),
        ("360", "1", MONTHS, {"age_group": "30-39", "sex": "M"}, ""),
        ("45", "M", '{"age": {"Units": "years"}}', {"age_group": "40-49", "sex": "M"}, ""),
        ("45", "M", '{"age": {"Units": "n/a"}}', {"age_group": "40-49", "sex": "M"}, ""),
        ("600", "F", '{"age": {"Units": "weeks"}}', {"age_group": "10-19", "sex": "F"}, ""),
        ("45", "F", '{"age": {"Units": "decades"}}', {"sex": "F"}, "no age was kept"),
        ("45", "F", '{"age": {"Units": "years or months"}}', {"sex": "F"}, "no age was kept"),
        ("45", "F", '{"age": ', {}, "no age or sex was kept"),
        ("45", "F", "[1]", {}, "no age or sex was kept"),
        ("45", "M", '{"sex": {"Levels": {"M": "missing"}}}', {"age_group": "40-49"}, ""),
    ],
)
def test_participants_are_read_as_they_are_described(
    tmp_path: Path, age: str, sex: str, described: str, meta: dict[str, str], note: str
) -> None:
    files = {
        "sub-1/anat/sub-1_T1w.nii": A,
        "participants.tsv": PEOPLE + f"sub-1\t{age}\t{sex}\n".encode(),
        "participants.json": described.encode(),
    }
    (volume,), notes = noted(folder(tmp_path, files), demographics=True)
    assert volume.volume.meta == meta
    assert note in notes
    assert bool(note) == ("participants.json" in notes)


@pytest.mark.parametrize(
    "names", [b'{"0": "T1", "0": "T2", "1": "T1"}', b'{"0": "T1", "00": "T2", "1": "T1"}']
)
def test_channels_that_are_named_twice_are_refused(tmp_path: Path, names: bytes) -> None:
    described = b'{"channel_names": ' + names + b"}"
    files = {"imagesTr/p_0000.nii": A, "imagesTr/p_0001.nii": B, "dataset.json": described}
    with pytest.raises(InputError, match="twice: keep one"):
        list(read([folder(tmp_path, files)], modality="mri", channels=["T1", "T2"]))


def test_a_column_that_is_used_stands_once(tmp_path: Path) -> None:
    table = b"filename,subject,unit,unit\nx.nii,P1,file,patient\n"
    with pytest.raises(InputError, match="two columns unit"):
        list(read([folder(tmp_path, {"x.nii": A, "subjects.csv": table})], modality="mri"))


def test_a_scheme_names_each_label_once(tmp_path: Path) -> None:
    source = folder(tmp_path, {"x.nii": A})
    with pytest.raises(UsageError, match=r"both 1 and 2 'Left_kidney'"):
        read([source], scheme={"1": "left kidney", "2": "Left_kidney"})


def test_a_file_that_a_dicomdir_lists_twice_is_read_once(tmp_path: Path) -> None:
    (whole,) = write(tmp_path / "disc", series(1, SliceThickness=3)).iterdir()
    listing = dicomdir(tmp_path / "disc", [[whole.name]] * 2)
    notes: list[str] = []
    (found,) = read([listing], notes=notes.append)
    assert isinstance(found, Ingested)
    assert one(whole).volume.voxels.shape == found.volume.voxels.shape
    assert any("single slice" in note for note in notes)


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    """An element in explicit little endian, of a kind with a short length."""
    return struct.pack("<HH", group, number) + kind + struct.pack("<H", len(value)) + value


@pytest.mark.parametrize(
    ("before", "more", "name"),
    [
        ((0x0020, 0x000D), element(0x0010, 0x0020, b"LO", b"PAT-2 "), "PatientID"),
        ((0x7FE0, 0x0010), element(0x0028, 0x1052, b"DS", b"0 "), "RescaleIntercept"),
        ((0x7FE0, 0x0010), element(0x0028, 0x0030, b"DS", b"1\\1 "), "PixelSpacing"),
        ((0x0008, 0x0018), element(0x0008, 0x0016, b"UI", b"1.2\0"), "SOPClassUID"),
        ((0x7FE0, 0x0010), element(0x0009, 0x0010, b"LO", b"x ") * 2, ""),
    ],
)
def test_an_element_of_a_header_stands_once(
    tmp_path: Path, before: tuple[int, int], more: bytes, name: str
) -> None:
    for path in write(tmp_path, series(4)).iterdir():
        data = path.read_bytes()
        at = data.index(struct.pack("<HH", *before), 144)
        path.write_bytes(data[:at] + more + data[at:])
    results = list(read([tmp_path]))
    reasons = {r.reason for r in results if isinstance(r, Quarantined)}
    assert reasons == ({f"its header gives {name} twice: export it again"} if name else set())
    assert any(isinstance(r, Ingested) for r in results) == (not name)
