"""A training without public people, from plan to signed release, at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.anatomy.cohorts import SPACING, picture
from tests.anatomy.conftest import person, write
from tests.cli.conftest import QUICK, Clinic

SCHEME = "1=body,2=left core,3=right core,4=lens"
GRID = ("--set", "data.size=[24, 24, 16]", "--set", "data.spacing=[6, 6, 9]")
FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Clinic:
    """A tenant with eight patients and a model of their own maps."""
    made = Clinic(tmp_path_factory.mktemp("maps"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    folder = made.root / "hospital"
    for seed in range(8):
        labels, affine = person(70 + seed, SPACING)
        write(folder / "images" / f"s{seed}.nii.gz", picture(labels, seed), affine)
        write(folder / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
    made(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "hearts"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    made("train", "-c", QUICK, "-d", "hearts", "--name", "own", *GRID, *FEW)
    return made


def test_with_a_size_in_millimetres_and_labels_the_patients_own_maps_are_the_default(trained):
    planned = trained("plan", "-c", QUICK, "-d", "hearts", *GRID)
    assert planned.json["anatomy"] == "patients"
    names = [one["name"].removesuffix(".centre") for one in planned.json["stages"]]
    steps = ("coarse", "fine", "means", "spreads")
    wanted = [f"anatomy-{step}" for step in steps]
    assert list(dict.fromkeys(names)) == wanted
    other = ("--set", "atlas.public=mni152", "--set", "atlas.share=1", "--set", "prior.share=0")
    tuned = (*GRID, *other, "--set", "finetune.share=0")
    assert trained("plan", "-c", QUICK, "-d", "hearts", *tuned).json["anatomy"] is None
    # In voxels there is no box in millimetres: the atlas.
    assert trained("plan", "-c", QUICK, "-d", "hearts").json["anatomy"] is None


def test_asked_for_without_a_size_in_millimetres_it_says_what_to_set(trained):
    named = ("--set", "anatomy.library=patients")
    refused = trained("plan", "-c", QUICK, "-d", "hearts", *named, ok=False)
    assert refused.code == 2
    assert "data.spacing" in refused.err


def test_volumes_have_the_declared_grid_labels_and_any_voxel_size(trained, tmp_path):
    words = ("generate", "own", "-n", 1, "--seed", 4)
    drawn = trained(*words, "-o", tmp_path / "one").json
    image, labels = (nib.load(path) for path in drawn["files"][:2])
    assert image.shape == (24, 24, 16)
    np.testing.assert_allclose(image.header.get_zooms(), (6.0, 6.0, 9.0), rtol=1e-3)
    assert 0 < np.asarray(labels.dataobj).max() <= 4
    again = trained(*words, "-o", tmp_path / "again").json
    for one, other in zip(drawn["files"], again["files"], strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    fine = trained(*words, "-o", tmp_path / "fine", "--spacing", "3").json
    assert nib.load(fine["files"][0]).shape == (48, 48, 48)


def test_parts_of_a_set_are_what_one_run_writes(trained, tmp_path):
    words = ("generate", "own", "-n", 3, "--seed", 5)
    whole = trained(*words, "-o", tmp_path / "whole").json
    parts = [trained(*words, "-o", tmp_path / f"part{i}", "--shard", f"{i}/2").json for i in (1, 2)]
    assert [one["n"] for one in parts] == [2, 1]
    written = {Path(file).name: Path(file) for one in parts for file in one["files"]}
    assert sorted(written) == sorted(Path(file).name for file in whole["files"])
    for file in whole["files"]:
        assert written[Path(file).name].read_bytes() == Path(file).read_bytes()


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "1/4", "2", "1/2/3", "a/b", "-1/2"])
def test_a_part_that_is_none_is_refused_and_writes_nothing(trained, tmp_path, wrong):
    out = tmp_path / "no"
    words = ("generate", "own", "-n", 3, "-o", out, "--seed", 5)
    refused = trained(*words, f"--shard={wrong}", ok=False)
    assert refused.code == 2
    assert "--shard" in refused.err
    assert not out.exists()


def test_a_part_needs_the_seed_that_the_others_have(trained, tmp_path):
    words = ("generate", "own", "-n", 2, "-o", tmp_path / "no", "--shard", "1/2")
    refused = trained(*words, ok=False)
    assert refused.code == 2
    assert "--seed" in refused.err


def test_a_release_says_what_is_made_up_and_verifies(trained, tmp_path):
    made = trained("release", "create", "own", "-n", 2, "-o", tmp_path / "out").json
    assert made["passed"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert any("made-up structure" in limit for limit in card["known_limits"])
    assert not any("public people" in limit for limit in card["known_limits"])
    assert trained("release", "verify", tmp_path / "out").json["unchanged"]


def test_an_audit_attacks_the_released_maps_too(trained):
    found = trained("audit", "own", "--against", "hearts", "-n", 4).json
    words = json.dumps(found)
    assert "anatomy-coarse" in words
    assert "anatomy-fine" in words


def test_an_evaluation_has_no_public_row(trained):
    words = ("evaluate", "own", "--against", "hearts", "-n", "2", "--no-downstream")
    assert trained(*words).json["baselines"] == {}


def test_no_entry_can_be_called_what_the_configuration_means_something_else_by(trained, tmp_path):
    labels, affine = person(90, SPACING)
    write(tmp_path / "labels" / "a.nii.gz", labels.astype(np.uint8), affine)
    for name in ("patients", "none", "auto"):
        refused = trained(
            *("anatomy", "add", tmp_path / "labels", "--name", name),
            *("--licence", "free", "--source", "made up", "--label-scheme", SCHEME),
            ok=False,
        )
        assert refused.code == 2
        assert name in refused.err
