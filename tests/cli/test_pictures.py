"""Pictures from a folder to a signed release, by the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medvae.api.results import Coefficients
from medvae.cli.verbs.plan import _coefficients
from tests.bundles import check_metadata, run
from tests.cli.alarms import nearly_passed
from tests.cli.conftest import Clinic

SMALL = ("--set", "data.size=[16,12,1]")


def save_cohort(folder: Path, colour: bool, count: int = 24) -> Path:
    """Smooth pictures of two classes; the second is brighter in the middle."""
    random = np.random.default_rng(3)
    (folder / "images").mkdir(parents=True)
    rows = ["filename,subject,class"]
    up, across = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 32), indexing="ij")
    for index in range(count):
        shape = (24, 32, 3) if colour else (24, 32)
        waves = random.normal(size=(4, 4)) @ np.stack([up, across, up * across, up**2]).reshape(
            4, -1
        )
        image = 120 + 20 * waves[0].reshape(24, 32) + 5 * random.normal(size=(24, 32))
        image += (index % 2) * 60 * np.exp(-4 * (up**2 + across**2))
        values = np.clip(image, 0, 255).astype(np.uint8)
        picture = np.broadcast_to(values[..., None], shape) if colour else values
        if colour:
            picture = picture * np.array([1.0, 0.8, 0.6])
        name = f"p{index:02d}.png"
        Image.fromarray(np.asarray(picture, np.uint8)).save(folder / "images" / name)
        rows.append(f"{name},person{index // 2},{index % 2}")
    (folder / "subjects.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module", params=["xray", "photo"])
def ward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp(request.param))
    made("tenant", "create", "ward", "--recovery-out", made.root / "spare")
    source = save_cohort(made.root / "source", request.param == "photo")
    taken = made(
        "ingest", source, "-d", "cohort", "--modality", request.param,
        "--class-column", "class", "--classes", "2",
    ).json  # fmt: skip
    assert (taken["subjects"], taken["volumes"], taken["quarantined"]) == (12, 24, [])
    assert any("names and dates" in note for note in taken["notes"])
    made("train", "-c", request.param, "-d", "cohort", "--name", "m", *SMALL)
    return made


def modality_of(ward: Clinic) -> str:
    return "photo" if "photo" in ward.root.name else "xray"


def test_a_plan_says_what_pictures_are_learnt_by(ward: Clinic) -> None:
    plan = ward("plan", "-c", modality_of(ward), "-d", "cohort", *SMALL).json
    names = [stage["name"] for stage in plan["stages"]]
    assert names[:-4] == (["cosines-marginals"] if modality_of(ward) == "xray" else [])
    assert names[-4:] == [
        "cosines-powers",
        "cosines-means",
        "cosines-seconds",
        "cosines-gains",
    ]
    kept = plan["coefficients"]
    assert 3 <= kept["covariances"] <= kept["means"] <= kept["total"]
    (line,) = _coefficients(Coefficients(**kept))
    assert line.startswith(f"Of {kept['total']:,} cosines of an image means of {kept['means']:,}")
    assert ward("budget", "-d", "cohort").json["spent"] == pytest.approx(8.0, rel=0.01)


def test_another_kind_of_configuration_is_refused_before_anything_is_spent(ward: Clinic) -> None:
    for words in (("-c", "mri"), ("-c", "photo" if modality_of(ward) == "xray" else "xray")):
        for verb in (("plan",), ("train", "--name", "x")):
            refused = ward(*verb, *words, "-d", "cohort", ok=False)
            assert refused.code == 2
            assert "the configuration expects" in refused.err
    refused = ward("train", "-c", modality_of(ward), "-d", "cohort", "--name", "x", "--init", "m",
                   ok=False)  # fmt: skip
    assert refused.code == 2
    assert "the cosine model has none" in refused.err
    assert ward("budget", "-d", "cohort").json["spent"] == pytest.approx(8.0, rel=0.01)


def test_draws_are_png_files_and_ingest_reads_them_again(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    ward("generate", "m", "-n", "4", "-o", out, "--seed", "5")
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", *[".png"] * 4]
    again = tmp_path / "again"
    ward("generate", "m", "-n", "4", "-o", again, "--seed", "5", "--format", "png")
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    taken = ward(
        "ingest", out, "-d", "drawn", "--modality", modality_of(ward), "--class-column", "class"
    ).json
    assert (taken["volumes"], taken["quarantined"]) == (4, [])
    for fmt, words in (("bids", "must be"), ("jpg", "must be")):
        refused = ward("generate", "m", "-n", "1", "-o", tmp_path / fmt, "--format", fmt, ok=False)
        assert (refused.code, words in refused.err) == (2, True)
    assert (
        ward("encode", "m", "-i", out / "synth0001.png", "-o", tmp_path / "c", ok=False).code == 2
    )


def test_a_bundle_of_monai_draws_the_same_pictures(ward: Clinic, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    done = ward("model", "export", "m", "-o", bundle, "--format", "monai-bundle").json
    assert done["format"] == "monai-bundle"
    told = check_metadata(bundle)
    assert told["differential_privacy"]["epsilon"] == pytest.approx(8.0, rel=0.01)
    ward("generate", "m", "-n", 4, "-o", tmp_path / "drawn", "--seed", 5)
    drawn = sorted((tmp_path / "drawn").glob("*.png"))
    made = run(bundle, seed=5, first=0, n=4)
    assert [path.name for path in made] == [path.name for path in drawn]
    for one, other in zip(made, drawn, strict=True):
        found, wanted = (np.asarray(Image.open(path), np.int16) for path in (one, other))
        np.testing.assert_allclose(found, wanted, atol=1)
        assert np.mean(found == wanted) > 0.99
        assert wanted.std() > 1


def test_a_release_verifies_and_is_evaluated_and_audited(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    # Among few pictures one class may be missing, and then no classification can be measured.
    made = ward("release", "create", "m", "-n", "24", "-o", out).json
    assert made["passed"] is True
    checked = ward("release", "verify", out, "--public-key", out / "signer.pem").json
    assert checked["valid"] is True
    assert len(list((out / "images").glob("*.png"))) == 24
    card = json.loads((out / "card.json").read_text())
    assert card["model"]["statistics"] == "cosines"
    assert any("slow waves" in limit for limit in card["known_limits"])
    refused = ward("release", "create", "m", "-n", "2", "-o", tmp_path / "b", "--format", "bids",
                   ok=False)  # fmt: skip
    assert (refused.code, "is not written as bids" in refused.err) == (2, True)
    for what in ("m", out):
        metrics = ward("evaluate", what, "--against", "cohort").json["metrics"]
        assert metrics["classification_auc"]["extractor"] == "medvae-thumbnail-1"
        assert metrics["texture_frechet"]["value"] > 0
    audit = ward("audit", "m").json
    found = {finding["name"]: finding for finding in audit["findings"]}
    assert set(found) == {"whole copies", "copied parts", "noise"}
    assert nearly_passed(found["noise"])
    assert nearly_passed(found["whole copies"])
    # Parts of a few pictures may be found to be alike; they are called what they are.
    copied = found["copied parts"]
    assert nearly_passed(copied) or "quarter of a picture" in copied["sentence"]


def test_an_export_is_png_files_that_ingest_takes_for_the_same_pictures(
    ward: Clinic, tmp_path: Path
) -> None:
    out = tmp_path / "export"
    ward("dataset", "export", "cohort", "-o", out)
    assert len(list(out.glob("*.png"))) == 24
    again = ward("ingest", out, "-d", "again", "--modality", modality_of(ward)).json
    assert (again["subjects"], again["volumes"], again["quarantined"]) == (12, 24, [])
    # The same pictures of the same people, whose accounts go on.
    spent = ward("budget", "-d", "cohort").json["spent"]
    assert ward("budget", "-d", "again").json["spent"] == pytest.approx(spent)


def test_pictures_of_another_data_set_are_told_from_volumes(ward: Clinic) -> None:
    shown = ward("dataset", "show", "cohort").json
    assert shown["volumes"] == 24
    refused = ward("pretrain", "-c", modality_of(ward), "--name", "p", ok=False)
    assert (refused.code, "the cosine model has none" in refused.err) == (2, True)


def test_a_release_of_radiographs_as_dicom(ward: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "release"
    words = ("release", "create", "m", "-n", "4", "-o", out, "--format", "dicom")
    if modality_of(ward) == "photo":
        refused = ward(*words, ok=False)
        assert (refused.code, "photo is not written as dicom" in refused.err) == (2, True)
        return
    assert ward(*words).json["passed"] is True
    assert ward("release", "verify", out).json["unchanged"] is True
    files = sorted(out.glob("SYNTH*/IM00001.dcm"))
    assert len(files) == 4
    heads = [pydicom.dcmread(path) for path in files]
    assert {head.SOPClassUID.name for head in heads} == {
        "Digital X-Ray Image Storage - For Presentation"
    }
    assert len({head.StudyInstanceUID for head in heads}) == 4
    assert all(head.PatientIdentityRemoved == "YES" for head in heads)
    if shutil.which("dciodvfy"):
        done = subprocess.run(["dciodvfy", str(files[0])], capture_output=True, check=False)
        assert b"DXImage" in done.stderr
        assert b"Error" not in done.stdout + done.stderr, done.stderr
    # Another hospital reads them back, pixel by pixel.
    drawn = tmp_path / "drawn"
    ward("generate", "m", "-n", "2", "-o", drawn, "--seed", "3", "--format", "dicom")
    ward("generate", "m", "-n", "2", "-o", tmp_path / "png", "--seed", "3")
    other = Clinic(tmp_path)
    other("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    taken = other("ingest", drawn, "-d", "d", "--modality", "xray").json
    assert (taken["volumes"], taken["subjects"], taken["unit"]) == (2, 2, "patient")
    other("dataset", "export", "d", "-o", tmp_path / "export")
    back, wanted = (
        sorted(np.asarray(Image.open(path), np.float64).tobytes() for path in folder.glob("*.png"))
        for folder in (tmp_path / "export", tmp_path / "png")
    )
    sizes = [Image.open(path).mode for path in (tmp_path / "export").glob("*.png")]
    if sizes and sizes[0] == "I;16":
        wanted = sorted(
            np.rint(np.asarray(Image.open(path), np.float64) * 257).tobytes()
            for path in (tmp_path / "png").glob("*.png")
        )
    assert back == wanted
