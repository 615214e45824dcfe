"""DICOM files of ours: what slices share is encoded once, and what frames share too.

The bytes are those that `pydicom.dcmwrite` gives. A data element of Explicit VR Little Endian does
not depend on those beside it, so that shared ones can be put between a slice's own in the order of
their tags. Of a slice some fifty elements are shared and some six are its own; of a frame of a
segmentation all but two numbers are what its slice says. Elements and sequences: PS3.5, 7.1 and
7.5, with lengths.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.release.dicom import Slices

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

_PREAMBLE = b"\0" * 128 + b"DICM"
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)


def write_slices(files: Sequence[Path], slices: Slices) -> None:
    """Write each slice into its file; none of the files is there, and there is one a slice.

    Raises:
        ValueError: a slice says again what all of them say.
    """
    from pydicom.charset import convert_encodings

    encodings = convert_encodings(str(slices.shared.SpecificCharacterSet))
    shared = _encoded(slices.shared, encodings)
    heads: dict[int, tuple[bytes, bytes]] = {}
    for path, dataset in zip(files, slices.own, strict=True):
        own = _encoded(dataset, encodings)
        if shared.keys() & own.keys():
            raise ValueError("an element is both shared and a slice's own")
        parts = shared | own
        body = b"".join(parts[tag] for tag in sorted(parts))
        path.write_bytes(_PREAMBLE + _meta_of_slice(dataset.file_meta, heads) + body)


def write_object(path: Path, dataset: Dataset, more: Mapping[str, bytes]) -> None:
    """Write an object, of which some elements are encoded already.

    more: keyword -> bytes of an element that `dataset` lacks.
    """
    from pydicom.charset import convert_encodings

    parts = _encoded(dataset, convert_encodings(str(dataset.SpecificCharacterSet)))
    parts |= {_number(keyword): data for keyword, data in more.items()}
    body = b"".join(parts[tag] for tag in sorted(parts))
    path.write_bytes(_PREAMBLE + _meta(dataset.file_meta) + body)


def encoded(dataset: Dataset) -> bytes:
    """The elements of an item, in the order of their tags."""
    parts = _encoded(dataset, ["iso8859"])
    return b"".join(parts[tag] for tag in sorted(parts))


def element(keyword: str, kind: bytes, data: bytes, pad: bytes = b"\0") -> bytes:
    """The element of a value representation with a length of two bytes, such as UI, UL or DS."""
    data += pad * (len(data) % 2)
    return _tag(keyword) + kind + struct.pack("<H", len(data)) + data


def uid_element(keyword: str, uid: str) -> bytes:
    """The element of a UID."""
    return element(keyword, b"UI", uid.encode("ascii"))


def reference(shared: Dataset, source: Dataset) -> bytes:
    """The elements that name a slice, in the order of their tags."""
    return uid_element("ReferencedSOPClassUID", str(shared.SOPClassUID)) + uid_element(
        "ReferencedSOPInstanceUID", str(source.SOPInstanceUID)
    )


def sequence(keyword: str, items: Sequence[bytes]) -> bytes:
    """The element of a sequence, from the elements of each of its items."""
    data = b"".join(_ITEM + struct.pack("<L", len(item)) + item for item in items)
    return _tag(keyword) + b"SQ\0\0" + struct.pack("<L", len(data)) + data


@cache
def _tag(keyword: str) -> bytes:
    number = _number(keyword)
    return struct.pack("<HH", number >> 16, number & 0xFFFF)


def _number(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    number = tag_for_keyword(keyword)
    if number is None:
        raise ValueError(f"DICOM has no element {keyword}")
    return int(number)


def _encoded(dataset: Dataset, encodings: list[str]) -> dict[int, bytes]:
    """Tag -> bytes of each element."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    offsets = {}
    for element in dataset:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, encodings)
        offsets[int(element.tag)] = buffer.getvalue()
    return offsets


def _meta(meta: FileMetaDataset) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return buffer.getvalue()


def _meta_of_slice(meta: FileMetaDataset, heads: dict[int, tuple[bytes, bytes]]) -> bytes:
    """As `_meta`; of slices of one series only the UID of the instance differs.

    heads: length of a UID -> what stands before and after it, filled here.
    """
    instance = str(meta.MediaStorageSOPInstanceUID).encode("ascii")
    if len(instance) not in heads:
        before, _, after = _meta(meta).partition(instance)
        heads[len(instance)] = before, after
    return instance.join(heads[len(instance)])
