"""NIfTI: every valid form is read as nibabel reads it; everything else is refused in a sentence."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingest_makers import AFFINE, nifti, one, patched, refusal, save, taken, voxels

from medvae.ingest import Ingested, Limits, read

SAMPLES = Path(nibabel.__file__).parent / "tests/data"


def as_nibabel_reads(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return image.get_fdata(), image.affine


SCALES = [(1.0, 0.0), (2.0, -1024.0), (0.37, 5.0), (-1.0, 0.0)]
KINDS = ["u1", "i1", "<i2", ">i2", "<u2", "<i4", ">u4", "<f4", ">f4", "<f8"]


def any_nifti(draw: np.random.Generator) -> bytes:
    """A valid image of any orientation, type, byte order, scale and version."""
    tilt = draw.uniform(-0.3, 0.3)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn[:, draw.permutation(3)] * draw.choice([-1, 1], 3) * [1.5, 2.0, 2.5]
    affine[:3, 3] = draw.uniform(-300, 300, 3)
    kind = np.dtype(str(draw.choice(KINDS)))
    stored = draw.integers(0, 120, draw.integers(1, 7, 3)).astype(kind)
    header_of = [nibabel.Nifti1Header, nibabel.Nifti2Header][int(draw.integers(2))]
    header = header_of(endianness=">" if kind.byteorder == ">" else "<")
    image_of = {
        nibabel.Nifti1Header: nibabel.Nifti1Image,
        nibabel.Nifti2Header: nibabel.Nifti2Image,
    }
    image = image_of[header_of](stored, affine, header)
    image.header.set_data_dtype(kind)
    image.header.set_slope_inter(*SCALES[int(draw.integers(len(SCALES)))])
    return image.to_bytes()


def test_all_forms_read_as_nibabel_does(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    for number in range(120):
        save(tmp_path / f"{number}.nii{'.gz' if number % 2 else ''}", any_nifti(draw))
    for result in taken(tmp_path, modality="mri"):
        expected, where = as_nibabel_reads(Path(result.source))
        volume = result.volume
        assert np.allclose(volume.affine, where, atol=1e-4)
        assert np.allclose(volume.voxels, expected, rtol=1e-6, atol=1e-4)
        exact = (expected == np.rint(expected)).all()
        assert volume.voxels.dtype == (np.int16 if exact else np.float32)
        assert nibabel.aff2axcodes(volume.affine) == ("R", "A", "S")


def test_voxels_stay_where_they_are_in_the_patient(tmp_path: Path) -> None:
    """A marked voxel keeps its place in millimetres through every flip and permutation."""
    places = {}
    for number, axes in enumerate(itertools.permutations(range(3))):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, list(axes)] * [-1, 1, -1]
        data = np.zeros((3, 4, 5), np.int16)
        data[1, 3, 4] = 77
        path = save(tmp_path / f"{number}.nii", nifti(data, affine))
        places[str(path)] = (affine @ [1, 3, 4, 1])[:3]
    for result in taken(tmp_path, modality="mri"):
        found = np.argwhere(result.volume.voxels == 77)[0]
        assert np.allclose((result.volume.affine @ [*found, 1])[:3], places[result.source])


def test_some_nan_is_kept_as_float(tmp_path: Path) -> None:
    data = voxels(dtype=np.float32)
    data[0] = np.nan
    volume = one(save(tmp_path / "a.nii", nifti(data)), modality="mri").volume
    assert volume.voxels.dtype == np.float32
    assert np.isnan(volume.voxels).sum() == data[0].size


def test_single_time_point_and_unit_of_metres(tmp_path: Path) -> None:
    def metres(header: Any) -> None:
        header.set_xyzt_units("meter", "sec")

    data = nifti(voxels((4, 5, 6, 1)), np.diag([0.001, 0.002, 0.003, 1]), change=metres)
    volume = one(save(tmp_path / "a.nii.gz", data), modality="mri").volume
    assert volume.shape == (4, 5, 6)
    assert volume.spacing == pytest.approx((1, 2, 3))


def disagree(header: Any) -> None:
    header.set_sform(AFFINE, 1)
    header.set_qform(np.diag([-1.5, 2.0, 2.5, 1.0]), 1)


GOOD = nifti()
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"not an image at all, just words\n" * 40, "not a NIfTI"),
    "short header": (GOOD[:200], "truncated"),
    "truncated": (GOOD[:-100], "truncated"),
    "nan": (nifti(np.full((3, 3, 3), np.nan, np.float32)), "finite"),
    "zero size": (patched(GOOD, 42, b"\0\0"), "at least one voxel"),
    "negative size": (patched(GOOD, 42, b"\xff\xff"), "at least one voxel"),
    "4-D": (nifti(voxels((3, 3, 3, 2))), "series of volumes"),
    "2-D": (nifti(voxels((3, 3))), "2-D"),
    "colour": (nifti(np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])), "colour"),
    "complex": (nifti(np.zeros((3, 3, 3), np.complex64)), "complex"),
    "unknown type": (patched(GOOD, 70, b"\x39\x30"), "type"),
    "disagree": (nifti(change=disagree), "disagree"),
    "pair": (patched(GOOD, 344, b"ni1\0"), "separate|header of a NIfTI pair"),
    "no magic": (patched(GOOD, 344, b"XXXX"), "mark"),
    "dim 0": (patched(GOOD, 40, b"\x09\0"), "dimensions"),
    "claims 32767^3": (patched(GOOD, 42, b"\xff\x7f" * 3), "allowed"),
    "intercept inf": (patched(GOOD, 112, np.float32([2, np.inf]).tobytes()), "scale"),
    "offset": (patched(GOOD, 108, np.float32([1e9]).tobytes()), "start of its voxels"),
    "offset nan": (patched(GOOD, 108, np.float32([np.nan]).tobytes()), "start of its voxels"),
    "affine nan": (patched(GOOD, 280, np.float32([np.nan]).tobytes()), "geometry|orientation"),
    "singular": (
        patched(GOOD, 280, np.zeros(12, np.float32).tobytes()),
        "impossible|singular|disagree",
    ),
    "trailing": (GOOD + bytes(2 << 20), "more data"),
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_bad_files_are_refused_one_by_one_and_the_good_one_kept(
    tmp_path: Path, ending: str
) -> None:
    for name, (data, _) in REFUSED.items():
        path = save(tmp_path / f"{name}{ending}", data)
        if not data:
            path.write_bytes(b"")
    save(tmp_path / f"zz good{ending}", GOOD)
    results = list(read([tmp_path], modality="mri"))
    assert len(results) == len(REFUSED) + 1
    by_name = {Path(r.source).name.removesuffix(ending): r for r in results}
    assert isinstance(by_name.pop("zz good"), Ingested)
    for name, result in by_name.items():
        pattern = REFUSED[name][1]
        assert not isinstance(result, Ingested), name
        assert re.search(pattern, result.reason), (name, result.reason)


def test_damaged_compression_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", GOOD)
    packed = bytearray(path.read_bytes())
    packed[-6] ^= 0x10  # in the checksum: every voxel is still there
    path.write_bytes(packed)
    assert "damaged" in refusal(path, modality="mri")
    path.write_bytes(packed[:-9])
    assert "cut short" in refusal(path, modality="mri")


def test_a_size_limit_is_kept_before_memory_is_used(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", GOOD)
    assert "allowed" in refusal(path, modality="mri", limits=Limits(voxels=503))
    assert one(path, modality="mri", limits=Limits(voxels=504)).volume.shape == (7, 8, 9)


@pytest.mark.parametrize(
    ("data", "modality"),
    [
        (voxels() - 1000, "ct"),
        (voxels(), "mri"),
        (voxels(dtype=np.float32) + 0.25, "mri"),
        (voxels(dtype=np.float32) - 3.5, "mri"),
        (voxels() - 100, None),
        (voxels(dtype=np.float32) - 1000.25, None),
    ],
)
def test_modality_is_guessed_only_without_doubt(
    tmp_path: Path, data: np.ndarray, modality: str | None
) -> None:
    path = save(tmp_path / "a.nii", nifti(data))
    if modality is None:
        assert "--modality" in refusal(path)
        return
    notes: list[str] = []
    assert one(path, notes=notes.append).volume.modality == modality
    assert any(modality in note for note in notes)


@pytest.mark.parametrize("name", ["anatomical.nii", "example_nifti2.nii.gz", "standard.nii.gz"])
def test_nibabels_own_samples(name: str) -> None:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"this nibabel ships no {name}")
    image = nibabel.load(path)
    if len([n for n in image.shape if n > 1]) > 3:
        assert "series" in refusal(path, modality="mri")
        return
    expected, where = as_nibabel_reads(path)
    volume = one(path, modality="mri").volume
    assert np.allclose(volume.voxels, expected.reshape(volume.shape), rtol=1e-5)
    assert np.allclose(volume.affine, where, atol=1e-4)
