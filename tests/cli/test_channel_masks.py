"""Contrasts and label map of a patient, from ingest to a signed release that holds both."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medvae import Release
from tests.cli.conftest import Clinic

SIZE = (16, 12, 8)
SCHEME = "3=core,7=rim"
NAMES = ("t1", "flair")
# No more noise than 80 patients at epsilon 15 have: patients by the mu of Gaussian privacy are 221
# there and 240 here. With half of that a training hid what is drawn together, once in about ten.
PATIENTS, EPSILON = 36, "50"
# Of volumes and steps for the network, which draws nothing here.
FEW = ("--set", "atlas.samples=4", "--set", "atlas.steps=1")


def save_cohort(folder: Path) -> Path:
    """Balls that are dark in t1 and bright in flair, with a rim."""
    random = np.random.default_rng(2)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(PATIENTS):
        at = np.array([8, 6, 4]) + random.normal(0, 0.8, 3)
        far = np.sqrt(sum((one - c) ** 2 for one, c in zip(np.indices(SIZE), at, strict=True)))
        mask = np.where(far < 2.2, 3, np.where(far < 4.0, 7, 0)).astype(np.uint8)
        for name, sign in zip(NAMES, (-1, 1), strict=True):
            voxels = 500 + sign * 200 * np.exp(-((far / 4) ** 2)) + random.normal(0, 10, SIZE)
            image = nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
            image.to_filename(folder / "images" / f"p{index:02d}_{name}.nii.gz")
        labels = nibabel.Nifti1Image(mask, np.diag([2.0, 2.0, 3.0, 1.0]))
        labels.to_filename(folder / "labels" / f"p{index:02d}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp("ward"))
    made("tenant", "create", "ward", "--recovery-out", made.root / "spare",
         "--epsilon-limit", EPSILON)  # fmt: skip
    taken = made(
        *("ingest", save_cohort(made.root / "source"), "-d", "d", "--modality", "mri"),
        *("--channels", ",".join(NAMES), "--label-scheme", SCHEME, "--files-are-patients"),
    ).json
    assert (taken["volumes"], taken["masks"], taken["quarantined"]) == (PATIENTS, PATIENTS, [])
    made("train", "-c", "contrasts", "-d", "d", "--name", "m", "--epsilon", EPSILON, *FEW,
         "--set", "data.size=[16,12,8]", "--set", "data.spacing=[2,2,3]")  # fmt: skip
    return made


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_draws_hold_all_channels_and_the_mask_together(ward: Clinic, tmp_path: Path) -> None:
    ward("generate", "m", "-n", "12", "-o", tmp_path / "drawn", "--seed", "1")
    apart: dict[str, list[float]] = {name: [] for name in NAMES}
    for index in range(1, 13):
        stem = tmp_path / "drawn" / f"synth{index:04d}"
        mask = read(Path(f"{stem}_dseg.nii.gz"))
        assert set(np.unique(mask)) <= {0, 3, 7}
        if not mask.any():
            # Noise may hide the ball of a draw.
            continue
        for name in NAMES:
            image = read(Path(f"{stem}_{name}.nii.gz")).astype(float)
            z = (image - image.mean()) / image.std()
            apart[name].append(z[mask > 0].mean() - z[mask == 0].mean())
    assert len(apart["t1"]) >= 8
    assert np.mean(apart["t1"]) < -0.5
    assert np.mean(apart["flair"]) > 0.5


@pytest.mark.parametrize("fmt", ["bids", "nnunet"])
def test_a_release_holds_channels_and_label_map(ward: Clinic, tmp_path: Path, fmt: str) -> None:
    out = tmp_path / "release"
    made = ward("release", "create", "m", "-n", "4", "-o", out, "--format", fmt).json
    assert made["passed"] is True
    assert ward("release", "verify", out).json["unchanged"] is True
    item = Release.open(out).dataset()[0]
    assert np.asarray(item["image"]).shape == (2, *SIZE)
    if fmt == "bids":
        card = json.loads((out / "card.json").read_text())
        assert card["data"]["labels"] == {"3": "core", "7": "rim"}
        return
    written = json.loads((out / "dataset.json").read_text())
    assert written["channel_names"] == {"0": "t1", "1": "flair"}
    assert written["labels"] == {"background": 0, "core": 1, "rim": 2}
    images = sorted(path.name for path in (out / "imagesTr").iterdir())
    assert images[:2] == ["synth0001_0000.nii.gz", "synth0001_0001.nii.gz"]
    assert set(np.unique(read(out / "labelsTr" / "synth0001.nii.gz"))) <= {0, 1, 2}
