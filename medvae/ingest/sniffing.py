"""What a file is that is neither named nor built as what it was taken for, by its first bytes.

Only for the sentence that refuses it: nothing is read on the ground of a guess.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

HEAD = 512
NIFTI_MARKS = (b"n+1", b"n+2", b"ni1", b"ni2")
# Offset, bytes, what it is.
MARKS = (
    (128, b"DICM", "DICOM: give it an ending that names no other format, such as .dcm"),
    (0, b"NRRD", "NRRD: name it .nrrd"),
    (0, b"ObjectType", "MetaImage: name it .mha"),
    (0, b"NDims", "MetaImage: name it .mha"),
    (0, b"PK\x03\x04", "a zip archive: name it .zip and give it as a source itself"),
    (257, b"ustar", "a tar archive: name it .tar and give it as a source itself"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (0, b"Rar!", "a RAR archive: unpack it"),
    (0, b"BZh", "compressed by bzip2: unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by Zstandard: unpack it"),
    (0, b"\xfd7zXZ", "compressed by xz: unpack it"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself"),
    (0, b"/annex/objects", "a pointer of git-annex: fetch the file itself"),
    (0, b"<!DOCTYPE", "a web page, as a failed download leaves it: download it again"),
    (0, b"<html", "a web page, as a failed download leaves it: download it again"),
    (0, b"CDF\x01", "MINC: convert it to NIfTI"),
    (0, b"\x89HDF", "HDF5 (or MINC): convert it to NIfTI"),
    (0, b"\x93NUMPY", "a NumPy array without geometry: store it as NIfTI"),
)


def looks_like(file: BinaryIO) -> str:
    """What a file is and what to do about it, or empty where its first bytes do not say."""
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        return "empty: copy it again"
    packed = head.startswith(b"\x1f\x8b")
    if packed:
        head = _unpacked(head)
        if head.startswith(b"\x1f\x8b"):
            return "compressed twice: unpack it once"
    if head[344:347] == b"ni1":
        return "the header of a NIfTI pair: put its .img file beside it"
    if head[344:347] in NIFTI_MARKS or head[4:7] in NIFTI_MARKS:
        return f"NIfTI: name it {'.nii.gz' if packed else '.nii'}"
    names = (what for offset, mark, what in MARKS if head.startswith(mark, offset))
    return next(names, "compressed by gzip: unpack it" if packed else "")


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD)
    except zlib.error:
        return b""
