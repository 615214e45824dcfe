"""Contrasts of one patient as the channels of one volume, by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from medvae import Release
from tests.cli.conftest import Clinic

NAMES = ("t1", "t2", "flair")
SIZE = (16, 12, 8)
PATIENTS = 48


def save_cohort(folder: Path, patients: int = PATIENTS) -> Path:
    """Smooth heads in three contrasts; t2 is t1 turned over, flair something of its own."""
    random = np.random.default_rng(7)
    folder.mkdir(parents=True)
    rows = ["filename,subject"]
    for index in range(patients):
        smooth = ndimage.gaussian_filter(random.normal(size=(2, *SIZE)), (0, 3, 3, 2))
        smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
        noise = 0.05 * random.normal(size=(3, *SIZE))
        images = np.stack([smooth[0], -smooth[0], smooth[1]]) + noise
        for name, image, scale in zip(NAMES, images, (100, 1000, 10), strict=True):
            voxels = ((image + 5) * scale).astype(np.float32)
            file = f"p{index:02d}_{name}.nii.gz"
            nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(folder / file)
            rows.append(f"{file},person{index}")
    (folder / "subjects.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp("ward"))
    made("tenant", "create", "ward", "--recovery-out", made.root / "spare")
    source = save_cohort(made.root / "source")
    taken = made(
        "ingest", source, "-d", "cohort", "--modality", "mri", "--channels", ",".join(NAMES)
    ).json  # fmt: skip
    assert (taken["subjects"], taken["volumes"], taken["quarantined"]) == (PATIENTS, PATIENTS, [])
    return made


def test_a_data_set_shows_its_channels(ward: Clinic) -> None:
    assert ward("dataset", "show", "cohort").json["channels"] == list(NAMES)
    (listed,) = ward("dataset", "list").json["datasets"]
    assert listed["channels"] == list(NAMES)


def test_a_dry_run_lists_them(ward: Clinic) -> None:
    words = ("ingest", ward.root / "source", "-d", "x", "--modality", "mri", "--dry-run")
    found = ward(*words, "--channels", "flair,t1").json
    assert [row["channels"] for row in found["rows"]] == [["flair", "t1"]] * PATIENTS


def test_an_export_comes_back_as_the_same_cohort(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "export"
    ward("dataset", "export", "cohort", "-o", out)
    assert len(list(out.glob("*_t1.nii.gz"))) == len(list(out.glob("*_flair.nii.gz"))) == PATIENTS
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    words = ("ingest", out, "-d", "again", "--modality", "mri", "--channels", "t1,t2,flair")
    taken = other(*words).json
    assert (taken["subjects"], taken["volumes"], taken["unit"]) == (PATIENTS, PATIENTS, "patient")
    assert taken["quarantined"] == []
    back = tmp_path / "back"
    other("dataset", "export", "again", "-o", back)
    assert digests(back) == digests(out) == digests(ward.root / "source")


def digests(folder: Path) -> list[bytes]:
    """The voxels of a folder's images, whatever their names."""
    files = folder.glob("*.nii.gz")
    return sorted(nibabel.load(file).get_fdata().astype(np.float32).tobytes() for file in files)


SMALL = ("-c", "contrasts", "-d", "cohort", "--set", "data.size=[16,16,8]")


@pytest.fixture(scope="module")
def trained(ward: Clinic) -> Clinic:
    ward("train", *SMALL, "--name", "m", "--epsilon", "20")
    return ward


def test_channels_are_drawn_together_and_written_one_a_file(
    trained: Clinic, tmp_path: Path
) -> None:
    out = tmp_path / "drawn"
    trained("generate", "m", "-n", "16", "-o", out, "--seed", "5")
    names = [f"synth{n:04d}_{name}.nii.gz" for n in range(1, 17) for name in sorted(NAMES)]
    assert sorted(path.name for path in out.glob("*.nii.gz")) == names
    drawn = np.stack(
        [
            [nibabel.load(out / f"synth{n:04d}_{name}.nii.gz").get_fdata() for name in NAMES]
            for n in range(1, 17)
        ]
    )
    assert drawn.shape == (16, 3, 16, 16, 8)
    # Real t2 is t1 turned over, and flair has nothing to do with either.
    t1_t2, t1_flair = (
        np.mean([np.corrcoef(one[0].ravel(), one[other].ravel())[0, 1] for one in drawn])
        for other in (1, 2)
    )
    assert t1_t2 < -0.25
    assert t1_t2 < t1_flair - 0.25


def test_a_plan_names_the_channels_of_the_data_set_and_refuses_others(ward: Clinic) -> None:
    assert ward("plan", *SMALL).code == 0
    for words, expected in (
        (("--set", "data.channels=[t1,t2]"), "leave data.channels out"),
        (("--set", "data.channels=[t1]"), "two or more different names"),
        (("-c", "mri"), "use -c contrasts"),
    ):
        refused = ward("plan", *SMALL, *words, ok=False)
        assert (refused.code, expected in refused.err) == (2, True), refused.err


def test_volumes_with_other_channels_are_another_data_set(ward: Clinic, tmp_path: Path) -> None:
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    for names in ("t1,t2", "t2,flair"):
        other("ingest", ward.root / "source", "-d", "d", "--modality", "mri", "--channels", names)
    refused = other("plan", "-c", "contrasts", "-d", "d", ok=False)
    assert refused.code == 2
    assert "different channels (t1, t2 and t2, flair)" in refused.err


