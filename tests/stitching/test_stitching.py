"""Volumes cut in overlapping pieces and joined again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

import medvae
from medvae.cli.main import run
from medvae.errors import InputError, UsageError
from medvae.stitching import Joined, Options, Part, join, resampled
from medvae.stitching.parts import corners, translation
from medvae.volume import Volume

SHAPE = (48, 44, 40)
AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])
AFFINE[:3, 3] = (-30, 12, 7)


def body(seed: int = 0) -> npt.NDArray[np.float32]:
    """Structure of several scales, as tissue has."""
    rng = np.random.default_rng(seed)
    image = sum(
        ndimage.gaussian_filter(rng.standard_normal(SHAPE), sigma) * sigma**1.5
        for sigma in (1, 2, 5)
    )
    return np.asarray(300 + 100 * image / np.std(image), np.float32)


def part(
    voxels: npt.NDArray[np.float32],
    at: tuple[int, int, int] = (0, 0, 0),
    name: str = "part",
    mask: npt.NDArray[np.uint8] | None = None,
) -> Part:
    return Part(name, Volume(voxels, AFFINE @ translation(at), "mri", mask))


def error_of(
    joined: Joined, number: int, shape: tuple[int, ...], true: npt.NDArray[np.float64]
) -> float:
    """The farthest corner of a part from where it belongs, in voxels; `true`: index to index."""
    placed, affine = joined.placements[number], AFFINE
    found = np.linalg.inv(affine) @ placed.matrix @ affine
    where = corners(shape)
    return float(np.abs(where @ (found - true).T)[:, :3].max())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("trusted", [True, False])
def test_two_pieces_give_the_whole_back(axis: int, trusted: bool) -> None:
    """With right headers, and with headers that all claim one place."""
    whole = body(axis)
    a = np.take(whole, range(28), axis=axis)
    b = np.take(whole, range(18, whole.shape[axis]), axis=axis)
    at = tuple(18 if one == axis else 0 for one in range(3))
    joined = join([part(a), part(b, at if trusted else (0, 0, 0))])
    assert joined.placements[1].start == ("header" if trusted else "search")
    assert joined.volume.shape == whole.shape
    np.testing.assert_allclose(joined.volume.voxels, whole, atol=1.5)
    np.testing.assert_allclose(joined.volume.affine, AFFINE)


def test_gain_and_offset_are_matched_under_noise() -> None:
    whole, rng = body(), np.random.default_rng(1)
    a, b = whole[:, :, :26], whole[:, :, 14:]
    noisy = [one + rng.normal(0, 15, one.shape).astype(np.float32) for one in (a, b)]
    joined = join([part(noisy[0]), part(1.3 * noisy[1] - 20, (0, 0, 14))])
    placed = joined.placements[1]
    assert placed.gain == pytest.approx(1 / 1.3, rel=0.02)
    assert error_of(joined, 1, b.shape, translation((0, 0, 0))) < 0.1
    # Twice measured, the overlap has less noise than a part.
    error = joined.volume.voxels - whole
    assert error[:, :, 17:23].std() < 0.85 * error[:, :, :8].std()
    kept = join([part(noisy[0]), part(noisy[1], (0, 0, 14))], Options(match=False))
    assert (kept.placements[1].gain, kept.placements[1].offset) == (1.0, 0.0)


def test_no_seam_is_seen_where_parts_end() -> None:
    """Parts that differ by a constant, unmatched: the step is spread over the overlap."""
    flat = body()
    joined = join(
        [part(flat[:, :, :30]), part(flat[:, :, 10:] + 20, (0, 0, 10))], Options(match=False)
    )
    course = (joined.volume.voxels - flat).mean(axis=(0, 1))
    assert course[0] == pytest.approx(0, abs=1e-3)
    assert course[-1] == pytest.approx(20, abs=1e-3)
    assert np.abs(np.diff(course)).max() < 2.0


def test_a_turned_part_is_turned_back() -> None:
    whole = body()
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [2, -1, 2.5], degrees=True).as_matrix()
    # In millimetres, about the middle of the body.
    middle = translation((AFFINE @ [24, 22, 20, 1])[:3])
    moved = middle @ turn @ np.linalg.inv(middle)
    back = np.linalg.inv(AFFINE) @ moved @ AFFINE
    turned = ndimage.affine_transform(whole, back[:3, :3], back[:3, 3], order=3)[:, :, 12:]
    b = part(np.asarray(turned, np.float32), (0, 0, 12))
    joined = join([part(whole[:, :, :32]), b])
    found, where = joined.placements[1].matrix, corners(turned.shape) @ b.volume.affine.T
    assert np.abs(where @ (found - moved).T).max() < 0.3
    with pytest.raises(InputError, match="does not"):
        join([part(whole[:, :, :32]), part(body(9)[:, :, 12:], (0, 0, 12))])


def test_many_parts_in_any_order() -> None:
    """The third touches the first only through the second, and labels go along."""
    whole = body()
    mask = np.asarray(whole > 350, np.uint8) * 3
    cut = [(0, 18), (10, 30), (22, 40)]
    parts = [
        part(whole[:, :, a:b], (0, 0, a), f"{a}", mask[:, :, a:b])
        for a, b in (cut[0], cut[2], cut[1])
    ]
    joined = join(parts)
    np.testing.assert_allclose(joined.volume.voxels, whole, atol=1.5)
    np.testing.assert_array_equal(joined.volume.mask, mask)
    assert [one.overlap > 0 for one in joined.placements] == [False, True, True]


@pytest.mark.parametrize("seed", range(4))
def test_noise_alone_is_no_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(SHAPE).astype(np.float32) for _ in range(2))
    with pytest.raises(InputError, match="more than chance"):
        join([part(a), part(b, (0, 0, 20), "b")])
    with pytest.raises(InputError, match="does not"):
        join([part(body(seed)), part(body(seed + 50), (0, 0, 20), "b")])


def test_parts_that_do_not_touch_or_fit_are_refused() -> None:
    whole = body()
    with pytest.raises(InputError, match="does not"):
        join([part(whole[:, :, :18]), part(whole[:, :, 20:], (0, 0, 20))])
    with pytest.raises(UsageError, match="at least two"):
        join([part(whole)])
    ct = Part("c", Volume(whole, AFFINE, "ct"))
    with pytest.raises(InputError, match="one modality"):
        join([part(whole), ct])
    labelled = part(whole, mask=np.ones(SHAPE, np.uint8))
    with pytest.raises(InputError, match="both have labels"):
        join([labelled, part(whole)])
    with pytest.raises(InputError, match="not both pictures"):
        join([part(whole), part(whole[:, :, :1])])
    flat = np.zeros(SHAPE, np.float32)
    with pytest.raises(InputError, match="more than chance"):
        join([part(flat), part(flat)])


def test_another_spacing_comes_onto_the_grid_of_the_first() -> None:
    whole = body()
    coarse = AFFINE @ translation((0, 0, 14)) @ np.diag([2.0, 2.0, 1.0, 1.0])
    b = Part("b", Volume(np.ascontiguousarray(whole[::2, ::2, 14:]), coarse, "mri"))
    smooth = [ndimage.gaussian_filter(one.volume.voxels, 1) for one in (part(whole), b)]
    assert smooth[0].shape != smooth[1].shape
    joined = join([part(whole[:, :, :30]), b])
    assert joined.volume.spacing == pytest.approx((1.5, 1.5, 2.0))
    assert joined.volume.shape[2] == SHAPE[2]


def files(folder: Path, whole: npt.NDArray[np.float32]) -> list[Path]:
    paths = []
    for name, start, end in (("a", 0, 26), ("b", 14, 40)):
        for kind, voxels in (("", whole), ("_dseg", (whole > 350) * 2)):
            cut = voxels[:, :, start:end].astype(np.int16)
            image = nib.Nifti1Image(cut, AFFINE @ translation((0, 0, start)))
            image.header.set_xyzt_units("mm")
            image.set_sform(image.affine, 1)
            nib.save(image, folder / f"{name}{kind}.nii.gz")
        paths.append(folder / f"{name}.nii.gz")
    return paths


def test_the_verb_joins_files_without_a_vault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = body()
    a, b = files(tmp_path, whole)
    out = tmp_path / "new" / "whole.nii.gz"
    marks = [
        "--labels",
        str(tmp_path / "a_dseg.nii.gz"),
        "--labels",
        str(tmp_path / "b_dseg.nii.gz"),
    ]
    words = ["stitch", str(a), str(b), "-o", str(out), "--modality", "mri", *marks, "--json"]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["output"] == str(out)
    assert [one["start"] for one in told["transforms"]] == ["first", "header"]
    np.testing.assert_allclose(told["transforms"][1]["matrix"], np.eye(4), atol=1e-6)
    joined = nib.load(out)
    assert joined.get_data_dtype() == np.int16
    np.testing.assert_allclose(np.asarray(joined.dataobj), whole.astype(np.int16), atol=2)
    np.testing.assert_allclose(joined.affine, AFFINE, atol=1e-4)
    mask = np.asarray(nib.load(tmp_path / "new" / "whole_dseg.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, (whole > 350) * 2)
    assert run(words) == 2
    assert "exists; name a new file" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (["--transform", "elastic"], 2, "translation, rigid, affine"),
        (["--labels", "a_dseg.nii.gz"], 2, "names 1 files for 2 parts"),
        (["-o", "whole.png"], 2, "written as .nii.gz"),
        (["-o", "whole.jpg"], 2, "must end in"),
    ],
)
def test_the_verb_refuses_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    code: int,
    sentence: str,
) -> None:
    files(tmp_path, body())
    monkeypatch.chdir(tmp_path)
    words = ["stitch", "a.nii.gz", "b.nii.gz", "-o", "w.nii.gz", "--modality", "mri", *change]
    assert run([*words, "--json"]) == code
    assert sentence in json.loads(capsys.readouterr().out)["error"]
    assert not list(tmp_path.glob("w*"))


def test_no_part_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two parts, and none"):
        medvae.stitch([], tmp_path / "out.nii.gz")


def test_pictures_are_joined_by_what_they_show(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.stack(
        [ndimage.gaussian_filter(rng.standard_normal((120, 150)), 2) for _ in range(3)]
    )
    pixels = np.clip(128 + 40 * image / image.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    cuts = {"a": pixels[:, :90], "b": pixels[:, 60:]}
    for name, cut in cuts.items():
        Image.fromarray(cut).save(tmp_path / f"{name}.png")
    out = tmp_path / "whole.png"
    result = medvae.stitch([tmp_path / "a.png", tmp_path / "b.png"], out, modality="photo")
    assert result.transforms[1].start == "search"
    assert np.abs(np.asarray(Image.open(out)).astype(int) - pixels).max() <= 1


@pytest.mark.skipif("MEDVAE_REAL_DATA" not in os.environ, reason="needs MEDVAE_REAL_DATA")
def test_a_real_head_in_three_pieces() -> None:
    source = sorted(Path(os.environ["MEDVAE_REAL_DATA"], "mri_ixi_t1", "images").glob("*.nii.gz"))[
        0
    ]
    image = nib.as_closest_canonical(nib.load(source))
    whole, affine = np.asarray(image.dataobj).astype(np.float32), image.affine
    rng = np.random.default_rng(0)
    parts, gains = [], (1.0, 0.8, 1.25)
    for (a, b), gain in zip([(0, 50), (38, 85), (70, 120)], gains, strict=True):
        cut = gain * (whole[:, :, a:b] + rng.normal(0, 3, whole[:, :, a:b].shape))
        parts.append(Part(str(a), Volume(cut.astype(np.float32), affine, "mri")))
    joined = join(parts)
    assert joined.volume.shape == whole.shape
    for placed, (start, _), gain in zip(
        joined.placements, [(0, 0), (38, 0), (70, 0)], gains, strict=True
    ):
        shift = np.linalg.inv(affine[:3, :3]) @ placed.matrix[:3, 3]
        np.testing.assert_allclose(shift, (0, 0, start), atol=0.2)
        assert placed.gain == pytest.approx(1 / gain, rel=0.01)


def test_the_verb_says_what_it_resampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = body()
    a, b = files(tmp_path, whole)
    image = nib.load(b)
    thin = np.asarray(image.dataobj)[::2, ::2]
    turn = np.diag([2.0, 2.0, 1.0, 1.0])
    coarse = nib.Nifti1Image(thin, image.affine @ turn)
    coarse.set_sform(coarse.affine, 1)
    nib.save(coarse, tmp_path / "c.nii.gz")
    words = ["stitch", str(a), str(tmp_path / "c.nii.gz"), "--modality", "mri"]
    assert run([*words, "-o", str(tmp_path / "x.nii.gz"), "--json"]) == 0
    transforms = json.loads(capsys.readouterr().out)["transforms"]
    assert transforms[0]["resampled"] == []
    assert transforms[1]["resampled"] == [
        "voxels of 3 x 3 x 2 mm became 1.5 x 1.5 x 2 mm, those of the first part"
    ]
    assert run([*words, "-o", str(tmp_path / "y.nii.gz")]) == 0
    assert "resampled: voxels of 3 x 3 x 2 mm" in capsys.readouterr().out
    plain = ["stitch", str(a), str(b), "-o", str(tmp_path / "z.nii.gz"), "--modality", "mri"]
    assert run([*plain, "--json"]) == 0
    assert [one["resampled"] for one in json.loads(capsys.readouterr().out)["transforms"]] == [
        [],
        [],
    ]


def test_a_turned_part_is_said_to_be_resampled() -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    volume = part(body()).volume
    assert resampled(volume, volume, np.eye(4)) == ()
    assert resampled(volume, volume, translation((0.3, -4, 7))) == ()
    (words,) = resampled(volume, volume, turn)
    assert words == "its axes were turned by 12.0 degrees onto the first part's"
