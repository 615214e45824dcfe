"""NRRD, MetaImage, MGH and Analyze: read as ITK and nibabel read them, or refused in a sentence."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from ingest_makers import AFFINE, nifti, one, refusal, save, taken, voxels

from medvae.errors import UsageError
from medvae.ingest import Ingested, Limits, read
from medvae.ingest.stored import FROM_LPS

TYPES = [
    SimpleITK.sitkUInt8,
    SimpleITK.sitkInt8,
    SimpleITK.sitkInt16,
    SimpleITK.sitkUInt16,
    SimpleITK.sitkInt32,
]
TYPES += [
    SimpleITK.sitkUInt32,
    SimpleITK.sitkInt64,
    SimpleITK.sitkUInt64,
    SimpleITK.sitkFloat32,
    SimpleITK.sitkFloat64,
]
ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "3 4 5",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "endian": "little",
    "encoding": "raw",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "0 0 0",
    "ElementSpacing": "1 2 3",
    "DimSize": "3 4 5",
    "ElementType": "MET_SHORT",
}
VOXELS = voxels((3, 4, 5))
DATA = VOXELS.astype("<i2").tobytes(order="F")


def nrrd(data: bytes = DATA, more: str = "", **fields: str | None) -> bytes:
    """An NRRD file: fields changed, or left out where None."""
    named = {key.replace("_", " "): value for key, value in fields.items()}
    lines = [f"{key}: {value}" for key, value in (NRRD | named).items() if value is not None]
    return ("NRRD0004\n" + "\n".join(lines) + f"\n{more}\n").encode() + data


def meta(data: bytes = DATA, last: str = "LOCAL", **fields: str | None) -> bytes:
    """A MetaImage file: fields changed, or left out where None."""
    lines = [f"{key} = {value}" for key, value in (META | fields).items() if value is not None]
    return ("\n".join([*lines, f"ElementDataFile = {last}"]) + "\n").encode() + data


def mgh(data: np.ndarray = VOXELS, change: dict[str, object] | None = None) -> bytes:
    image = nibabel.MGHImage(data, AFFINE)
    for key, value in (change or {}).items():
        image.header[key] = value
    return image.to_bytes()


def any_itk_image(draw: np.random.Generator) -> SimpleITK.Image:
    """An image of any type and orientation; no two axes are alike."""
    kind = TYPES[int(draw.integers(len(TYPES)))]
    stored = draw.integers(0, 100, draw.integers(2, 7, 3)).astype(np.int16)
    image = SimpleITK.Cast(SimpleITK.GetImageFromArray(stored), kind)
    turn = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    image.SetDirection(turn.ravel().tolist())
    image.SetSpacing([1.5, 2.25, 3.125])
    image.SetOrigin(draw.uniform(-200, 200, 3).tolist())
    return image


def as_itk_reads(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and RAS+ affine, axes closest to RAS+."""
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    data = SimpleITK.GetArrayFromImage(image).T.astype(np.float64)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, FROM_LPS @ affine))
    return canonical.get_fdata(), canonical.affine


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_forms_read_as_itk_does(tmp_path: Path, ending: str) -> None:
    draw = np.random.default_rng(1)
    for number in range(24):
        path = tmp_path / f"{number}{ending}"
        SimpleITK.WriteImage(any_itk_image(draw), str(path), useCompression=bool(number % 2))
    results = taken(tmp_path, modality="mri")
    assert len(results) == 24
    for result in results:
        expected, where = as_itk_reads(Path(result.source))
        assert np.allclose(result.volume.affine, where, atol=1e-4)
        assert np.array_equal(result.volume.voxels, expected)


def test_a_big_endian_file_reads_as_its_numbers(tmp_path: Path) -> None:
    swapped = VOXELS.astype(">i2").tobytes(order="F")
    save(tmp_path / "a.nrrd", nrrd(swapped, endian="big"))
    save(tmp_path / "b.mha", meta(swapped, BinaryDataByteOrderMSB="True"))
    for result in taken(tmp_path, modality="mri"):
        assert np.array_equal(result.volume.voxels, VOXELS[::-1, ::-1])


