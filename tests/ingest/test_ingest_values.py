"""Values of plain elements are those that pydicom decodes, which takes ten times as long."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage

from medvae.ingest.dicom import values
from medvae.tensors import CACHE_LINE, LARGE, packed, unpacked

FOLDER = Path(pydicom.__file__).parent / "data/test_files"
SAMPLES = [path for path in sorted(FOLDER.glob("*.dcm")) if path.stat().st_size < 1 << 20]


def decoded(path: Path) -> Dataset:
    """A file whose elements are all decoded already."""
    data = pydicom.dcmread(path, force=True)
    for element in data:
        assert element is not None
    return data


def test_what_is_decoded_here_is_as_pydicom_has_it() -> None:
    compared = 0
    for path in SAMPLES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = decoded(path)
            except Exception:  # a sample that pydicom cannot decode
                continue
            ours = pydicom.dcmread(path, force=True)
            for tag in list(ours.keys()):
                name = keyword_for_tag(tag)
                item = theirs[tag]
                # Overlays and the like have no tag of their own.
                if tag_for_keyword(name or "x") is None:
                    continue
                if item.VR not in values.PLAIN_TEXT | set(values.PLAIN_NUMBERS):
                    continue
                assert values.text(ours, name) == values.text(theirs, name), (path, name)
                for count in (1, 2, 3, 6):
                    one, other = (values.floats(data, name, count) for data in (ours, theirs))
                    assert one == other, (path, name)
                compared += 1
    assert compared > 1000


NUMBERS = {
    "Rows": [513],  # US
    "ReferencedFrameNumber": [3, 70_000],  # IS
    "TagAngleSecondAxis": [-3],  # SS
    "DimensionIndexValues": [1, 70_000],  # UL
    "DisplayedAreaTopLeftHandCorner": [-5, 70_000],  # SL
    "RecommendedDisplayFrameRateInFloat": [1.5],  # FL
    "DiffusionGradientOrientation": [0.25, -0.5, 1e-9],  # FD
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_numbers_of_every_kind_and_count(tmp_path: Path, name: str, syntax: str) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "1.2.3"
    wanted: Any = NUMBERS[name]
    setattr(data, name, wanted)
    data.save_as(tmp_path / "x", enforce_file_format=True)
    found = pydicom.dcmread(tmp_path / "x")
    assert values.floats(found, name, len(wanted)) == wanted
    if all(isinstance(number, int) for number in wanted):
        assert values.wholes(found, name) == wanted


@pytest.mark.parametrize("name", ["Rows", "PixelSpacing", "ImageType", "SOPClassUID"])
def test_what_is_not_there_is_nothing(name: str) -> None:
    data = Dataset()
    assert values.text(data, name) == ""
    assert values.state(data, name) is values.State.ABSENT


@pytest.mark.parametrize(
    "shape", [(5, 6, 1), (CACHE_LINE, 2, LARGE // 128), (CACHE_LINE // 2 + 1, 3, LARGE // 128)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_packed_whatever_the_order_of_their_axes(
    shape: tuple[int, ...], order: str
) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    stored = np.asarray(array, order=order)[::-1]
    found, _ = unpacked(packed({"x": stored}, {}))
    assert np.array_equal(found["x"], array[::-1])
