"""A public template at the command line: planned, told by name alone, and kept for a run."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae import train as stage
from tests.cli.conftest import DECLARED, QUICK, Clinic
from tests.conftest import phantom


@pytest.fixture
def template(tmp_path: Path) -> tuple[str, ...]:
    """The words that name a labelled public phantom in a wider view."""
    image, mask = phantom(np.random.default_rng(1), (24, 32, 24))
    for name, voxels in (("image", image), ("labels", (mask > 0).astype(np.uint8))):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii.gz")
    return (
        *("--set", f"atlas.public={tmp_path / 'image.nii.gz'}"),
        *("--set", f"atlas.public_labels={tmp_path / 'labels.nii.gz'}"),
    )


def _ingested(clinic: Clinic, scans: Path) -> Clinic:
    clinic("ingest", scans, "-d", "phantoms", *DECLARED)
    return clinic


def test_a_plan_has_its_stages_and_its_digest(clinic, scans, template, tmp_path):
    asked = ("plan", "-c", QUICK, "-d", "phantoms")
    _ingested(clinic, scans)
    planned = clinic(*asked, *template).json
    names = [one["name"] for one in planned["stages"]]
    assert names[:2] == ["atlas-moments", "atlas-mean"]
    nib.save(nib.Nifti1Image(np.ones((24, 32, 24)), np.eye(4)), tmp_path / "labels.nii.gz")
    changed = clinic(*asked, *template).json
    assert changed["digest"] != planned["digest"]
    assert changed["epsilon"] == planned["epsilon"]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (("public=none.nii",), "none.nii"),
        (("public_labels=one.nii",), "public_labels"),
        (("public={folder}/text.nii",), "cannot be read"),
        (("public={folder}/image.nii.gz", "public_labels={folder}/small.nii"), "own grid"),
        (("public={folder}/image.nii.gz", f"public_digest={'ab' * 32}"), "not the files"),
        (("public=mni152", "data.modality=ct"), "for MRI"),
    ],
)
@pytest.mark.usefixtures("template")
def test_what_is_wrong_with_it_is_said_before_anything_is_spent(
    clinic, scans, tmp_path, given, word
):
    _ingested(clinic, scans)
    (tmp_path / "text.nii").write_text("no image")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4)), np.eye(4)), tmp_path / "small.nii")
    keys = [one if one.startswith("data.") else f"atlas.{one}" for one in given]
    words = [part for key in keys for part in ("--set", key.format(folder=tmp_path))]
    said = clinic("train", "-c", QUICK, "-d", "phantoms", "--name", "run", *words, ok=False)
    assert said.code == 2
    assert word in said.err
    assert said.err.count("\n") == 1
    assert clinic("budget").json["spent"] == 0


def test_a_run_goes_on_only_with_the_template_that_it_began_with(
    clinic, scans, template, tmp_path, monkeypatch
):
    asked = ("train", "-c", QUICK, "-d", "phantoms", "--name", "run", *template)
    _ingested(clinic, scans)
    seen = []

    def stopped(cfg, *_, **__):
        seen.append(cfg)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train", stopped)
    clinic(*asked, ok=False)
    kept = (tmp_path / "labels.nii.gz").read_bytes()
    nib.save(nib.Nifti1Image(np.ones((24, 32, 24)), np.eye(4)), tmp_path / "labels.nii.gz")
    said = clinic(*asked, "--resume", ok=False)
    assert said.code == 2
    assert "put them back" in said.err
    (tmp_path / "labels.nii.gz").write_bytes(kept)
    # Where it lies does not matter.
    (tmp_path / "moved").mkdir()
    for name in ("image.nii.gz", "labels.nii.gz"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    moved = [str(word).replace(str(tmp_path), str(tmp_path / "moved")) for word in asked]
    clinic(*moved, "--resume", ok=False)
    assert len(seen) == 2
    assert seen[0].atlas.public_digest == seen[1].atlas.public_digest != ""


def test_a_run_goes_on_as_what_auto_was_when_it_began(clinic, scans, monkeypatch):
    asked = ("train", "-c", QUICK, "-d", "phantoms", "--name", "run")
    _ingested(clinic, scans)
    seen = []

    def stopped(cfg, *_, **__):
        seen.append(cfg.prior.kind)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train", stopped)
    clinic(*asked, "--set", "prior.kind=gaussian", ok=False)
    clinic(*asked, "--resume", ok=False)
    assert seen == ["gaussian", "gaussian"]
    said = clinic(*asked, "--resume", "--set", "prior.kind=structure", ok=False)
    assert said.code == 2
    assert "another prior.kind" in said.err


def test_a_model_tells_the_file_by_name_and_digest_and_not_where_it_lies(
    clinic, scans, template, tmp_path
):
    _ingested(clinic, scans)
    clinic("train", "-c", QUICK, "-d", "phantoms", "--name", "run", *template)
    # All is done, so the file is needed no more; another configuration is still another.
    (tmp_path / "labels.nii.gz").rename(tmp_path / "away.nii.gz")
    asked = ("train", "-c", QUICK, "-d", "phantoms", "--name", "run", "--resume")
    assert clinic(*asked, *template).json["model"] == "run"
    assert clinic(*asked, *template, "--set", "prior.rank=3", ok=False).code == 2
    assert clinic(*asked, ok=False).code == 2
    # Another file in its place is another template.
    nib.save(nib.Nifti1Image(np.ones((24, 32, 24)), np.eye(4)), tmp_path / "labels.nii.gz")
    said = clinic(*asked, *template, ok=False)
    assert said.code == 2
    assert "put them back" in said.err
    shown = clinic("model", "show", "run").out
    assert "labels.nii.gz" in shown
    assert str(tmp_path) not in shown
    clinic("release", "create", "run", "-n", "2", "-o", tmp_path / "out", "--body-part", "head")
    card = (tmp_path / "out" / "CARD.md").read_text()
    assert re.search(r"image\.nii\.gz and labels\.nii\.gz, SHA-256 [0-9a-f]{64}\)", card)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()