@pytest.mark.parametrize("packed", [False, True])
def test_mgh_reads_as_nibabel_does(tmp_path: Path, packed: bool) -> None:
    draw = np.random.default_rng(2)
    for number, kind in enumerate([np.uint8, np.int16, np.int32, np.float32]):
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.qr(draw.normal(size=(3, 3)))[0] * [1.0, 1.5, 2.0]
        affine[:3, 3] = draw.uniform(-50, 50, 3)
        image = nibabel.MGHImage(voxels((4, 5, 6), kind), affine)
        image.to_filename(tmp_path / f"{number}.{'mgz' if packed else 'mgh'}")
    for result in taken(tmp_path, modality="mri"):
        image = nibabel.as_closest_canonical(nibabel.load(result.source))
        assert np.allclose(result.volume.affine, image.affine, atol=1e-4)
        assert np.array_equal(result.volume.voxels, image.get_fdata())


def test_analyze_reads_with_its_sides_declared_and_is_refused_without(tmp_path: Path) -> None:
    image = nibabel.AnalyzeImage(VOXELS, AFFINE)
    image.to_filename(tmp_path / "a.img")
    assert "--orientation" in refusal(tmp_path, modality="mri")
    # nibabel takes Analyze to run to the left, as the Mayo Clinic's programs had it.
    same = nibabel.as_closest_canonical(nibabel.load(tmp_path / "a.img"))
    result = one(tmp_path, modality="mri", orientation="LAS")
    assert np.array_equal(result.volume.voxels, same.get_fdata())
    assert result.volume.spacing == pytest.approx((1.5, 2.0, 2.5))
    other = one(tmp_path / "a.hdr", modality="mri", orientation="RAS")
    assert np.array_equal(other.volume.voxels, VOXELS)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mgz"])
def test_a_header_without_directions_needs_them_declared(tmp_path: Path, ending: str) -> None:
    data = {
        ".nrrd": nrrd(space=None, space_directions=None, spacings="1 2 3"),
        ".mha": meta(TransformMatrix=None),
        ".mgz": gzip.compress(mgh(change={"goodRASFlag": 0})),
    }[ending]
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    assert "does not say which side is left" in refusal(path, modality="mri")
    volume = one(path, modality="mri", orientation="PSR").volume
    # First axis to the back, second to the head, third to the right.
    assert np.array_equal(volume.voxels, VOXELS.transpose(2, 0, 1)[:, ::-1])
    with pytest.raises(UsageError, match="LRP"):
        list(read([path], orientation="LRP"))


