"""PNG, JPEG and TIFF: read right or refused in a sentence that is true."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvae.errors import UsageError
from medvae.ingest import Ingested, Limits, Quarantined, read

WIDTH, HEIGHT = 6, 4
# Columns differ and rows differ, so that no flip or transposition goes unseen.
GREY = (np.arange(HEIGHT)[:, None] * 40 + np.arange(WIDTH)[None] * 5).astype(np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def one(path: Path, modality: str = "xray", **options: object) -> Ingested | Quarantined:
    (found,) = read([path], modality=modality, **options)
    return found


def taken(path: Path, modality: str = "xray") -> Ingested:
    found = one(path, modality)
    assert isinstance(found, Ingested), found
    return found


def reason(path: Path, modality: str = "xray", **options: object) -> str:
    found = one(path, modality, **options)
    assert isinstance(found, Quarantined)
    return found.reason


def seen(item: Ingested) -> np.ndarray:
    """The picture as rows that run down, with its channels last."""
    voxels = item.volume.voxels[..., 0]
    return (
        np.moveaxis(voxels, 0, -1)[:, ::-1].swapaxes(0, 1) if voxels.ndim == 3 else voxels.T[::-1]
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_grey_pixels_arrive_as_they_are(tmp_path: Path, suffix: str) -> None:
    found = taken(save(tmp_path / f"a{suffix}", Image.fromarray(GREY)))
    np.testing.assert_array_equal(seen(found), GREY)
    assert found.volume.voxels.dtype == np.int16
    assert found.volume.shape == (WIDTH, HEIGHT, 1)
    assert found.volume.spacing == (1.0, 1.0, 1.0)
    assert (found.subject, found.own_subject, found.volume.meta) == ("a", True, {})


def test_colours_arrive_as_channels(tmp_path: Path) -> None:
    found = taken(save(tmp_path / "a.png", Image.fromarray(COLOUR)), "photo")
    assert found.volume.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(seen(found), COLOUR)


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    smooth = Image.fromarray(np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8))
    found = taken(save(tmp_path / "a.jpeg", smooth, quality=95))
    assert np.abs(seen(found) - np.asarray(smooth).astype(int)).max() < 12


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_keep_their_fractions(tmp_path: Path, suffix: str) -> None:
    deep = (GREY.astype(np.uint16) * 257) + 100
    found = taken(save(tmp_path / f"a{suffix}", Image.fromarray(deep)))
    np.testing.assert_allclose(seen(found), deep / 257.0, atol=1e-4)


def test_a_tiff_whose_zero_is_white_is_turned(tmp_path: Path) -> None:
    for pixels in (GREY, GREY.astype(np.uint16) * 257):
        path = save(tmp_path / f"{pixels.dtype}.tif", Image.fromarray(pixels))
        data = path.read_bytes()
        entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
        assert data.count(entry) == 1
        path.write_bytes(data.replace(entry, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
        np.testing.assert_allclose(seen(taken(path)), 255.0 - GREY, atol=1e-3)


def test_the_orientation_of_a_camera_is_applied_and_its_facts_are_dropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x013B] = 6, "JANE DOE CAMERA", "DR JANE DOE"
    path = save(tmp_path / "a.png", Image.fromarray(GREY), exif=exif.tobytes())
    found = taken(path)
    np.testing.assert_array_equal(seen(found), np.rot90(GREY, -1))
    assert b"JANE" in path.read_bytes()
    assert b"JANE" not in bytes(found.volume.to_bytes())


def test_an_opaque_alpha_is_left_out_and_a_transparent_one_refused(tmp_path: Path) -> None:
    notes: list[str] = []
    alpha = np.dstack([COLOUR, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    path = save(tmp_path / "a.png", Image.fromarray(alpha))
    (found,) = read([path], modality="photo", notes=notes.append)
    np.testing.assert_array_equal(seen(found), COLOUR)
    assert any("transparency channel that hides nothing" in note for note in notes)
    alpha[1, 2, 3] = 254
    refused = reason(save(tmp_path / "b.png", Image.fromarray(alpha)), "photo")
    assert "parts of it are transparent" in refused


def test_one_transparent_colour_of_a_png_is_seen(tmp_path: Path) -> None:
    for name, pixels, key in (("l", GREY, 5), ("rgb", COLOUR, (5, 250, 2))):
        path = save(tmp_path / f"{name}.png", Image.fromarray(pixels), transparency=key)
        assert "transparent" in reason(path, "photo")
    missed = save(tmp_path / "m.png", Image.fromarray(GREY), transparency=254)
    np.testing.assert_array_equal(seen(taken(missed)), GREY)


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    indices = Image.fromarray(COLOUR).quantize(24)
    found = taken(save(tmp_path / "a.png", indices), "photo")
    np.testing.assert_array_equal(seen(found), np.asarray(indices.convert("RGB")))


def test_colour_is_no_radiograph_unless_it_is_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR))
    assert "it has colours, and a radiograph has none" in reason(path)
    path = save(tmp_path / "b.png", Image.fromarray(np.dstack([GREY] * 3)))
    np.testing.assert_array_equal(seen(taken(path)), GREY)


def test_grey_among_photographs_has_three_equal_colours(tmp_path: Path) -> None:
    found = taken(save(tmp_path / "a.png", Image.fromarray(GREY)), "photo")
    np.testing.assert_array_equal(seen(found), np.dstack([GREY] * 3))


def test_what_has_no_one_meaning_is_refused_in_a_sentence(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    grey = Image.fromarray(GREY)
    cases = {
        "frames": save(tmp_path / "f.png", frames[0], save_all=True, append_images=frames[1:]),
        "frames or pages": save(
            tmp_path / "p.tif", frames[0], save_all=True, append_images=frames[1:]
        ),
        "(CMYK)": save(tmp_path / "c.jpg", Image.fromarray(COLOUR).convert("CMYK")),
        "fractions": save(tmp_path / "x.tif", grey.convert("F")),
        "beyond 16 bits": save(tmp_path / "i.tif", Image.fromarray(GREY.astype(np.int32) * 70_000)),
        "all its pixels are the same": save(tmp_path / "s.png", Image.new("L", (5, 5), 9)),
        "not a PNG, JPEG or TIFF": save(tmp_path / "g.png", grey, format="GIF"),
    }
    for words, path in cases.items():
        assert words in reason(path), path.name


def test_damage_and_bombs_are_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        whole, "PNG"
    )
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.getvalue()[:2000])
    assert "damaged or cut short" in reason(cut)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(_png_that_claims(30_000, 30_000))
    assert "more than" in reason(bomb)
    ordinary = save(tmp_path / "ok.png", Image.fromarray(GREY))
    assert "more than 20 pixels" in reason(ordinary, limits=Limits(voxels=20))
    # One pixel on the right side of the limit.
    assert isinstance(one(ordinary, limits=Limits(voxels=WIDTH * HEIGHT)), Ingested)


def _png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000, 9)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_table_names_patients_and_classes_also_of_a_zip(tmp_path: Path) -> None:
    packed = tmp_path / "images.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(3):
            data = io.BytesIO()
            Image.fromarray(GREY + number).save(data, "PNG")
            archive.writestr(f"deep/p{number}.png", data.getvalue())
    table = tmp_path / "subjects.csv"
    table.write_text("filename,subject,class\np0.png,A,1\np1.png,A,0\np2.png,B,1\n")
    found = list(read([packed], modality="xray", subjects=table, class_column="class"))
    assert [(one.subject, one.volume.category) for one in found] == [("A", 1), ("A", 0), ("B", 1)]
    assert not any(one.own_subject for one in found)


def test_pictures_that_name_no_patient_and_other_files(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.fromarray(GREY))
    with pytest.raises(UsageError, match="names no patient"):
        list(read([tmp_path], modality="xray", files_are_patients=False))
    (tmp_path / "scan.nii.gz").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("Jane Doe")
    (tmp_path / "README.md").write_text("words")
    notes: list[str] = []
    found = list(read([tmp_path], modality="xray", notes=notes.append))
    refused = {Path(one.source).name: one.reason for one in found if isinstance(one, Quarantined)}
    assert set(refused) == {"scan.nii.gz", "notes.txt"}
    assert all("it is no picture by its name: xray is read from PNG" in r for r in refused.values())
    assert any("names and dates that are written into a picture are not found" in n for n in notes)
