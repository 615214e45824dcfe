"""CT and PET of one patient on one grid: each channel in its own unit, from ingest to a release."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from medvae import Release
from tests.cli.conftest import Clinic

SIZE = (16, 16, 8)
PATIENTS = 48
BOTH = ("--channels", "ct,pet", "--modality", "ct,pet")
GRID = ("-c", "contrasts", "-d", "d", "--set", "data.size=[16,16,8]",
        "--set", "data.spacing=[4,4,6]")  # fmt: skip
OURS = (*GRID, "--set", "data.modality=ct", "--set", "data.windows={pet: [0, 10]}")


def save_cohort(folder: Path) -> Path:
    """A body of water that takes some tracer up, more of it where it is denser."""
    random = np.random.default_rng(5)
    folder.mkdir(parents=True)
    axis = np.linspace(-1, 1, 16)
    for index in range(PATIENTS):
        at, size = random.normal(0, 0.1, 2), random.uniform(0.6, 0.9)
        far = np.hypot(*np.meshgrid(axis - at[0], axis - at[1]))[..., None]
        body = np.clip(6 * (size - far), 0, 1)
        waves = ndimage.gaussian_filter(random.normal(size=SIZE), (3, 3, 2))
        dense = waves / waves.std() * body
        ct = -1000 + body * 1040 + 200 * dense
        pet = np.clip(body * (2 + 0.8 * dense), 0, None)
        for name, voxels in (("ct", ct.round().astype(np.int16)), ("pet", pet.astype(np.float32))):
            image = nibabel.Nifti1Image(voxels, np.diag([4.0, 4.0, 6.0, 1.0]))
            image.to_filename(folder / f"p{index:02d}_{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp("ward"))
    made("tenant", "create", "ward", "--recovery-out", made.root / "spare")
    source = save_cohort(made.root / "source")
    taken = made("ingest", source, "-d", "d", "--files-are-patients", *BOTH).json
    assert (taken["volumes"], taken["quarantined"]) == (PATIENTS, [])
    made("train", *OURS, "--name", "m", "--epsilon", "20")
    return made


def values(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).get_fdata())


def test_a_data_set_names_the_modalities_of_its_channels(ward: Clinic) -> None:
    shown = ward("dataset", "show", "d").json
    assert (shown["modality"], shown["channels"]) == (["ct", "pet"], ["ct", "pet"])
    rows = ward("ingest", ward.root / "source", "-d", "x", "--files-are-patients", "--dry-run",
                *BOTH).json["rows"]  # fmt: skip
    assert {row["modality"] for row in rows} == {"ct, pet"}


def test_a_unit_that_nobody_said_is_not_invented(ward: Clinic) -> None:
    for words, code, expected in (
        ((), 3, "does not say whether its intensities are SUV"),
        (("--modality", "pet,ct"), 3, "cannot be SUV"),
        (("--modality", "ct"), 3, "channel pet cannot be used"),
        (("--modality", "ct,pet,mri"), 2, "--channels names 2"),
        (("--modality", "ct,xray"), 2, "cannot be channels"),
    ):
        refused = ward("ingest", ward.root / "source", "-d", "x", "--files-are-patients",
                       "--channels", "ct,pet", *words, ok=False)  # fmt: skip
        assert (refused.code, expected in refused.err) == (code, True), refused.err


def test_a_configuration_of_others_is_refused(ward: Clinic) -> None:
    for words, expected in (
        (("--set", "data.modalities=[ct,mri]", "--set", "data.channels=[ct,pet]",
          "--set", "data.windows={}"), "leave data.modalities out"),
        (("--set", "data.windows={mr: [0, 5]}"), "data.windows names mr"),
        (("--set", "data.windows={pet: [5, 0]}"), "data.windows of pet"),
    ):  # fmt: skip
        refused = ward("plan", *OURS, *words, ok=False)
        assert (refused.code, expected in refused.err) == (2, True), refused.err
    refused = ward("train", *GRID, "--name", "n", "--epsilon", "1", ok=False)
    assert "holds ct, pet, the configuration expects mri" in refused.err
    assert ward("budget", "-d", "d").json["spent"] <= 20


def test_a_release_holds_each_channel_in_its_unit(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    assert ward("release", "create", "m", "-n", "4", "-o", out).json["passed"] is True
    assert ward("release", "verify", out).json["unchanged"] is True
    card = json.loads((out / "card.json").read_text())["data"]
    assert (card["modality"], card["modalities"]) == ("ct", ["ct", "pet"])
    assert card["channel_units"] == {"ct": "HU", "pet": "SUV by body weight (g/ml)"}
    for name, unit, low, high in (("ct", "HU", -1000, 1000), ("pet", "g/mL", 0, 10)):
        stem = out / "sub-synth0001" / name / f"sub-synth0001_{name}"
        image = nibabel.load(f"{stem}.nii.gz")
        assert (image.header["cal_min"], image.header["cal_max"]) == (low, high)
        assert image.get_data_dtype() == np.int16
        assert low <= image.get_fdata().min() < image.get_fdata().max() <= high
        assert json.loads(Path(f"{stem}.json").read_text())["Units"] == unit
    # Dense tissue takes tracer up: the channels were drawn together.
    item = Release.open(out).dataset()[0]
    ct, pet = np.asarray(item["image"])
    assert np.corrcoef(ct.ravel(), pet.ravel())[0, 1] > 0.3
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    assert other("ingest", out, "-d", "d", *BOTH).json["volumes"] == 4
    report = (out / "report.html").read_text()
    assert "pet: SUV by body weight" in report
    assert "Synthetic CT and PET volumes" in report


def test_dicom_is_one_series_a_channel_of_its_own_class(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    ward("release", "create", "m", "-n", "2", "-o", out, "--format", "dicom")
    heads = {}
    for name in ("ct", "pet"):
        files = sorted((out / "SYNTH0001" / name).iterdir())
        assert len(files) == SIZE[2]
        heads[name] = pydicom.dcmread(files[0])
        if shutil.which("dciodvfy"):
            done = subprocess.run(["dciodvfy", str(files[0])], capture_output=True, check=False)
            assert b"Error" not in done.stdout + done.stderr, done.stderr
    ct, pet = heads.values()
    assert (ct.Modality, ct.RescaleType, ct.RescaleSlope) == ("CT", "HU", 1)
    assert (pet.Modality, pet.Units, pet.WindowWidth) == ("PT", "GML", 10)
    assert ct.StudyInstanceUID == pet.StudyInstanceUID
    assert ct.FrameOfReferenceUID == pet.FrameOfReferenceUID
    assert ct.SeriesInstanceUID != pet.SeriesInstanceUID
    # DICOM says itself what each series is.
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    taken = other("ingest", out, "-d", "d", "--channels", "ct,pet").json
    assert (taken["volumes"], taken["subjects"]) == (2, 2)
    assert other("dataset", "show", "d").json["modality"] == ["ct", "pet"]
    swapped = other("ingest", out, "-d", "e", "--channels", "pet,ct", "--modality", "ct,pet",
                    ok=False)  # fmt: skip
    assert "it is pet, and --modality says ct" in swapped.err


def test_an_evaluation_has_a_distance_in_each_unit(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    ward("generate", "m", "-n", "6", "-o", out, "--seed", "5")
    assert nibabel.load(out / "synth0001_ct.nii.gz").get_data_dtype() == np.int16
    assert values(out / "synth0001_pet.nii.gz").max() <= 10
    for what in ("m", out):
        # Of a folder all are taken.
        words = ("evaluate", what, "--against", "d", "--no-downstream", "-n", "6")
        metrics = ward(*words).json["metrics"]
        assert 0 < metrics["pet_suv_wasserstein"]["value"] < 2
        assert 1 < metrics["ct_hu_wasserstein"]["value"] < 400
        assert set(metrics["channel_correlation"]["pairs"]) == {"ct pet"}
