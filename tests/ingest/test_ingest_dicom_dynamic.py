"""Several scans of one place in one series or file: one volume each, or refused; never mixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import slice_of, voxels, write
from pydicom.dataset import Dataset

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
    "frame": ("frame of reference", lambda t: {"FrameOfReferenceUID": f"1.2.{t + 3}"}),
    "number": ("series number", lambda t: {"SeriesNumber": t + 3}),
    "inversion": ("inversion time", lambda t: {"InversionTime": 100.0 + 800 * t}),
    "flip-angle": ("flip angle", lambda t: {"FlipAngle": 5.0 + 25 * t}),
    "kernel": ("kernel", lambda t: {"ConvolutionKernel": ("B30f", "B70f")[t]}),
    "voltage": ("tube voltage", lambda t: {"KVP": 80 + 60 * t}),
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


PHASES = 4
# Delay in milliseconds of slice and phase -> whether they are phases of a cycle.
CYCLES: dict[str, tuple[Callable[[int, int], float], bool]] = {
    "each place at its own rate": (lambda s, p: 3.0 * s + (30 + s) * p, True),
    "rounded": (lambda s, p: float(round(33.3 * p + 0.4 * s)), True),
    "at odd times": (lambda s, p: 7.0 * s + (0, 30, 90, 100)[p], False),
    "at one time twice": (lambda s, p: 7.0 * s + (0, 30, 30, 60)[p], False),
}


@pytest.mark.parametrize("name", CYCLES)
def test_phases_that_each_place_counts_anew_are_volumes_in_their_order(
    tmp_path: Path, name: str
) -> None:
    delay, is_cycle = CYCLES[name]
    stacks = [voxels((SLICES, 20, 18), seed=phase) + 1000 * phase for phase in range(PHASES)]
    slices = [
        slice_of(
            index * PHASES + phase,
            stacks[phase][index],
            modality="MR",
            position=(0.0, 0.0, STEP * index),
            TriggerTime=delay(index, phase),
            # One number for all: times alone tell the phases apart.
            InstanceNumber=1,
        )
        for index in range(SLICES)
        for phase in range(PHASES)
    ]
    write(tmp_path / "heart", slices)
    taken, refused, notes = by_patient(tmp_path)
    assert bool(taken) == is_cycle
    if not is_cycle:
        assert "18 of its slices are where another one is" in refused["heart"]
        return
    assert len(taken["heart"]) == PHASES
    for found, stack in zip(sorted(taken["heart"], key=np.min), stacks, strict=True):
        assert np.array_equal(found, stack.transpose(2, 1, 0)[::-1, ::-1])
    assert any("distinguished by trigger time: 4" in note for note in notes)
    frames = [one for one in read([tmp_path], frames=PHASES) if isinstance(one, Ingested)]
    assert [one.volume.voxels.shape[0] for one in frames] == [PHASES]
    assert np.array_equal(frames[0].volume.voxels[1], stacks[1].transpose(2, 1, 0)[::-1, ::-1])


OF_PASSES = ("trigger-time", "acquisition-time")


def test_thin_slices_between_those_of_another_scan_are_not_one_scan(tmp_path: Path) -> None:
    for name in APART.keys() - set(OF_PASSES):
        slices = dynamic(name, APART[name][1], shift=STEP / 2, thick=STEP / 2)
        write(tmp_path / name, slices)
    taken, refused, _ = by_patient(tmp_path)
    assert refused == {}
    assert [[one.shape[2] for one in volumes] for volumes in taken.values()] == [
        [SLICES, SLICES]
    ] * (len(APART) - len(OF_PASSES))


def test_passes_of_one_scan_at_two_times_are_one_volume(tmp_path: Path) -> None:
    """Odd slices first, then even ones, without a gap: each pass has a time of its own."""
    for name in OF_PASSES:
        slices = dynamic(name, APART[name][1], shift=STEP / 2, thick=STEP / 2)
        for data in slices:
            data.InstanceNumber = int(data.ImagePositionPatient[2] / (STEP / 2)) + 1
        write(tmp_path / name, slices)
    taken, refused, notes = by_patient(tmp_path)
    assert (refused, notes) == ({}, [])
    assert [[one.shape[2] for one in volumes] for volumes in taken.values()] == [[12]] * 2


# Pass and slice -> what an image has: only the order of these tells the passes apart.
ORDERS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "instance number": lambda t, i: {"InstanceNumber": SLICES * t + i + 1},
    "instance number down": lambda t, i: {"InstanceNumber": SLICES * t + (i if t else 5 - i)},
    "acquisition time": lambda t, i: {"AcquisitionTime": f"10{t}0{i:02d}.{17 * i:03d}"},
    "acquisition time at night": lambda t, i: {"AcquisitionTime": f"{(23, 0)[t]:02d}59{i:02d}.5"},
}
BY_PLACE = {
    "instance number by place": lambda t, i: {"InstanceNumber": TIMES * i + t + 1},
    "content time": lambda t, i: {"ContentTime": f"10{t}0{i:02d}.5"},
    "content time by place": lambda t, i: {"ContentTime": f"10{i:02d}0{t}"},
}


def ordered(order: Callable[[int, int], dict[str, Any]], **more: float) -> list[Dataset]:
    """`dynamic`, its passes told apart by an order alone; number 1 where that is of times."""
    slices = dynamic("ordered", lambda t: {}, **more)
    for number, data in enumerate(slices):
        for name, value in ({"InstanceNumber": 1} | order(*divmod(number, SLICES))).items():
            setattr(data, name, value)
    return slices


@pytest.mark.parametrize("order", ORDERS | BY_PLACE)
def test_passes_of_one_place_are_told_apart_by_their_order(tmp_path: Path, order: str) -> None:
    write(tmp_path / "x", ordered((ORDERS | BY_PLACE)[order]))
    taken, refused, notes = by_patient(tmp_path)
    assert refused == {}
    first, second = sorted(taken["x"], key=np.max)
    assert first.shape == second.shape == (18, 20, SLICES)
    assert first.max() < 1000 <= second.min()
    named = " ".join(order.split()[:2])
    assert any(f"distinguished by {named}: 2" in note for note in notes)
    (moving,) = (one for one in read([tmp_path], frames=TIMES) if isinstance(one, Ingested))
    assert [one.min() >= 1000 for one in moving.volume.voxels] == [False, True]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shift", [STEP / 2, STEP / 4])
def test_passes_between_one_another_are_told_apart_by_their_order(
    tmp_path: Path, order: str, shift: float
) -> None:
    write(tmp_path / "x", ordered(ORDERS[order], shift=shift))
    taken, refused, _ = by_patient(tmp_path)
    assert refused == {}
    first, second = sorted(taken["x"], key=np.max)
    assert first.max() < 1000 <= second.min()


def test_numbers_that_run_twice_along_one_thin_scan_are_told(tmp_path: Path) -> None:
    slices = ordered(ORDERS["instance number"], shift=STEP / 2, thick=STEP / 2)
    write(tmp_path / "x", slices)
    taken, refused, notes = by_patient(tmp_path)
    assert refused == {}
    assert [one.shape[2] for one in taken["x"]] == [2 * SLICES]
    assert any("runs of instance numbers alternate" in note for note in notes)


def test_numbers_in_no_order_tell_no_passes_apart(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).permutation(2 * SLICES)
    # Where two are first at one place, and last at another, no pass follows the other.
    slices = ordered(lambda t, i: {"InstanceNumber": int(numbers[SLICES * t + i])})
    write(tmp_path / "x", slices)
    taken, refused, _ = by_patient(tmp_path)
    assert (taken, "where another one is" in refused["x"]) == ({}, True)


def test_kinds_of_image_that_alternate_in_thin_slices_are_two_volumes(tmp_path: Path) -> None:
    def of_kind(time: int) -> dict[str, Any]:
        return {"ImageType": ["DERIVED", "PRIMARY", "DIXON", ("W", "F")[time]]}

    def of_filter(time: int) -> dict[str, Any]:
        return {"ImageType": ["ORIGINAL", "PRIMARY", "M", ("ND", "NORM")[time]]}

    for name, kind in (("kind", of_kind), ("filter", of_filter)):
        slices = dynamic(name, kind, shift=STEP / 2, thick=STEP / 2)
        for number, data in enumerate(slices):
            data.InstanceNumber = 2 * (number % SLICES) + number // SLICES
        write(tmp_path / name, slices)
    taken, refused, _ = by_patient(tmp_path)
    assert refused == {}
    assert [one.shape[2] for one in taken["kind"]] == [SLICES, SLICES]
    assert [one.shape[2] for one in taken["filter"]] == [2 * SLICES]


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
