"""What slices have in common is looked at once; what only one of them says is still seen."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest
from ingest_makers import series
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from medvae.errors import InputError
from medvae.ingest.records import DEFAULT_LIMITS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel warns of its reader of Siemens headers
    from medvae.ingest.dicom import headers
    from medvae.ingest.dicom import series as series_module
    from medvae.ingest.dicom import slices as slices_module

SALT = "00" * 32
# What one slice in the middle of a series has, and the others have not.
ODD: dict[str, Any] = {
    "PatientID": "PAT-2",
    "PatientName": "Other^Name",
    "PatientBirthDate": "19500101",
    "StudyInstanceUID": "1.9.9",
    "SeriesInstanceUID": "1.9.8",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "Modality": "MR",
    "ImageType": ["DERIVED", "SECONDARY", "MIP"],
    "BurnedInAnnotation": "YES",
    "PhotometricInterpretation": "MONOCHROME1",
    "ImageOrientationPatient": [0, 1, 0, 1, 0, 0],
    "PixelSpacing": [1, 1],
    "SliceThickness": 7,
    "RescaleSlope": 2,
    "RescaleIntercept": -5,
    "RescaleType": "MGML",
    "PixelPaddingValue": 3,
    "PixelRepresentation": 0,
    "HighBit": 14,
    "BitsStored": 12,
    "EchoTime": 3.5,
    "ConvolutionKernel": "B70",
    "AcquisitionTime": "101500",
    "TriggerTime": 12,
    "ImagePositionPatient": [0, 0, 999],
    "FrameOfReferenceUID": "1.7",
    "SeriesDescription": "MIP",
    "ImagesInAcquisition": 99,
    "FloatPixelData": bytes(96),
}


def stored(slices: list[Dataset]) -> list[bytes]:
    files = []
    for data in slices:
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        files.append(buffer.getvalue())
    return files


def opened(files: list[bytes]) -> Iterator[BinaryIO]:
    return (io.BytesIO(file) for file in files)


def summaries(files: list[bytes]) -> list[dict[str, Any]]:
    answer, _ = headers.headers_job({"salt": SALT}, opened(files), DEFAULT_LIMITS)
    found: list[dict[str, Any]] = answer["ok"]
    return found


def volume(files: list[bytes], keys: list[str]) -> tuple[object, object]:
    """The facts and the bytes of a volume, or why there is none."""
    job = {
        "salt": SALT,
        "keys": keys,
        "keep_demographics": True,
        "images": len(files),
        "mark_keys": [],
        "meta": {},
        "scheme": None,
    }
    try:
        facts, data = series_module.series_job(job, opened(files), DEFAULT_LIMITS)
    except InputError as error:
        return str(error), b""
    return facts, bytes(data)


def with_one_odd(name: str) -> list[bytes]:
    slices = series(5)
    if name == "transfer syntax":
        slices[2].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    elif name == "absent":
        del slices[2].RescaleIntercept
    elif name == "times":
        for number, data in enumerate(slices):
            data.TriggerTime, data.AcquisitionTime = 40.0 * number, f"1015{number:02d}"
    elif name:
        setattr(slices[2], name, ODD[name])
    return stored(slices)


@pytest.mark.parametrize("name", ["", "transfer syntax", "absent", "times", *ODD])
def test_every_slice_is_read_as_it_would_be_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = with_one_odd(name)
    found = summaries(files)
    keys = sorted({str(one.get("key")) for one in found})
    made = volume(files, keys), volume(files, [str(found[0].get("key"))])
    assert found == [one for file in files for one in summaries([file])]
    monkeypatch.setattr(headers, "shared_part", lambda data: None)
    monkeypatch.setattr(slices_module, "shared_part", lambda data: None)
    assert found == summaries(files)
    assert made == (volume(files, keys), volume(files, [str(found[0].get("key"))]))


def test_slices_of_one_scan_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    whole_summary = headers.summary
    monkeypatch.setattr(headers, "summary", lambda *given: seen.append(1) or whole_summary(*given))
    assert len(summaries(stored(series(5)))) == 5
    assert len(seen) == 1


@pytest.mark.parametrize("voxels", [119, 120])
def test_the_limit_of_voxels_holds_over_all_slices(voxels: int) -> None:
    files = stored(series(5))
    keys = [one["key"] for one in summaries(files)]
    job: dict[str, Any] = {"salt": SALT, "keys": keys, "keep_demographics": False, "images": 5}
    job |= {"mark_keys": [], "meta": {}, "scheme": None}
    limits = DEFAULT_LIMITS.__class__(**{**vars(DEFAULT_LIMITS), "voxels": voxels})
    if voxels < 5 * 6 * 4:
        with pytest.raises(InputError, match="more voxels than are allowed"):
            series_module.series_job(job, opened(files), limits)
    else:
        series_module.series_job(job, opened(files), limits)