def test_directions_in_the_header_come_before_declared_ones(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nrrd", nrrd())
    found = one(path, modality="mri", orientation="RAS").volume
    assert np.array_equal(found.voxels, one(path, modality="mri").volume.voxels)


def test_a_metaimage_is_binary_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = save(tmp_path / "x.mha", meta(BinaryData=None))
    assert np.array_equal(one(path, modality="mri").volume.voxels, VOXELS[::-1, ::-1])


def test_units_of_length_are_converted_or_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nrrd", nrrd(space_units='"cm" "cm" "cm"', space_origin="(1,2,3)"))
    volume = one(path, modality="mri").volume
    assert volume.spacing == pytest.approx((10.0, 20.0, 30.0))
    assert volume.affine[2, 3] == pytest.approx(30.0)
    for units in ('"mm" "cm" "mm"', '"furlong" "furlong" "furlong"'):
        save(path, nrrd(space_units=units))
        assert "unit of length" in refusal(path, modality="mri")


def test_intensities_are_scaled_as_a_metaimage_says(tmp_path: Path) -> None:
    fields = {"ElementToIntensityFunctionSlope": "2", "ElementToIntensityFunctionOffset": "-1024"}
    path = save(tmp_path / "x.mha", meta(**fields))
    assert np.array_equal(one(path, modality="mri").volume.voxels, VOXELS[::-1, ::-1] * 2 - 1024)


@pytest.mark.parametrize("ending", [*ENDINGS, ".mgz"])
def test_masks_in_another_format_fit_their_scan(tmp_path: Path, ending: str) -> None:
    scan, labels = voxels((6, 7, 8)), np.zeros((6, 7, 8), np.uint8)
    labels[2:4, 3, 5] = 3
    save(tmp_path / "a.nii.gz", nifti(scan))
    if ending == ".mgz":
        nibabel.MGHImage(labels, AFFINE).to_filename(tmp_path / "a_seg.mgz")
    else:
        mask = SimpleITK.GetImageFromArray(labels.T)
        mask.SetSpacing(np.diag(AFFINE)[:3].tolist())
        mask.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
        SimpleITK.WriteImage(mask, str(tmp_path / f"a_seg{ending}"), useCompression=True)
    result = one(tmp_path, modality="mri")
    assert result.volume.mask is not None
    assert np.array_equal(result.volume.mask, labels)


def test_an_image_and_its_mask_in_pairs_of_files(tmp_path: Path) -> None:
    labels = (VOXELS > 500).astype(np.uint8)
    for folder, name, data in (("images", "a", VOXELS), ("labels", "a", labels)):
        (tmp_path / folder).mkdir()
        nibabel.Nifti1Pair(data, AFFINE).to_filename(tmp_path / folder / f"{name}.img")
    result = one(tmp_path, modality="mri")
    assert np.array_equal(result.volume.voxels, VOXELS)
    assert np.array_equal(result.volume.mask, labels)


def segments(part: np.ndarray, first: tuple[int, int, int]) -> bytes:
    """A segmentation as 3D Slicer writes it: cut to its labels, on the grid of the scan."""
    place = ",".join(str(a * b) for a, b in zip(first, (1, 2, 3), strict=True))
    more = "Segmentation_ReferenceImageExtentOffset:=" + " ".join(map(str, first)) + "\n"
    sizes = " ".join(map(str, part.shape))
    return nrrd(part.tobytes(order="F"), more, type="uint8", sizes=sizes, space_origin=f"({place})")


def test_a_segmentation_of_slicer_is_put_where_it_was_cut_out(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1:3, 1:3, 2:4] = 2
    save(tmp_path / "a.nrrd", nrrd())
    save(tmp_path / "a.seg.nrrd", segments(labels[1:, 1:3, 2:4], (1, 1, 2)))
    assert np.array_equal(one(tmp_path, modality="mri").volume.mask, labels[::-1, ::-1])
    save(tmp_path / "a.seg.nrrd", segments(labels[1:, 1:3, 2:4], (2, 1, 2)))
    assert "another grid" in refusal(tmp_path, modality="mri")


def test_segments_of_slicer_are_labelled_by_their_names(tmp_path: Path) -> None:
    """Slicer numbers segments in the order in which they were drawn, which differs."""
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1], labels[2] = 1, 2
    save(tmp_path / "a.nrrd", nrrd())
    more = "Segment0_LabelValue:=1\nSegment0_Name:=Kidney\n"
    more += "Segment1_LabelValue:=2\nSegment1_Name:=liver\n"
    made = nrrd(labels.tobytes(order="F"), more, type="uint8")
    save(tmp_path / "a.seg.nrrd", made)
    stored = one(tmp_path, modality="mri").volume.mask
    assert np.array_equal(stored, labels[::-1, ::-1])
    notes: list[str] = []
    list(read([tmp_path], modality="mri", notes=notes.append))
    assert any("--label-scheme" in note for note in notes)
    scheme = {"1": "liver", "2": "kidney"}
    mask = one(tmp_path, modality="mri", scheme=scheme).volume.mask
    assert np.array_equal(mask, np.array([0, 2, 1], np.uint8)[labels[::-1, ::-1]])
    assert "names none" in refusal(tmp_path, modality="mri", scheme={"1": "spleen"})
    save(tmp_path / "a.seg.nrrd", made.replace(b"LabelValue:=2", b"LabelValue:=1"))
    assert "each by its own number" in refusal(tmp_path, modality="mri")


def test_freesurfer_gives_one_scan_a_subject(tmp_path: Path) -> None:
    for name in ("orig", "T1", "brain", "aseg", "aparc+aseg", "orig/001"):
        path = tmp_path / f"bert/mri/{name}.mgz"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = (VOXELS > 500).astype(np.uint8) if "aseg" in name else VOXELS
        nibabel.MGHImage(data, AFFINE).to_filename(path)
    result = one(tmp_path, modality="mri")
    assert result.source.endswith("orig.mgz")
    assert result.own_subject
    assert result.volume.mask is not None