def test_a_model_and_its_files_are_evaluated_alike(trained: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    trained("generate", "m", "-n", "6", "-o", out, "--seed", "5")
    for what in ("m", out):
        metrics = trained("evaluate", what, "--against", "cohort", "-n", "6").json["metrics"]
        pairs = metrics["channel_correlation"]["pairs"]
        assert set(pairs) == {"t1 t2", "t1 flair", "t2 flair"}
        assert pairs["t1 t2"]["real"] < -0.8
        assert metrics["texture_frechet"]["value"] > 0


def test_dicom_holds_one_series_a_channel_in_one_study(trained: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    made = trained("release", "create", "m", "-n", "3", "-o", out, "--format", "dicom").json
    assert made["passed"] is True
    assert trained("release", "verify", out).json["unchanged"] is True
    heads = [pydicom.dcmread(path) for path in sorted(out.glob("SYNTH0001/*/*.dcm"))]
    assert len(heads) == 3 * SIZE[2]
    for keyword, count in (
        ("StudyInstanceUID", 1),
        ("FrameOfReferenceUID", 1),
        ("SeriesInstanceUID", 3),
        ("SOPInstanceUID", 3 * SIZE[2]),
    ):
        assert len({str(head[keyword].value) for head in heads}) == count
    named = {(head.SeriesNumber, head.SeriesDescription.split(" ")[0]) for head in heads}
    assert named == {(number, name) for number, name in enumerate(NAMES, 1)}
    assert all("SYNTHETIC DATA" in head.SeriesDescription for head in heads)
    # Another hospital reads the series back as the channels of one volume.
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    words = ("--modality", "mri", "--channels", ",".join(NAMES))
    taken = other("ingest", out, "-d", "d", *words).json
    assert (taken["volumes"], taken["subjects"]) == (3, 3)
    assert not [one for one in taken["quarantined"] if one["source"].endswith(".dcm")]
    assert other("dataset", "show", "d").json["channels"] == list(NAMES)
    trained("generate", "m", "-n", "1", "-o", tmp_path / "d", "--format", "dicom", "--seed", "5")
    files = sorted(path.relative_to(tmp_path / "d") for path in (tmp_path / "d").rglob("*.dcm"))
    assert {path.parts[:2] for path in files} == {("synth0001", name) for name in NAMES}
    trained("generate", "m", "-n", "1", "-o", tmp_path / "n", "--seed", "5")
    image = nibabel.load(tmp_path / "n" / "synth0001_flair.nii.gz").get_fdata()
    place = tmp_path / "d" / "synth0001" / "flair"
    slices = [pydicom.dcmread(path).pixel_array for path in sorted(place.iterdir())]
    written = np.stack(slices, axis=-1).swapaxes(0, 1)
    assert any(
        np.array_equal(turned, np.rint(image))
        for turned in (written, written[::-1], written[:, ::-1], written[::-1, ::-1])
    )


def test_a_release_holds_one_bids_file_a_channel(trained: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    made = trained("release", "create", "m", "-n", "4", "-o", out).json
    assert made["passed"] is True
    assert trained("release", "verify", out).json["unchanged"] is True
    folder = out / "sub-synth0001" / "anat"
    names = [f"sub-synth0001_{name}" for name in ("T1w", "T2w", "FLAIR")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{ending}" for name in names for ending in (".nii.gz", ".json")
    )
    card = json.loads((out / "card.json").read_text())
    assert card["data"]["channel_suffixes"] == {"t1": "T1w", "t2": "T2w", "flair": "FLAIR"}
    # The recipient's data set has the channels in that order, and ingest reads them back.
    item = Release.open(out).dataset()[0]
    expected = np.stack([nibabel.load(folder / f"{name}.nii.gz").get_fdata() for name in names])
    assert np.array_equal(np.asarray(item["image"]), expected)
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    taken = other("ingest", out, "-d", "d", "--modality", "mri", "--channels", ",".join(NAMES)).json
    assert taken["volumes"] == 4
    refused = trained("release", "create", "m", "-n", "2", "-o", tmp_path / "x", "--format",
                      "nnunet", ok=False)  # fmt: skip
    assert "nnU-Net trains on label maps" in refused.err


def test_a_contrast_is_known_as_a_scan_of_its_own_and_the_other_way_round(
    ward: Clinic, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in NAMES[:2]:
        shutil.copy(ward.root / "source" / f"p00_{name}.nii.gz", source)
    (source / "subjects.csv").write_text("filename,subject\np00_t1.nii.gz,other\n")
    refused = ward("ingest", source / "p00_t1.nii.gz", "-d", "x", "--modality", "mri",
                   "--subjects", source / "subjects.csv", ok=False)  # fmt: skip
    assert refused.code == 3
    assert "is stored as another patient's" in refused.err
    fresh = Clinic(tmp_path)
    fresh("tenant", "create", "fresh", "--recovery-out", tmp_path / "spare")
    fresh("ingest", source / "p00_t1.nii.gz", "-d", "x", "--modality", "mri", "--subjects",
          source / "subjects.csv")  # fmt: skip
    table = tmp_path / "table.csv"
    table.write_text("filename,subject\np00_t1.nii.gz,someone\np00_t2.nii.gz,someone\n")
    refused = fresh("ingest", source, "-d", "y", "--modality", "mri", "--channels", "t1,t2",
                    "--subjects", table, ok=False)  # fmt: skip
    assert refused.code == 3
    assert "is stored as another patient's" in refused.err
