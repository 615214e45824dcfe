"""Scans without masks, drawn from public label maps that the user names."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from tests.anatomy.cohorts import SPACING, picture
from tests.anatomy.conftest import person, write
from tests.anatomy.phantoms import MEANS
from tests.cli.conftest import QUICK, Clinic

SCHEME = "1=body,2=left core,3=right core,4=lens"
FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1")
NAMED = (*FEW, "--set", "anatomy.library=region")
PATIENTS = 8


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A tenant with eight patients without masks, and a library of three people's label maps."""
    made = Clinic(tmp_path_factory.mktemp("bare"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    for seed in range(PATIENTS):
        labels, affine = person(70 + seed, SPACING)
        image = picture(labels, seed, MEANS**0.6)
        write(made.root / "hospital" / f"s{seed}.nii.gz", image, affine)
    made("ingest", made.root / "hospital", "-d", "bare", "--modality", "mri",
         "--files-are-patients")  # fmt: skip
    for seed in range(3):
        write(made.root / "public" / f"p{seed}.nii.gz", *person(20 + seed, SPACING))
    made("anatomy", "add", made.root / "public", "--name", "region", "--label-scheme", SCHEME,
         "--licence", "CC0", "--source", "made up")  # fmt: skip
    return made


def test_nothing_is_chosen_for_scans_without_labels_and_the_plan_says_what_can_be_named(clinic):
    planned = clinic("plan", "-c", QUICK, "-d", "bare")
    assert (planned.json["anatomy"], planned.json["anatomy_if_named"]) == (None, ["region"])
    named = clinic("plan", "-c", QUICK, "-d", "bare", *NAMED)
    assert (named.json["anatomy"], named.json["anatomy_if_named"]) == ("region", [])


def test_volumes_are_pictures_alone_where_no_label_is_declared(clinic, tmp_path):
    clinic("train", "-c", QUICK, "-d", "bare", "--name", "m", "--epsilon", "5", *NAMED)
    clinic("generate", "m", "-n", "6", "-o", tmp_path / "drawn", "--seed", "1")
    paths = sorted((tmp_path / "drawn").glob("*.nii.gz"))
    assert len(paths) == 6
    assert "region" in json.dumps(clinic("model", "show", "m").json)
    labels, affine = person(90, SPACING)
    for name, given in (("some", labels), ("no", np.zeros_like(labels))):
        write(tmp_path / f"{name}.nii.gz", given.astype(np.uint8), affine)
        words = ("--from-labels", tmp_path / f"{name}.nii.gz", "-n", "1", "-o", tmp_path / "given")
        refused = clinic("generate", "m", *words, ok=False)
        assert refused.code == 3
        assert "the model was trained on scans without labels" in refused.err


def test_declared_without_any_mask_labels_are_drawn(clinic, tmp_path):
    clinic("dataset", "declare", "bare", "--label-scheme", "1=left core,2=right core")
    assert clinic("plan", "-c", QUICK, "-d", "bare").json["anatomy"] == "region"
    clinic("train", "-c", QUICK, "-d", "bare", "--name", "labelled", *FEW)
    clinic("generate", "labelled", "-n", "3", "-o", tmp_path / "drawn", "--seed", "1")
    for path in sorted((tmp_path / "drawn").glob("*_dseg.nii.gz")):
        labels = np.asarray(nib.load(path).dataobj)
        image = np.asarray(nib.load(str(path).replace("_dseg", "")).dataobj, np.float64)
        assert set(np.unique(labels)) == {0, 1, 2}
        assert image[labels > 0].mean() > image[labels == 0].mean()
