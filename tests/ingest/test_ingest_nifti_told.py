"""What a header contradicts, leaves out or shears is resampled, told or refused, never silent."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingest_makers import AFFINE, nifti, one, save, taken, voxels

from medvae.errors import InputError
from medvae.ingest import Limits
from medvae.ingest.images import volume_job
from medvae.ingest.notices import KINDS
from medvae.ingest.right_angles import LEAST_SHEAR, is_sheared
from medvae.volume import Volume

SHAPE = (9, 10, 11)
RISE = np.array([4.0, 8.0, 12.0])
MIRRORED = np.diag([-1.0, 1.0, 1.0, 1.0]) @ AFFINE


def edited(change: Callable[[Any], object], data: np.ndarray | None = None) -> bytes:
    """A NIfTI file whose header is changed after nibabel has made it consistent."""
    packed = bytearray(nifti(voxels(SHAPE) if data is None else data))
    header = nibabel.Nifti1Header(bytes(packed[:348]), check=False)
    change(header)
    packed[:348] = header.binaryblock
    return bytes(packed)


def fields(**values: Any) -> Callable[[Any], object]:
    def change(header: Any) -> None:
        for name, value in values.items():
            header[name] = value

    return change


def sized(*steps: float) -> Callable[[Any], None]:
    def change(header: Any) -> None:
        header["qform_code"], header["pixdim"][1:4] = 0, steps

    return change


def two_forms(sform: int, qform: int) -> Callable[[Any], None]:
    def change(header: Any) -> None:
        header.set_sform(AFFINE, sform)
        header.set_qform(MIRRORED, qform)

    return change


def told(data: bytes, **job: Any) -> list[str]:
    """The kinds of notices that a file is of; read here, as the confined process reads it."""
    job = {"modality": "mri", "mask_optional": False, "meta": {}, **job}
    answer, _ = volume_job(job, iter([io.BytesIO(data)]), Limits())
    return list(answer["ok"]["notes"])


def with_value(value: float, kind: Any = np.float32) -> np.ndarray:
    data = voxels(SHAPE, kind) + 0.25
    data[2, 3, 4] = value
    return data


FRACTIONS = voxels(SHAPE, np.float32) + 0.25
TOLD = {
    "no form": (edited(fields(sform_code=0, qform_code=0)), "sideless"),
    "negative codes": (edited(fields(sform_code=-1, qform_code=-2)), "sideless"),
    "pixdim of another size": (edited(sized(1, 1, 1)), "resized"),
    "pixdim in another order": (edited(sized(2, 1.5, 2.5)), "resized"),
    "pixdim 2% off": (edited(sized(1.5, 2.0, 2.55)), "resized"),
    "intercept beside slope 0": (
        edited(fields(scl_slope=0, scl_inter=-1024)),
        "unscaled",
    ),
    "intercept beside slope NaN": (edited(fields(scl_slope=np.nan, scl_inter=3)), "unscaled"),
    "NaN": (nifti(with_value(np.nan)), "holes"),
    "infinite": (nifti(with_value(-np.inf)), "holes"),
    "beyond float32": (nifti(with_value(1e300, np.float64)), "holes"),
    "one slice": (nifti(voxels((20, 30, 1))), "single"),
    "metres as mm": (nifti(voxels(SHAPE), np.diag([0.0015, 0.002, 0.0025, 1])), "sizes"),
    "cm as mm": (nifti(voxels(SHAPE), np.diag([20.5, 1, 1, 1])), "sizes"),
    # Fields of view of a head of 256 mm, a trunk of 500 mm, and of a trunk whose mm are cm.
    "head in cm": (nifti(voxels((64, 64, 9)), np.diag([0.34, 0.34, 0.5, 1])), "sizes"),
    "fine head in cm": (nifti(voxels((256, 256, 4)), np.diag([0.1, 0.1, 0.1, 1])), "sizes"),
    "trunk in cm": (nifti(voxels((512, 512, 2)), np.diag([0.098, 0.098, 0.5, 1])), "sizes"),
    "mm as cm": (nifti(voxels((128, 128, 4)), np.diag([9.0, 9.0, 10.0, 1])), "sizes"),
}
SILENT = {
    "pixdim 0.5% off": edited(sized(1.5, 2.0, 2.51)),
    "pixdim not set": edited(sized(0, 0, 0)),
    "no scale": edited(fields(scl_slope=0, scl_inter=0)),
    "scale not set": edited(fields(scl_slope=np.nan, scl_inter=np.nan)),
    "fractions": nifti(FRACTIONS),
    "the smallest voxels": nifti(voxels(SHAPE), np.diag([0.05, 0.05, 20.0, 1])),
    "teeth": nifti(voxels((500, 500, 2)), np.diag([0.08, 0.08, 0.08, 1]) * 2),
    "an ear": nifti(voxels((400, 400, 2)), np.diag([0.2, 0.2, 0.4, 1])),
    "a crop of a hippocampus": nifti(voxels((35, 51, 35))),
    "a small crop": nifti(voxels((32, 32, 32)), np.diag([0.7, 0.7, 0.7, 1])),
    "from head to foot": nifti(voxels((9, 9, 440)), np.diag([4.0, 4.0, 5.0, 1])),
    "dimensionless": edited(fields(intent_code=1011)),
}
REFUSED = {
    "mirrored": (edited(two_forms(1, 2)), "mirrors"),
    "mirrored template": (edited(two_forms(4, 1)), "mirrors"),
    "infinite slope": (edited(fields(scl_slope=np.inf)), "scale"),
    "z-scores": (edited(fields(intent_code=5), FRACTIONS), "values of a statistic"),
    "p-values": (edited(fields(intent_code=22), FRACTIONS), "values of a statistic"),
    "labels": (edited(fields(intent_code=1002)), "labels, not a scan"),
    "displacements": (edited(fields(intent_code=1006), FRACTIONS), "vectors"),
    "byte order": (nifti(with_value(3e38)), "byte order"),
    "tiny": (nifti(FRACTIONS * np.float32(1e-30)), "byte order"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_a_header_leaves_open_is_told(name: str) -> None:
    data, kind = TOLD[name]
    assert told(data) == [kind]


def test_each_kind_reaches_the_user(tmp_path: Path) -> None:
    for number, (data, _) in enumerate(TOLD.values()):
        save(tmp_path / f"{number}.nii", data)
    notes: list[str] = []
    assert len(taken(tmp_path, modality="mri", notes=notes.append)) == len(TOLD)
    for kind in {kind for _, kind in TOLD.values()}:
        assert any(note.startswith(KINDS[kind][0]) for note in notes), kind


@pytest.mark.parametrize("name", SILENT)
def test_what_is_right_is_not_told(name: str) -> None:
    assert told(SILENT[name]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_scan_or_has_no_side_is_refused(name: str) -> None:
    data, pattern = REFUSED[name]
    with pytest.raises(InputError, match=pattern):
        told(data)


def test_orientation_says_how_axes_run_where_no_form_does(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii", edited(fields(sform_code=0, qform_code=0)))
    assert told(path.read_bytes(), orientation="RPS") == []
    volume = one(path, modality="mri", orientation="RPS").volume
    assert np.array_equal(volume.voxels, voxels(SHAPE)[:, ::-1])
    assumed = one(path, modality="mri").volume
    assert np.array_equal(assumed.voxels, voxels(SHAPE)[::-1])
    placed = save(tmp_path / "placed.nii", nifti(voxels(SHAPE)))
    assert np.array_equal(
        one(placed, modality="mri", orientation="LPS").volume.voxels, voxels(SHAPE)
    )


def test_voxels_that_are_not_finite_are_outside_of_the_image(tmp_path: Path) -> None:
    volume = one(save(tmp_path / "x.nii", nifti(with_value(np.inf))), modality="mri").volume
    assert np.isnan(volume.voxels[2, 3, 4])
    assert np.isnan(volume.voxels).sum() == 1


def sheared(axis: int, lean: float, plane: float = 0.0) -> np.ndarray:
    """An affine whose axis leans along both others, and these along each other."""
    affine = AFFINE.copy()
    first, second = (a for a in range(3) if a != axis)
    affine[:3, second] += plane * AFFINE[:3, first]
    affine[:3, axis] += lean * (AFFINE[:3, first] - 0.5 * AFFINE[:3, second])
    affine[:3, 3] = 7.0, -8.0, 9.0
    return affine


@pytest.mark.parametrize("plane", [0.0, 0.2])
@pytest.mark.parametrize("lean", [0.03, -0.3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_sheared_grid_is_resampled_and_anatomy_stays_where_it_is(
    axis: int, lean: float, plane: float
) -> None:
    affine = sheared(axis, lean, plane)
    assert is_sheared(affine)
    index = np.stack(np.indices(SHAPE), axis=-1)
    image = ((index @ affine[:3, :3].T + affine[:3, 3]) @ RISE + 5000).astype(np.float32)
    mask = np.where(image > image.mean(), 7, 3).astype(np.uint8)
    files = iter([io.BytesIO(nifti(image, affine)), io.BytesIO(nifti(mask, affine))])
    job = {"modality": "mri", "mask_optional": False, "meta": {}, "masks": [["x.nii"]]}
    answer, packed = volume_job(job, files, Limits())
    assert answer["ok"]["notes"] == ["sheared"]
    volume = Volume.from_bytes(packed)
    directions = volume.affine[:3, :3] / volume.spacing
    assert np.allclose(directions.T @ directions, np.eye(3), atol=LEAST_SHEAR)
    place = np.stack(np.indices(volume.shape), axis=-1) @ volume.affine[:3, :3].T
    expected = (place + volume.affine[:3, 3]) @ RISE + 5000
    assert volume.mask is not None
    # A voxel between the image and what is outside of it (0) is a mixture of both.
    inside = (volume.mask > 0) & (np.abs(volume.voxels - expected) < 1)
    assert 0.7 * image.size < inside.sum() < 1.1 * image.size
    assert (volume.mask > 0).sum() == pytest.approx(image.size, rel=0.01)
    step = 2 * (RISE * volume.spacing).sum()
    clear = inside & (np.abs(expected - image.mean()) > step)
    assert np.array_equal(volume.mask[clear] == 7, expected[clear] > image.mean())


def test_more_shear_than_a_gantry_can_tilt_is_refused() -> None:
    affine = np.eye(4)
    affine[0, 2] = np.tan(np.radians(39.9))
    assert told(nifti(voxels(SHAPE), affine)) == ["sheared"]
    affine[0, 2] = np.tan(np.radians(40.1))
    with pytest.raises(InputError, match="40 degrees off a right angle"):
        told(nifti(voxels(SHAPE), affine))


def test_a_grid_that_grows_beyond_the_limit_is_refused() -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.5
    job = {"modality": "mri", "mask_optional": False, "meta": {}}
    # Ten steps of half a voxel: five columns more.
    for most, good in ((14 * 10 * 11, True), (14 * 10 * 11 - 1, False)):
        files = iter([io.BytesIO(nifti(voxels(SHAPE), affine))])
        if good:
            assert Volume.from_bytes(volume_job(job, files, Limits(voxels=most))[1]).shape[0] == 14
        else:
            with pytest.raises(InputError, match="more voxels than are allowed"):
                volume_job(job, files, Limits(voxels=most))


def test_what_rounding_leaves_of_a_right_angle_is_no_shear() -> None:
    affine = AFFINE.copy()
    affine[0, 2] = 0.009 * 2.5
    assert told(nifti(voxels(SHAPE), affine)) == []
