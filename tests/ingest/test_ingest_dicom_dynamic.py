"""Several scans of one place in one series or file: one volume each, or refused; never mixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import slice_of, voxels, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_ingest_dicom import enhanced

from medvae.errors import InputError
from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.dicom import dimensions

TIMES, SLICES, STEP = 2, 6, 2.5
Change = Callable[[int], dict[str, Any]]


def dynamic(name: str, change: Change, *, shift: float = 0.0, thick: float = STEP) -> list[Dataset]:
    """Slices of several times, each time `shift` mm behind the one before; of one patient."""
    slices = []
    for time in range(TIMES):
        stack = voxels((SLICES, 20, 18), seed=time) + 1000 * time
        for index in range(SLICES):
            data = slice_of(
                time * SLICES + index,
                stack[index],
                modality="MR",
                patient=name,
                series=f"1.2.3.{len(name)}.{sum(name.encode())}",
                position=(0.0, 0.0, STEP * index + shift * time),
                SliceThickness=thick,
                **change(time),
            )
            slices.append(data)
    return slices


def by_patient(root: Path) -> tuple[dict[str, list[np.ndarray]], dict[str, str], list[str]]:
    """The voxels of all volumes and the refusals, by the folder of their patient."""
    notes: list[str] = []
    taken: dict[str, list[np.ndarray]] = {}
    refused: dict[str, str] = {}
    for result in read([root], notes=notes.append):
        folder = Path(result.source).relative_to(root).parts[0].partition(" (")[0]
        if isinstance(result, Ingested):
            taken.setdefault(folder, []).append(result.volume.voxels)
        elif isinstance(result, Quarantined):
            refused[folder] = result.reason
    return taken, refused, notes


APART: dict[str, tuple[str, Change]] = {
    "time-point": ("time point", lambda t: {"TemporalPositionIdentifier": t + 1}),
    "b-value": ("b-value", lambda t: {"DiffusionBValue": 1000.0 * t}),
    "echo-number": ("echo number", lambda t: {"EchoNumbers": t + 1}),
    "echo-time": ("echo time", lambda t: {"EchoTime": 5.0 + 30 * t}),
    "trigger-time": ("trigger time", lambda t: {"TriggerTime": 300.0 * t}),
    "acquisition-time": ("acquisition time", lambda t: {"AcquisitionTime": f"12000{t}.5"}),
}


@pytest.mark.parametrize("shift", [0.0, STEP / 2, STEP / 3])
def test_each_scan_of_a_place_is_a_volume_and_told(tmp_path: Path, shift: float) -> None:
    for name, (_, change) in APART.items():
        write(tmp_path / name, dynamic(name, change, shift=shift))
    taken, refused, notes = by_patient(tmp_path)
    assert refused == {}
    for name, (trait, _) in APART.items():
        first, second = sorted(taken[name], key=lambda one: float(one.max()))
        # One scan holds 0 to 999, the other 1000 to 1999.
        assert first.max() < 1000 <= second.min()
        assert first.shape == second.shape == (18, 20, SLICES)
        assert any(f"distinguished by {trait}: 2" in note for note in notes)


def test_thin_slices_of_two_time_points_are_not_one_scan(tmp_path: Path) -> None:
    change = APART["time-point"][1]
    write(tmp_path / "thin", dynamic("thin", change, shift=STEP / 2, thick=STEP / 2))
    taken, _, _ = by_patient(tmp_path)
    assert [one.shape[2] for one in taken["thin"]] == [SLICES, SLICES]


def test_passes_of_one_scan_at_two_times_are_one_volume(tmp_path: Path) -> None:
    """Odd slices first, then even ones, without a gap: each pass has a time of its own."""
    for name, (_, change) in APART.items():
        if name in ("trigger-time", "acquisition-time", "echo-time"):
            slices = dynamic(name, change, shift=STEP / 2, thick=STEP / 2)
            write(tmp_path / name, slices)
    taken, refused, notes = by_patient(tmp_path)
    assert (refused, notes) == ({}, [])
    assert [[one.shape[2] for one in volumes] for volumes in taken.values()] == [[12]] * 3


def item(**values: Any) -> Sequence:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return Sequence([data])


def frames(name: str, group: str, values: Callable[[int], Any], field: str) -> Dataset:
    """An enhanced image of two scans, half a slice apart, whose frames hold these values."""
    count = TIMES * SLICES
    data = enhanced(voxels((count, 20, 18)))
    data.PatientID = name
    for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(data, uid, f"1.2.4.{len(uid)}.{sum(name.encode())}")
    for index, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        time, place = divmod(index, SLICES)
        frame.PlanePositionSequence = item(ImagePositionPatient=[0, 0, STEP * (place + time / 2)])
        setattr(frame, group, item(**{field: values(index)}))
    return data


CONTENT, TYPE = "FrameContentSequence", "MRImageFrameTypeSequence"
ENHANCED: dict[str, tuple[str, Callable[[int], Any], str, str]] = {
    "time": (CONTENT, lambda i: i // SLICES + 1, "TemporalPositionIndex", "2 time points"),
    "stack": (CONTENT, lambda i: str(i // SLICES), "StackID", "2 stacks"),
    "echo": ("MREchoSequence", lambda i: 5.0 + i // SLICES, "EffectiveEchoTime", "2 echo times"),
    "type": (
        TYPE,
        lambda i: ["ORIGINAL", "PRIMARY", "OTHER", "AB"[i // SLICES]],
        "FrameType",
        "2 frame types",
    ),
    "phase": (TYPE, lambda _: "PHASE", "ComplexImageComponent", "phase image"),
    "map": (TYPE, lambda _: ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "FrameType", "diffusion"),
    # What counts frames or is the same for all distinguishes nothing.
    "counter": (CONTENT, lambda i: i + 1, "TemporalPositionIndex", ""),
    "single": (CONTENT, lambda _: "1", "StackID", ""),
    "magnitude": (TYPE, lambda _: "MAGNITUDE", "ComplexImageComponent", ""),
    "halves": (CONTENT, lambda i: "ab"[i % SLICES >= SLICES // 2], "StackID", ""),
}


def test_frames_of_several_scans_are_not_mixed(tmp_path: Path) -> None:
    for name, (group, values, field, _) in ENHANCED.items():
        write(tmp_path / name, [frames(name, group, values, field)])
    taken, refused, _ = by_patient(tmp_path)
    for name, (_, _, _, reason) in ENHANCED.items():
        if reason:
            assert reason in refused[name]
        else:
            assert [one.shape for one in taken[name]] == [(18, 20, TIMES * SLICES)]


def test_frames_are_told_apart_where_their_ranges_overlap_by_more_than_half() -> None:
    none = [""] * (len(dimensions.DIMENSIONS) - 1)
    traits = [(stack, *none) for stack in "aaaaabbbbb"]
    for start, good in ((2.6, True), (1.4, False)):
        along = np.array([0, 1, 2, 3, 4, *(start + step for step in range(5))])
        order = np.argsort(along)
        one = along[order], [traits[index] for index in order]
        if good:
            dimensions.check_one_scan(*one)
        else:
            with pytest.raises(InputError, match="2 stacks"):
                dimensions.check_one_scan(*one)
