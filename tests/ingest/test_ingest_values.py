"""Values of plain elements are those that pydicom decodes, which takes ten times as long."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset

from medvae.ingest.dicom import values
from medvae.tensors import AT_ONCE, packed, unpacked

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


@pytest.mark.parametrize("name", ["Rows", "PixelSpacing", "ImageType", "SOPClassUID"])
def test_what_is_not_there_is_nothing(name: str) -> None:
    data = Dataset()
    assert values.text(data, name) == ""
    assert values.state(data, name) is values.State.ABSENT


@pytest.mark.parametrize("shape", [(5, 6, 1), (3, 4, AT_ONCE), (7, 2, 3 * AT_ONCE + 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_packed_whatever_the_order_of_their_axes(
    shape: tuple[int, ...], order: str
) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    stored = np.asarray(array, order=order)[::-1]
    found, _ = unpacked(packed({"x": stored}, {}))
    assert np.array_equal(found["x"], array[::-1])
