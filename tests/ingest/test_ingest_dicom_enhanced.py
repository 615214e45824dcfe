"""Enhanced images of several scans: a volume each, as dcm2niix has them; never mixed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingest_makers import one, voxels, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_ingest_dicom import enhanced
from test_ingest_dicom_dynamic import by_patient

from medvae.ingest import Ingested, Quarantined, read

SCANS, SLICES, STEP = 2, 6, 2.5
STACK = voxels((SCANS * SLICES, 20, 18))
CONTENT, TYPE = "FrameContentSequence", "MRImageFrameTypeSequence"
Groups = dict[str, dict[str, Any]]
Describe = Callable[[int, int], Groups]


def item(**values: Any) -> Sequence:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return Sequence([data])


def image(name: str, describe: Describe, step: float = 0.0, stack: np.ndarray = STACK) -> Dataset:
    """An enhanced image of two scans, `step` mm apart; `describe` gets scan and slice."""
    data = enhanced(stack)
    data.PatientID = name
    for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(data, uid, f"1.2.4.{len(uid)}.{sum(name.encode())}")
    data.PixelData = stack.astype("<i2").tobytes()
    for index, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        scan, place = divmod(index, len(stack) // SCANS)
        position = [0, 0, STEP * place + scan * step]
        groups = {"PlanePositionSequence": {"ImagePositionPatient": position}}
        for group, values in (groups | describe(scan, place)).items():
            setattr(frame, group, item(**values))
    return data


def direction(scan: int, place: int) -> Groups:
    way = item(DiffusionGradientOrientation=[1.0 - scan, float(scan), 0.0])
    values = {"DiffusionBValue": 1000.0, "DiffusionGradientDirectionSequence": way}
    return {"MRDiffusionSequence": values}


# Name: what tells the two scans apart, and how.
SEVERAL: dict[str, tuple[str, Describe]] = {
    "time": ("time point", lambda s, _: {CONTENT: {"TemporalPositionIndex": s + 1}}),
    "offset": (
        "time point",
        lambda s, _: {"TemporalPositionSequence": {"TemporalPositionTimeOffset": 2.5 * s}},
    ),
    "stack": ("stack", lambda s, _: {CONTENT: {"StackID": str(s)}}),
    "echo": ("echo time", lambda s, _: {"MREchoSequence": {"EffectiveEchoTime": 5.0 + s}}),
    "b-value": ("b-value", lambda s, _: {"MRDiffusionSequence": {"DiffusionBValue": 900.0 * s}}),
    "direction": ("direction of diffusion", direction),
    "flip": (
        "flip angle",
        lambda s, _: {"MRTimingAndRelatedParametersSequence": {"FlipAngle": 5.0 + 10 * s}},
    ),
    "type": (
        "frame type",
        lambda s, _: {TYPE: {"FrameType": ["ORIGINAL", "PRIMARY", "OTHER", "AB"[s]]}},
    ),
    "heart": (
        "trigger time",
        lambda s, _: {
            "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 9.0 * s}
        },
    ),
    "moment": (
        "acquisition time",
        lambda s, place: {
            CONTENT: {"FrameAcquisitionDateTime": f"2020010112{s}0{place:02d}.5+0100"}
        },
    ),
    "own": ("dimension", lambda s, place: {CONTENT: {"DimensionIndexValues": [place + 1, s + 1]}}),
}
# Whose scans may lie between one another without being passes of one.
BETWEEN = [name for name in SEVERAL if name not in ("heart", "own", "moment")]


@pytest.mark.parametrize("step", [0.0, STEP / 2])
def test_each_scan_of_an_image_is_a_volume_and_told(tmp_path: Path, step: float) -> None:
    for name in SEVERAL if not step else BETWEEN:
        write(tmp_path / name, [image(name, SEVERAL[name][1], step)])
    taken, refused, notes = by_patient(tmp_path)
    assert refused == {}
    for name, volumes in taken.items():
        assert len(volumes) == 2
        for scan, found in enumerate(volumes):
            own = STACK[scan * SLICES : (scan + 1) * SLICES] * 2 + 1
            assert np.array_equal(found, own.transpose(2, 1, 0)[::-1, ::-1])
        told = [note for note in notes if f"distinguished by {SEVERAL[name][0]}:" in note]
        assert told, (name, notes)


# What counts frames or is the same for all distinguishes nothing.
WHOLE: dict[str, Describe] = {
    "counter": lambda s, place: {CONTENT: {"TemporalPositionIndex": s * SLICES + place + 1}},
    "single": lambda s, _: {CONTENT: {"StackID": "1"}},
    "magnitude": lambda s, _: {TYPE: {"ComplexImageComponent": "MAGNITUDE"}},
    "halves": lambda s, place: {CONTENT: {"StackID": "ab"[place >= SLICES // 2]}},
}


def test_frames_of_one_scan_stay_one_volume(tmp_path: Path) -> None:
    for name, describe in WHOLE.items():
        write(tmp_path / name, [image(name, describe, STEP / 2)])
    taken, refused, _ = by_patient(tmp_path)
    assert refused == {}
    assert {name: [one.shape for one in taken[name]] for name in WHOLE} == {
        name: [(18, 20, SCANS * SLICES)] for name in WHOLE
    }


def test_stacks_that_lie_apart_or_in_other_directions_are_volumes(tmp_path: Path) -> None:
    apart = image("apart", lambda s, _: {CONTENT: {"StackID": str(s)}}, 60.0)
    tilted = image("tilted", lambda s, _: {CONTENT: {"StackID": str(s)}})
    ways = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0.9689, 0.2474]
    for index, frame in enumerate(tilted.PerFrameFunctionalGroupsSequence):
        scan, place = divmod(index, SLICES)
        frame.PlaneOrientationSequence = item(ImageOrientationPatient=ways[scan])
        normal = np.cross(ways[scan][:3], ways[scan][3:])
        frame.PlanePositionSequence = item(ImagePositionPatient=[*(STEP * place * normal)])
    write(tmp_path / "apart", [apart])
    write(tmp_path / "tilted", [tilted])
    taken, refused, _ = by_patient(tmp_path)
    assert refused == {}
    assert [one.shape for one in taken["apart"]] == [(18, 20, SLICES)] * 2
    assert [one.shape for one in taken["tilted"]] == [(18, 20, SLICES)] * 2


def test_a_localizer_of_three_planes_in_one_image_is_refused(tmp_path: Path) -> None:
    data = image("planes", lambda s, place: {CONTENT: {"StackID": str(place % 3)}})
    ways = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
    for index, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        frame.PlaneOrientationSequence = item(ImageOrientationPatient=ways[index % 3])
        normal = np.cross(ways[index % 3][:3], ways[index % 3][3:])
        frame.PlanePositionSequence = item(ImagePositionPatient=[*(10.0 * (index // 3) * normal)])
    write(tmp_path / "planes", [data])
    _, refused, _ = by_patient(tmp_path)
    assert refused["planes"] == "its slices are in 3 planes, as those of a localizer are"


@pytest.mark.parametrize("word", ["LOCALIZER", "PROJECTION IMAGE", "MIP"])
def test_frames_that_are_no_slices_are_left_out_by_their_type(tmp_path: Path, word: str) -> None:
    groups = {TYPE: {"FrameType": ["ORIGINAL", "PRIMARY", word, "NONE"]}}
    write(tmp_path / "all", [image("all", lambda s, _: groups)])
    write(tmp_path / "one", [image("one", lambda s, _: groups if s else {})])
    taken, refused, _ = by_patient(tmp_path)
    assert "all" not in taken
    assert len(taken["one"]) == 1
    expected = "localizer" if word == "LOCALIZER" else "projection"
    assert expected in refused["all"]
    assert expected in refused["one"]


def test_phase_beside_magnitude_is_left_out_and_told(tmp_path: Path) -> None:
    parts = "MAGNITUDE", "PHASE"
    data = image("both", lambda s, _: {TYPE: {"ComplexImageComponent": parts[s]}})
    maps = image("map", lambda s, _: {TYPE: {"FrameType": ["DERIVED", "PRIMARY", "M", "ADC"]}})
    write(tmp_path / "both", [data])
    write(tmp_path / "map", [maps])
    taken, refused, _ = by_patient(tmp_path)
    assert np.array_equal(taken["both"][0], (STACK[:SLICES] * 2 + 1).transpose(2, 1, 0)[::-1, ::-1])
    assert len(taken["both"]) == 1
    assert "phase image" in refused["both"]
    assert "map" not in taken
    assert "diffusion" in refused["map"]


def test_compressed_frames_of_a_scan_are_the_plain_ones(tmp_path: Path) -> None:
    describe = SEVERAL["time"][1]
    plain = image("plain", describe)
    packed = image("plain", describe)
    packed.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    write(tmp_path / "plain", [plain])
    write(tmp_path / "packed", [packed])
    one_way, other_way = (
        [r.volume for r in read([tmp_path / name]) if isinstance(r, Ingested)]
        for name in ("plain", "packed")
    )
    assert len(one_way) == len(other_way) == 2
    for a, b in zip(one_way, other_way, strict=True):
        assert np.array_equal(a.voxels, b.voxels)


def test_a_part_of_a_concatenation_is_refused(tmp_path: Path) -> None:
    data = image("part", lambda s, _: {})
    data.InConcatenationNumber, data.InConcatenationTotalNumber = 1, 3
    (found,) = read([write(tmp_path / "part", [data])])
    assert isinstance(found, Quarantined)
    assert "part 1 of 3" in found.reason


@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed")
@pytest.mark.parametrize("name", ["time", "echo", "b-value", "stack", "type"])
def test_scans_of_an_image_are_those_of_dcm2niix(tmp_path: Path, name: str) -> None:
    def describe(scan: int, place: int) -> Groups:
        groups = SEVERAL[name][1](scan, place)
        own = {"DimensionIndexValues": [place + 1, scan + 1], "InStackPositionNumber": place + 1}
        return groups | {CONTENT: {"StackID": "1", **groups.get(CONTENT, {}), **own}}

    data = image(name, describe)
    # Of other makers dcm2niix takes the order of these frames to be the other way round.
    data.Manufacturer = "Philips"
    source = write(tmp_path / name, [data])
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        ["dcm2niix", "-b", "n", "-z", "n", "-o", out, source], check=True, capture_output=True
    )
    theirs = []
    for made in sorted(out.glob("*.nii")):
        whole = nibabel.as_closest_canonical(nibabel.load(made))
        data = np.asanyarray(whole.dataobj)
        parts = [data] if data.ndim == 3 else np.moveaxis(data, 3, 0)
        theirs += [(part, whole.affine) for part in parts]
    ours = [r.volume for r in read([source]) if isinstance(r, Ingested)]
    assert len(ours) == len(theirs) == SCANS
    for volume in ours:
        match = [affine for part, affine in theirs if np.array_equal(part, volume.voxels)]
        assert len(match) == 1
        assert np.abs(match[0] - volume.affine).max() < 1e-3


def test_an_image_of_one_scan_is_as_before(tmp_path: Path) -> None:
    stack = voxels((5, 6, 4))
    assert one(write(tmp_path / "mr", [enhanced(stack)])).volume.shape == (4, 6, 5)