NOT_IN_SPACE = "none (1,0,0) (0,2,0) (0,0,3)"
REFUSED = {
    "a colour image": (
        ".nrrd",
        nrrd(
            dimension="4",
            sizes="3 3 4 5",
            kinds="RGB-color domain domain domain",
            space_directions=NOT_IN_SPACE,
        ),
        "3 values a voxel",
    ),
    "layers of segments": (
        ".nrrd",
        nrrd(
            dimension="4",
            sizes="2 3 4 5",
            kinds="list domain domain domain",
            space_directions=NOT_IN_SPACE,
        ),
        "overlap",
    ),
    "several time points": (
        ".nrrd",
        nrrd(dimension="4", sizes="3 4 5 2", space=None, space_directions=None, spacings="1 1 1 1"),
        "series of volumes",
    ),
    "two dimensions": (
        ".nrrd",
        nrrd(dimension="2", sizes="3 4", space_directions="(1,0,0) (0,2,0)"),
        "2-D",
    ),
    "a giant": (".nrrd", nrrd(sizes="2000000 2000000 2000000"), "claims"),
    "a negative size": (".nrrd", nrrd(sizes="-3 4 5"), "at least one voxel"),
    "no byte order": (".nrrd", nrrd(endian=None), "byte order"),
    "no encoding": (".nrrd", nrrd(encoding=None), "lacks encoding"),
    "words in text": (".nrrd", nrrd(b"12 x " * 30, encoding="ascii"), "not all numbers of type"),
    "fractions in text": (".nrrd", nrrd(b"1.5 " * 60, encoding="text"), "not all numbers of type"),
    "beyond the type in text": (".nrrd", nrrd(b"40000 " * 60, encoding="txt"), "type int16"),
    "text cut short": (".nrrd", nrrd(b"1 " * 59, encoding="text"), "truncated"),
    "text too long": (".nrrd", nrrd(b"1 " * 61, encoding="text"), "more data"),
    "text without end": (".nrrd", nrrd(b"1" * (1 << 21), encoding="text"), "more data"),
    "no hex digits": (".nrrd", nrrd(b"xy" * 120, encoding="HEX"), "hexadecimal digits"),
    "hex cut short": (".nrrd", nrrd(DATA.hex().encode()[:-1], encoding="hex"), "truncated"),
    "no bzip2": (".nrrd", nrrd(encoding="bz2"), "compressed data are damaged"),
    "cut short in bzip2": (".nrrd", nrrd(bz2.compress(DATA)[:-9], encoding="bzip2"), "cut short"),
    "zrl encoding": (".nrrd", nrrd(encoding="zrl"), "unknown to NRRD"),
    "blocks": (".nrrd", nrrd(type="block"), "voxel type"),
    "cut short": (".nrrd", nrrd(DATA[:-1]), "truncated"),
    "cut short in gzip": (".nrrd", nrrd(gzip.compress(DATA)[:-9], encoding="gzip"), "cut short"),
    "a path": (".nhdr", nrrd(b"", data_file="/etc/passwd"), "not beside it"),
    "a way up": (".nhdr", nrrd(b"", data_file="../x.raw"), "not beside it"),
    "a list": (".nhdr", nrrd(b"", data_file="LIST"), "a file for each slice"),
    "no numbers": (
        ".nrrd",
        nrrd(space_directions="(nan,0,0) (0,2,0) (0,0,3)"),
        "not a list of numbers",
    ),
    "flat axes": (".nrrd", nrrd(space_directions="(1,0,0) (1,0,0) (0,0,3)"), "one plane"),
    "a line that is no field": (".nrrd", nrrd(more="type:short"), "is no field"),
    "a field twice": (".nrrd", nrrd(more="Type: short"), "stands twice"),
    "quantised": (".nrrd", nrrd(old_min="0", old_max="1"), "quantised"),
    "no NRRD": (".nrrd", b"hello", "does not begin as one"),
    "several channels": (".mha", meta(ElementNumberOfChannels="3"), "several values"),
    "time in MetaImage": (
        ".mha",
        meta(
            NDims="4",
            DimSize="3 4 5 2",
            TransformMatrix=" ".join(["1"] * 16),
            Offset="0 0 0 0",
            ElementSpacing="1 2 3 1",
        ),
        "series of volumes",
    ),
    "a giant MetaImage": (".mha", meta(DimSize="100000 100000 100000"), "claims"),
    "a size in words": (".mha", meta(DimSize="3 4 x"), "whole numbers"),
    "text voxels": (".mha", meta(BinaryData="False"), "written as text"),
    "a mesh": (".mha", meta(ObjectType="Mesh"), "another kind"),
    "a short MetaImage": (".mha", meta(DATA[:-1]), "truncated"),
    "a damaged MetaImage": (
        ".mha",
        meta(zlib.compress(DATA)[:-4], CompressedData="True"),
        "cut short",
    ),
    "a path in MetaImage": (".mhd", meta(b"", last="/etc/passwd"), "not beside it"),
    "no MetaImage": (".mha", b"\0" * 999, "does not begin as one"),
    "no MGH": (".mgh", struct.pack(">i", 2) + bytes(300), "does not begin as one"),
    "a giant MGH": (".mgh", struct.pack(">5i", 1, *[1 << 30] * 3, 1) + bytes(300), "claims"),
    "a short MGH": (".mgh", mgh()[:300], "truncated"),
    "several MGH": (".mgh", mgh(voxels((3, 4, 5, 2), np.int16)), "series of volumes"),
    "an empty file": (".mgz", b"", "empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_scan_is_refused_by_name(tmp_path: Path, case: str) -> None:
    ending, data, words = REFUSED[case]
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    assert words in refusal(path, modality="mri")


def in_text(values: np.ndarray) -> bytes:
    """As `unu save -e text` writes them: a line a row."""
    rows = values.reshape(-1, order="F").reshape(-1, values.shape[0])
    return b"\n".join(b" ".join(str(value).encode() for value in row) for row in rows) + b"\n"


SWAPPED = VOXELS.astype(">i2").tobytes(order="F")
HEX = DATA.hex().upper().encode()
ENCODED = {
    "text": nrrd(in_text(VOXELS), encoding="text", endian=None),
    "ascii": nrrd(in_text(VOXELS), encoding="ASCII"),
    "floats in text": nrrd(in_text(VOXELS / 4), encoding="txt", type="float", endian=None),
    "hex": nrrd(b"\n".join(HEX[i : i + 70] for i in range(0, 240, 70)) + b"\n", encoding="hex"),
    "hex, swapped": nrrd(SWAPPED.hex().encode(), encoding="hex", endian="big"),
    "bzip2": nrrd(bz2.compress(DATA), encoding="bzip2"),
    "bz2, skipped": nrrd(bz2.compress(b"12345" + DATA), encoding="bz2", byte_skip="5"),
    "text, skipped": nrrd(b"a b\n" + in_text(VOXELS), encoding="text", line_skip="1"),
}


@pytest.mark.parametrize("case", ENCODED)
def test_every_encoding_of_nrrd_holds_the_same_voxels(tmp_path: Path, case: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/x.nrrd").write_bytes(nrrd())
    (tmp_path / "x.nrrd").write_bytes(ENCODED[case])
    raw = one(tmp_path / "raw", modality="mri").volume
    volume = one(tmp_path / "x.nrrd", modality="mri").volume
    scale = 4 if "floats" in case else 1
    assert np.array_equal(volume.voxels * scale, raw.voxels)
    assert np.array_equal(volume.affine, raw.affine)


def test_a_packed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(1 << 26))
    (tmp_path / "a.nrrd").write_bytes(nrrd(bomb, encoding="gzip"))
    (tmp_path / "c.nrrd").write_bytes(nrrd(bz2.compress(bytes(1 << 26)), encoding="bzip2"))
    (tmp_path / "b.mha").write_bytes(meta(zlib.compress(bytes(1 << 26)), CompressedData="True"))
    for result in read([tmp_path], modality="mri", limits=Limits(memory=1 << 28)):
        assert not isinstance(result, Ingested)
        assert "unpacks to more data than its header declares" in result.reason


def test_a_header_names_only_the_file_beside_it(tmp_path: Path) -> None:
    """The voxels of another patient are never read, whatever a header says."""
    save(tmp_path / "other.raw", DATA)
    save(tmp_path / "x.mhd", meta(b"", last="other.raw"))
    assert "not beside it" in refusal(tmp_path / "x.mhd", modality="mri")
    save(tmp_path / "x.raw", DATA)
    save(tmp_path / "x.mhd", meta(b"", last="x.raw"))
    for source in (tmp_path / "x.mhd", tmp_path):
        results = [r for r in read([source], modality="mri") if isinstance(r, Ingested)]
        assert len(results) == 1
        assert np.array_equal(results[0].volume.voxels, VOXELS[::-1, ::-1])


def test_no_word_of_a_header_reaches_a_volume(tmp_path: Path) -> None:
    more = "# Jane Doe CANARY1\nPatientName:=CANARY2\nDICOM_0010_0010:=CANARY3\n"
    save(tmp_path / "a.nrrd", nrrd(more=more, content="CANARY4"))
    save(tmp_path / "b.mha", meta(Comment="CANARY5", Name="CANARY6"))
    (tmp_path / "c.mgh").write_bytes(mgh() + bytes(20) + b"\0\0\0\x03\0\0\0\x07CANARY7")
    for result in taken(tmp_path, modality="mri"):
        assert b"CANARY" not in bytes(result.volume.to_bytes())
