"""Small valid inputs of every format that ingest parses, with a word in each free text of theirs.

The word (`CANARY`) must not come out of any reader, whatever is changed.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests/ingest"
CANARY = "CANARY"
VOXELS = np.random.default_rng(0).integers(0, 900, (8, 9, 10)).astype(np.int16)
LABELS = (VOXELS > 450).astype(np.uint8)


@dataclass(frozen=True)
class Seed:
    """An input: what reads it, its files, and their names where the reader is told them."""

    name: str
    job: str
    files: tuple[bytes, ...]
    names: tuple[str, ...] = ()


def seeds() -> list[Seed]:
    """All of them; a format is one word before the first dash."""
    return [*_volumes(), *_dicom(), *_pictures(), *_archives()]


def _volumes() -> Iterator[Seed]:
    header = nibabel.Nifti1Header()
    header["descrip"], header["aux_file"] = CANARY, CANARY
    header.set_data_dtype(np.int16)
    one = nibabel.Nifti1Image(VOXELS, np.diag([1.5, 2, 2.5, 1]), header).to_bytes()
    two = nibabel.Nifti2Image(VOXELS.astype(np.float32), np.eye(4)).to_bytes()
    mask = nibabel.Nifti1Image(LABELS, np.diag([1.5, 2, 2.5, 1])).to_bytes()
    yield Seed("nifti-1", "nifti", (one,), ("x.nii",))
    yield Seed("nifti-gz", "nifti", (gzip.compress(one, 1),), ("x.nii.gz",))
    yield Seed("nifti-2", "nifti", (two,), ("x.nii",))
    yield Seed("nifti-mask", "mask", (one, mask), ("x.nii", "x_seg.nii"))
    analyze = bytearray(one[:348])
    # No mark of NIfTI, and no header before the voxels.
    analyze[344:348] = analyze[108:112] = bytes(4)
    raw = VOXELS.tobytes(order="F")
    yield Seed("analyze-pair", "nifti", (bytes(analyze), raw), ("x.hdr", "x.img"))
    head = (
        f"NRRD0004\n# {CANARY}\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        "sizes: 8 9 10\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\n"
        f"endian: little\nspace origin: (1,2,3)\ncontent: {CANARY}\nencoding: "
    )
    keys = f"\nname:={CANARY}\nSegment0_Name:={CANARY}\nSegment0_LabelValue:=1\n\n"
    yield Seed("nrrd-raw", "nifti", ((head + "raw" + keys).encode() + raw,), ("x.nrrd",))
    packed = gzip.compress(raw, 1)
    yield Seed("nrrd-gz", "nifti", ((head + "gzip" + keys).encode() + packed,), ("x.nrrd",))
    apart = (head + "raw\ndata file: x.raw" + keys).encode()
    yield Seed("nrrd-apart", "nifti", (apart, raw), ("x.nhdr", "x.raw"))
    meta = (
        f"ObjectType = Image\nNDims = 3\nComment = {CANARY}\nBinaryData = True\n"
        "BinaryDataByteOrderMSB = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\n"
        "ElementSpacing = 1 2 3\nDimSize = 8 9 10\nElementType = MET_SHORT\n"
    )
    end = "ElementDataFile = LOCAL\n"
    yield Seed("metaimage-raw", "nifti", ((meta + end).encode() + raw,), ("x.mha",))
    deflated = (meta + "CompressedData = True\n" + end).encode() + zlib.compress(raw, 1)
    yield Seed("metaimage-zlib", "nifti", (deflated,), ("x.mha",))
    mgh = nibabel.MGHImage(VOXELS, np.eye(4)).to_bytes()
    yield Seed("mgh-plain", "nifti", (mgh + CANARY.encode(),), ("x.mgh",))
    yield Seed("mgh-gz", "nifti", (gzip.compress(mgh, 1),), ("x.mgz",))


def _dicom() -> Iterator[Seed]:
    sys.path.insert(0, str(TESTS))
    import ingest_makers as makers
    import test_ingest_dicom as enhanced_maker
    import test_ingest_dicom_marks as marks

    def stored(data: Any) -> bytes:
        data.PatientName = CANARY
        data.InstitutionName = CANARY
        out = io.BytesIO()
        data.save_as(out, enforce_file_format=True)
        return out.getvalue()

    slices = makers.series(5)
    one, two = marks.parts()
    segments = marks.segmentation(slices[0], {1: (CANARY, one), 2: ("b", two)})
    contour = marks.structures(
        slices[0], {4: (CANARY, [marks.rectangle((-0.4, -0.4), (3.4, 4.4), 2)])}
    )
    files = tuple(map(stored, slices))
    yield Seed("dicom-series", "series", files)
    yield Seed(
        "dicom-enhanced", "series", (stored(enhanced_maker.enhanced(makers.voxels((4, 6, 5)))),)
    )
    yield Seed("dicom-seg", "series", (*files, stored(segments)))
    yield Seed("dicom-rtstruct", "series", (*files, stored(contour)))
    bare = stored(makers.series(1)[0])[132:]
    yield Seed("dicom-bare", "series", (bare,))


def _pictures() -> Iterator[Seed]:
    from PIL import Image

    grey = VOXELS[:, :, 0].astype(np.uint8)
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    for name, pixels, options in (
        ("png", grey, {}),
        ("png", VOXELS[:, :, 0].astype(np.uint16), {}),
        ("png", colour, {}),
        ("jpeg", colour, {"comment": CANARY}),
        ("tiff", grey, {"description": CANARY}),
        ("tiff", colour, {"compression": "tiff_lzw"}),
    ):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, format=name, **options)
        yield Seed(
            f"{name}-{pixels.ndim}-{pixels.dtype}", "picture", (out.getvalue(),), (f"x.{name}",)
        )


def _archives() -> Iterator[Seed]:
    content = {"a/x.nii": bytes(500), "b.txt": b"hello" * 40}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    yield Seed("zip-deflate", "members", (out.getvalue(),))
    for mode in ("", "gz", "xz", "bz2"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=f"w:{mode}") as archive:
            for name, data in content.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        yield Seed(f"tar-{mode or 'plain'}", "members", (out.getvalue(),))
