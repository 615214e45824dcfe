"""Moving images: the frames of a beating heart, from 4-D files and DICOM phases to releases."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from medvae import Release
from tests.cli.conftest import Clinic

SIZE = (16, 16, 8)
PATIENTS, FRAMES = 48, 4
GRID = ("-c", "contrasts", "-d", "d", "--set", "data.size=[16,16,8]",
        "--set", "data.spacing=[4,4,6]")  # fmt: skip


def save_cohort(folder: Path, frames: int = FRAMES, patients: range = range(PATIENTS)) -> Path:
    """Bright balls that shrink and grow again, each at a place of its own."""
    folder.mkdir(parents=True)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    for index in patients:
        random = np.random.default_rng(index)
        x, y = random.normal(0, 0.15, 2)
        far = np.sqrt((axes[0] - x) ** 2 + (axes[1] - y) ** 2 + axes[2] ** 2 / 2)
        rest = 40 * ndimage.gaussian_filter(random.normal(size=SIZE), (2, 2, 1)) / 0.1
        beat = 0.55 - 0.2 * np.sin(np.pi * np.arange(frames) / frames) ** 2
        still = [300 + rest + 500 / (1 + np.exp((far - edge) / 0.1)) for edge in beat]
        image = np.stack(still, axis=-1) + random.normal(0, 5, (*SIZE, frames))
        made = nibabel.Nifti1Image(image.round().astype(np.int16), np.diag([4.0, 4, 6, 1]))
        made.to_filename(folder / f"h{index:02d}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp("ward"))
    made("tenant", "create", "ward", "--recovery-out", made.root / "spare")
    taken = made("ingest", save_cohort(made.root / "source"), "-d", "d", "--modality", "mri",
                 "--frames", FRAMES, "--files-are-patients").json  # fmt: skip
    assert (taken["volumes"], taken["quarantined"]) == (PATIENTS, [])
    made("train", *GRID, "--name", "m", "--epsilon", "20")
    return made


def neighbours(image: np.ndarray) -> float:
    """Mean correlation of neighbouring frames of [X, Y, Z, T]."""
    flat = image.reshape(-1, image.shape[-1]).T
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairwise(flat)]))


def test_frames_are_drawn_as_one_heart_and_written_as_one_file(
    ward: Clinic, tmp_path: Path
) -> None:
    out = tmp_path / "drawn"
    ward("generate", "m", "-n", "8", "-o", out, "--seed", "3")
    drawn = [nibabel.load(path) for path in sorted(out.glob("*.nii.gz"))]
    assert [image.shape for image in drawn] == [(*SIZE, FRAMES)] * 8
    # Nobody declared the time between frames.
    assert drawn[0].header.get_zooms()[3] == 0
    frames = [np.asarray(image.get_fdata()) for image in drawn]
    real = [nibabel.load(path).get_fdata() for path in (ward.root / "source").glob("*.nii.gz")]
    within, among = (
        np.mean([neighbours(one) for one in frames]),
        np.mean(list(map(neighbours, real))),
    )
    assert abs(within - among) < 0.08
    # Frames of different draws are different hearts.
    apart = [np.corrcoef(a[..., 0].ravel(), b[..., 0].ravel())[0, 1]
             for a, b in pairwise(frames)]  # fmt: skip
    assert np.mean(apart) < within - 0.1
    metrics = ward("evaluate", out, "--against", "d", "--no-downstream").json["metrics"]
    assert abs(metrics["frame_correlation"]["value"] - within) < 0.1


def test_a_release_is_one_moving_image_a_volume(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    assert ward("release", "create", "m", "-n", "3", "-o", out).json["passed"] is True
    assert ward("release", "verify", out).json["unchanged"] is True
    stem = out / "sub-synth0001" / "anat" / "sub-synth0001_cine"
    image = nibabel.load(f"{stem}.nii.gz").get_fdata()
    assert json.loads(Path(f"{stem}.json").read_text())["NumberOfFrames"] == FRAMES
    assert "_cine.*" in (out / ".bidsignore").read_text()
    item = Release.open(out).dataset()[0]
    assert np.array_equal(np.asarray(item["image"]), np.moveaxis(image, -1, 0))


def digests(folder: Path) -> list[bytes]:
    return sorted(
        nibabel.load(path).get_fdata().astype(np.float32).tobytes()
        for path in folder.glob("*.nii.gz")
    )


def read_back(root: Path, source: Path, *words: object) -> list[bytes]:
    """The voxels of a data set that another hospital takes from a folder, by its export."""
    other = Clinic(root)
    other("tenant", "create", "other", "--recovery-out", root / "spare")
    other("ingest", source, "-d", "d", "--frames", FRAMES, *words)
    other("dataset", "export", "d", "-o", root / "export")
    return digests(root / "export")


@pytest.mark.parametrize("by", ["TemporalPositionIdentifier", "TriggerTime"])
def test_phases_of_a_series_come_back_in_their_order(ward: Clinic, tmp_path: Path, by: str) -> None:
    ward("generate", "m", "-n", "2", "-o", tmp_path / "n", "--seed", "3")
    ward("generate", "m", "-n", "2", "-o", tmp_path / "d", "--format", "dicom", "--seed", "3")
    for path in (tmp_path / "d").rglob("*.dcm"):
        head = pydicom.dcmread(path)
        number = head.TemporalPositionIdentifier
        assert head.NumberOfTemporalPositions == FRAMES
        if by == "TriggerTime":
            del head.TemporalPositionIdentifier
            head.TriggerTime = 40.0 * number
            head.InstanceNumber = 1
            head.save_as(path)
    assert read_back(tmp_path, tmp_path / "d") == digests(tmp_path / "n")


def test_more_frames_are_thinned_out_and_fewer_refused(ward: Clinic, tmp_path: Path) -> None:
    source = save_cohort(tmp_path / "source", frames=8, patients=range(100, 102))
    words = ("--modality", "mri", "--files-are-patients")
    taken = ward("ingest", source, "-d", "e", "--frames", "4", "--dry-run", *words).json
    assert any("more frames than were asked for: 2" in note for note in taken["notes"])
    expected = sorted(
        nibabel.load(path).get_fdata()[..., ::2].astype(np.float32).tobytes()
        for path in source.glob("*.nii.gz")
    )
    assert read_back(tmp_path, source, *words) == expected
    for options, code, sentence in (
        (("--frames", "9"), 3, "has 8 frames, and --frames 9 was asked for"),
        (("--frames", "1"), 2, "--frames is 2 to 32"),
        (("--frames", "4", "--channels", "t1,t2"), 2, "leave one out"),
        ((), 3, "read the frames of a moving image with --frames"),
    ):
        refused = ward("ingest", source, "-d", "x", *options, *words, ok=False)
        assert (refused.code, sentence in refused.err) == (code, True), refused.err
    single = tmp_path / "single"
    single.mkdir()
    image = nibabel.load(next(source.glob("*.nii.gz")))
    image.slicer[..., 0].to_filename(single / "a.nii.gz")
    refused = ward("ingest", single, "-d", "x", "--frames", "4", *words, ok=False)
    assert "is a single volume" in refused.err


def test_phases_without_an_order_are_refused(ward: Clinic, tmp_path: Path) -> None:
    ward("generate", "m", "-n", "1", "-o", tmp_path / "d", "--format", "dicom", "--seed", "3")
    for path in (tmp_path / "d").rglob("*.dcm"):
        head = pydicom.dcmread(path)
        head.EchoTime = head.TemporalPositionIdentifier
        del head.TemporalPositionIdentifier
        head.save_as(path)
    refused = ward("ingest", tmp_path / "d", "-d", "x", "--frames", FRAMES, ok=False)
    assert "do not say in which order" in refused.err
    shutil.rmtree(tmp_path / "d")
