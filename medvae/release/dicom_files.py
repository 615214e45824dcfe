"""The slices of one series as files: what they share is encoded once, not once a slice.

The bytes are those that `pydicom.dcmwrite` gives. A data element of Explicit VR Little Endian does
not depend on those beside it, so that shared ones can be put between a slice's own in the order of
their tags. Of a slice some fifty elements are shared and some six are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.release.dicom import Slices

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

_PREAMBLE = b"\0" * 128 + b"DICM"


def write_slices(files: Sequence[Path], slices: Slices) -> None:
    """Write each slice into its file; none of the files is there, and there is one a slice.

    Raises:
        ValueError: a slice says again what all of them say.
    """
    from pydicom.charset import convert_encodings

    encodings = convert_encodings(str(slices.shared.SpecificCharacterSet))
    shared = _encoded(slices.shared, encodings)
    for path, dataset in zip(files, slices.own, strict=True):
        own = _encoded(dataset, encodings)
        if shared.keys() & own.keys():
            raise ValueError("an element is both shared and a slice's own")
        parts = shared | own
        body = b"".join(parts[tag] for tag in sorted(parts))
        path.write_bytes(_PREAMBLE + _meta(dataset.file_meta) + body)


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
