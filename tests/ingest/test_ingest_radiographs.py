"""DICOM radiographs as a viewer shows them: windows, tables, MONOCHROME1, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from ingest_makers import is_sentence
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medvae.ingest import Ingested, Quarantined, read

CR, DX, DX_PROCESSING = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1", "1.1", "1.1.1"))
STORED = np.add.outer(np.arange(12) * 100, np.arange(9) * 10).astype(np.uint16)


def save(path: Path, **changes: Any) -> Path:
    """A computed radiograph of 12 bits: rows darken from the bottom to the top."""
    head = Dataset()
    head.SOPClassUID, head.SOPInstanceUID = CR, generate_uid()
    head.StudyInstanceUID, head.SeriesInstanceUID = generate_uid(), generate_uid()
    head.PatientID, head.Modality, head.ImageType = "p1", "CR", ["ORIGINAL", "PRIMARY"]
    head.PatientName = "Doe^John"
    head.Rows, head.Columns = STORED.shape
    head.SamplesPerPixel, head.PhotometricInterpretation = 1, "MONOCHROME2"
    head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 12, 11, 0
    head.WindowCenter, head.WindowWidth = 600, 801
    head.ImagerPixelSpacing = [0.2, 0.1]
    head.PixelData = STORED.tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(head, name)
        elif isinstance(value, str) and name.startswith(("Rescale", "Window")):
            # As writers leave it, which pydicom would refuse to write as a number.
            head[name] = DataElement(Tag(name), "LO", value)
            head[name].VR = "DS"
        else:
            setattr(head, name, value)
    head.file_meta = FileMetaDataset()
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID
    head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, head, enforce_file_format=True)
    return path


def rows(path: Path) -> np.ndarray:
    """[rows, columns] of the one picture, as it is looked at."""
    (found,) = read([path], modality="xray")
    assert isinstance(found, Ingested), found
    assert found.volume.modality == "xray"
    assert found.subject == "p1"
    return np.asarray(found.volume.voxels[..., 0].T[::-1])


def by_window(values: np.ndarray) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1 with a centre of 600 and a width of 801, to 0 to 255."""
    return np.clip((values - 599.5) / 800 + 0.5, 0, 1) * 255


@pytest.mark.parametrize("storage", [CR, DX])
def test_a_radiograph_is_seen_through_its_window(tmp_path: Path, storage: str) -> None:
    modality = "CR" if storage == CR else "DX"
    path = save(tmp_path / "a.dcm", SOPClassUID=storage, Modality=modality)
    np.testing.assert_allclose(rows(path), by_window(STORED), atol=1e-3)
    (found,) = read([tmp_path], modality="xray")
    assert isinstance(found, Ingested)
    assert found.volume.spacing == pytest.approx((0.1, 0.2, 1.0))


def test_monochrome1_is_turned_over_and_padding_is_black(tmp_path: Path) -> None:
    path = save(tmp_path / "a", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(rows(path), 255 - by_window(STORED), atol=1e-3)
    padded = save(tmp_path / "b", PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    expected = np.where(STORED == 0, 0, 255 - by_window(STORED))
    np.testing.assert_allclose(rows(padded), expected, atol=1e-3)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", RescaleSlope=2, RescaleIntercept=-100)
    np.testing.assert_allclose(rows(path), by_window(STORED * 2.0 - 100), atol=1e-3)


def test_a_table_of_values_of_interest_and_a_sigmoid(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = np.arange(4095, -1, -1, dtype="<u2").tobytes()
    path = save(tmp_path / "a.dcm", WindowCenter=None, WindowWidth=None, VOILUTSequence=[table])
    np.testing.assert_allclose(rows(path), (4095 - STORED) / 4095.0 * 255, atol=1e-3)
    bent = save(tmp_path / "b.dcm", VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (STORED - 600.0) / 801))
    np.testing.assert_allclose(rows(bent), expected, atol=1e-2)


def test_without_a_window_all_bits_are_taken_and_a_note_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", WindowCenter=None)
    notes: list[str] = []
    (found,) = read([path], modality="xray", notes=notes.append)
    assert isinstance(found, Ingested)
    assert any("without a window" in note for note in notes)
    np.testing.assert_allclose(rows(path), STORED / 4095.0 * 255, atol=1e-3)


def test_a_decimal_comma_in_a_window_is_a_point(tmp_path: Path) -> None:
    commas = {"WindowCenter": "600,0", "WindowWidth": "801,0", "RescaleIntercept": "0,0"}
    assert np.array_equal(rows(save(tmp_path / "a.dcm", **commas)), rows(save(tmp_path / "b.dcm")))


def test_two_views_of_a_study_are_two_pictures_of_one_patient(tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    for number, name in enumerate("ab"):
        save(tmp_path / f"{name}.dcm", StudyInstanceUID=study, SeriesInstanceUID=series,
             WindowCenter=600 + 50 * number)  # fmt: skip
    found = list(read([tmp_path], modality="xray"))
    assert [item.subject for item in found if isinstance(item, Ingested)] == ["p1", "p1"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SOPClassUID": DX_PROCESSING, "Modality": "DX"}, "not for presentation"),
        ({"BurnedInAnnotation": "YES"}, "burned into"),
        ({"WindowWidth": 0}, "its window is none"),
        ({"VOILUTFunction": "CUBIC"}, "its window is none"),
        ({"PixelData": STORED.tobytes()[:-20]}, ""),
        ({"PixelData": b"\1\0" * STORED.size}, "all its pixels are the same"),
        ({"RescaleSlope": 0}, "scale is 0"),
        ({"RescaleSlope": "two"}, "its RescaleSlope cannot be read"),
        ({"RescaleIntercept": "1.2.3"}, "its RescaleIntercept cannot be read"),
        ({"WindowCenter": "middle"}, "its WindowCenter cannot be read"),
        ({"PatientID": None}, "no PatientID"),
    ],
)
def test_what_is_no_picture_of_a_patient_is_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    (found,) = read([save(tmp_path / "a.dcm", **changes)], modality="xray")
    assert isinstance(found, Quarantined)
    assert is_sentence(found.reason)
    assert sentence in found.reason


def test_it_is_no_volume(tmp_path: Path) -> None:
    for modality, sentence in ((None, "with --modality xray"), ("ct", "ct was asked for")):
        (found,) = read([save(tmp_path / "a.dcm")], modality=modality)
        assert isinstance(found, Quarantined)
        assert sentence in found.reason
