"""De-identified by construction: a canary in every place of a source that can hold one, and
none in the bytes of any volume."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingest_makers import AFFINE, one, refusal, series, slice_of, taken, voxels, write
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_ingest_dicom import enhanced

from medvae.ingest import Ingested
from medvae.ingest.facts import age_group, kernel_class, number, sex
from medvae.volume import META_KEYS, Volume

TABLES = "dicomanonymizer.dicom_anonymization_databases.dicomfields_2024b"
TEXTS = {"LO": 64, "SH": 16, "PN": 64, "ST": 99, "LT": 99, "UT": 99, "UC": 99, "AE": 16, "CS": 16}
OTHERS = ("UI", "DA", "TM", "DT", "OB", "UN", "UR", "AS")
# What must be right for the file to be read at all.
KEPT = {"PixelData", "SOPClassUID", "TransferSyntaxUID"}


class Canaries:
    """Unique values, remembered."""

    def __init__(self) -> None:
        self.released: list[bytes] = []

    def value(self, vr: str) -> Any:
        n = len(self.released)
        text = {
            "UI": f"2.25.77{n:07d}7",
            "DA": f"19{n % 90 + 10:02d}{n % 12 + 1:02d}{n % 28 + 1:02d}",
            "TM": f"1234{n % 60:02d}.{n:06d}",
            "DT": f"19111213141516.{n:06d}",
            "AS": "077Y",
            "UR": f"http://canary.example/{n:05d}",
        }.get(vr, f"CANARY{n:05d}")
        self.released.append(text.encode())
        return text.encode() if vr in ("OB", "UN") else text

    def fill(self, data: Dataset, tags: list[tuple[int, ...]], depth: int) -> None:
        """Set every attribute of the tables that can hold a canary, at `depth` more levels."""
        for group, element in (tag[:2] for tag in tags):
            try:
                vr = dictionary_VR((group, element)).split(" ")[0]
            except KeyError:
                continue
            if group > 2 and (vr in TEXTS or vr in OTHERS):
                data.add_new((group, element), vr, self.value(vr))
        block = data.private_block(0x0099, "CANARYCREATOR", create=True)
        block.add_new(0x01, "LO", self.value("LO"))
        if depth:
            inner = Dataset()
            self.fill(inner, tags, depth - 1)
            data.add_new(0x00081140, "SQ", Sequence([inner]))
            data.add_new(0x00400275, "SQ", Sequence([inner]))

    def found_in(self, result: Ingested) -> list[bytes]:
        data = bytes(result.volume.to_bytes())
        lost = [*self.released, b"CANARY", b"canary", b"Doe", b"Jane"]
        return [canary for canary in lost if canary in data]


def test_a_canary_that_is_there_is_found() -> None:
    numbers = np.frombuffer(b"a CANARY", np.int16).reshape(2, 2, 1)
    volume = Volume(numbers, np.eye(4), "mri")
    assert Canaries().found_in(Ingested("source", "subject", volume)) == [b"CANARY"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom dislikes canaries
@pytest.mark.parametrize("multi_frame", [False, True])
def test_dicom_canaries(tmp_path: Path, multi_frame: bool) -> None:
    tags = importlib.import_module(TABLES).ALL_TAGS
    canaries = Canaries()
    slices = [enhanced(voxels((5, 6, 4)))] if multi_frame else series()
    common = Dataset()
    canaries.fill(common, tags, 3)
    for data in slices:
        kept = {e.keyword: e for e in data}
        for element in common:
            data[element.tag] = element
        for name in KEPT | {"ImageType", "BurnedInAnnotation", "RescaleType"}:
            if name in kept:
                data[name] = kept[name]
            elif name in data:
                del data[name]
        data.ImageType = ["ORIGINAL", "PRIMARY", canaries.value("CS")]
        data.ConvolutionKernel = canaries.value("SH")
        data.PatientAge, data.PatientSex = "077Y", canaries.value("CS")
        data.preamble = canaries.value("OB").ljust(128, b"\1")
        data.file_meta.SourceApplicationEntityTitle = canaries.value("AE")
        data.file_meta.ImplementationVersionName = canaries.value("SH")
        data.file_meta.PrivateInformationCreatorUID = "2.25.778"
        data.file_meta.PrivateInformation = canaries.value("OB")
        if multi_frame:
            shared, frames = (
                data.SharedFunctionalGroupsSequence,
                data.PerFrameFunctionalGroupsSequence,
            )
            for group in (shared[0], frames[-1]):
                canaries.fill(group, tags, 1)
                for item in group.values():
                    if item.VR == "SQ":
                        canaries.fill(item.value[0], tags, 0)
    folder = write(tmp_path / "CANARYfolder", slices)
    result = one(folder, demographics=True)
    assert result.subject
    assert canaries.found_in(result) == []
    assert set(result.volume.meta) <= META_KEYS
    assert result.volume.meta["age_group"] == "70-79"
    assert "age_group" not in one(folder).volume.meta
    # The test can fail: the canaries are in the source.
    source = b"".join(f.read_bytes() for f in folder.iterdir())
    assert sum(canary in source for canary in canaries.released) > 1000


def test_nifti_canaries(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    header = image.header
    for name in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        header[name] = f"CANARY{name}"[: header[name].dtype.itemsize]
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"CANARYextension"))
    header.extensions.append(nibabel.nifti1.Nifti1Extension("dicom", b"CANARYdicom"))
    folder = tmp_path / "CANARYfolder"
    folder.mkdir()
    nibabel.save(image, folder / "CANARYname.nii.gz")
    nibabel.save(nibabel.Nifti2Image(voxels(), AFFINE, header), folder / "CANARYname2.nii")
    for result in taken(folder, modality="mri"):
        assert b"CANARY" not in bytes(result.volume.to_bytes())
        assert result.volume.meta == {}
    assert (folder / "CANARYname2.nii").read_bytes().count(b"CANARY") >= 5


def test_reasons_do_not_quote_the_file(tmp_path: Path) -> None:
    data = slice_of(0, voxels((6, 4)), PatientID="CANARY")
    data.add_new(0x00280030, "DS", "1\\2")
    raw = write(tmp_path, [data]) / "03_0.dcm"
    raw.write_bytes(
        raw.read_bytes().replace(b"1\\2 ", b"CANA").replace(b"MONOCHROME2", b"CANARYCANAR")
    )
    assert "CANA" not in refusal(raw)


@pytest.mark.parametrize(
    ("text", "group"),
    [("045Y", "40-49"), ("9Y", "0-9"), ("018M", "0-9"), ("130Y", "90+"), ("90", "90+"),
     ("47.5", "40-49"), ("003D", "0-9"), ("", None), ("CANARY", None), ("-4", None),
     ("89+", "90+"), (">89", "90+"), ("90+", "90+"), ("80+", None), ("520W", "0-9"),
     ("1500W", "20-29"), ("12000D", "30-39"), ("19500", None)],
)  # fmt: skip
def test_age_becomes_a_group(text: str, group: str | None) -> None:
    assert age_group(text) == group


def test_facts_are_bounded_numbers_and_fixed_words() -> None:
    assert number("echo_time", "12.3456") == 12.3
    assert number("echo_time", "1e9") is None
    assert number("kvp", "nan") is None
    assert number("kvp", "CANARY") is None
    assert {sex("M"), sex("female"), sex("o "), sex("CANARY")} == {"M", "F", "O", None}
    # A woman in Spanish, a girl in German, a man in Swahili.
    assert [sex(word) for word in ("Mujer", "Mädchen", "Mwanaume", "W", "1")] == [None] * 5
    kernels = ["B31f", "H60s", "Br64d", "FC03", "FC52", "STANDARD", "BONEPLUS", "A", "L", "CANARY"]
    assert [kernel_class(k) for k in kernels] == [
        "soft", "sharp", "sharp", "soft", "sharp", "soft", "sharp", "soft", "sharp", "other",
    ]  # fmt: skip


def test_unused_bits_cannot_carry_an_overlay(tmp_path: Path) -> None:
    """Text was once burned into the bits above the stored ones."""
    slices = series()
    for data in slices:
        pixels = np.frombuffer(data.PixelData, "<u2") | 0xF000
        data.PixelRepresentation, data.BitsStored, data.HighBit = 0, 12, 11
        data.PixelData = pixels.tobytes()
    clean = voxels((5, 6, 4)).astype(int) - 1024
    volume = one(write(tmp_path / "ct", slices)).volume
    assert np.array_equal(volume.voxels, clean.transpose(2, 1, 0)[::-1, ::-1])
