"""A training on the public anatomy library, from plan to signed release, at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.anatomy.cohorts import SPACING, add_people, picture
from tests.anatomy.conftest import person, write
from tests.anatomy.phantoms import MEANS
from tests.cli.alarms import nearly_passed
from tests.cli.conftest import QUICK, Clinic

SCHEME = "1=body,2=left core,3=right core,4=lens"
FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1")


def _patients(folder: Path, count: int = 8, first: int = 40) -> Path:
    for seed in range(count):
        labels, affine = person(first + seed, SPACING)
        write(folder / "images" / f"s{seed}.nii.gz", picture(labels, seed), affine)
        write(folder / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Clinic:
    """A tenant with patients, in a vault whose library covers them."""
    made = Clinic(tmp_path_factory.mktemp("library"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    add_people(made.root / "vault", made.root / "public")
    folder = _patients(made.root / "hospital")
    made(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "hearts"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    return made


@pytest.fixture(scope="module")
def trained(library) -> Clinic:
    library("train", "-c", QUICK, "-d", "hearts", "--name", "first", *FEW)
    return library


def test_the_plan_names_the_entry_and_gives_it_the_budget(library):
    planned = library("plan", "-c", QUICK, "-d", "hearts").json
    assert planned["anatomy"] == "people"
    names = {one["name"].removesuffix(".centre") for one in planned["stages"]}
    assert names == {"anatomy-means", "anatomy-spreads"}
    without = library("plan", "-c", QUICK, "-d", "hearts", "--set", "anatomy.library=none").json
    assert without["anatomy"] is None
    assert without["digest"] != planned["digest"]


def test_drawn_volumes_have_the_librarys_grid_and_the_declared_labels(trained, tmp_path):
    drawn = trained("generate", "first", "-n", 2, "-o", tmp_path / "two", "--seed", 4).json
    image = nib.load(drawn["files"][0])
    labels = np.asarray(nib.load(drawn["files"][1]).dataobj)
    # The lens is of few voxels, and noise on eight patients makes it vanish now and then.
    assert {0, 1, 2, 3} <= set(np.unique(labels)) <= {0, 1, 2, 3, 4}
    np.testing.assert_allclose(image.header.get_zooms(), SPACING, rtol=1e-3)
    again = trained("generate", "first", "-n", 2, "-o", tmp_path / "again", "--seed", 4).json
    for one, other in zip(drawn["files"], again["files"], strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_any_voxel_size_can_be_asked_for(trained, tmp_path):
    drawn = trained("generate", "first", "-n", 1, "-o", tmp_path / "one", "--spacing", "4").json
    np.testing.assert_allclose(nib.load(drawn["files"][0]).header.get_zooms(), 4.0, rtol=1e-3)
    for wrong in ("0", "nan", "1,2", "thick"):
        out = tmp_path / "no"
        refused = trained("generate", "first", "-n", 1, "-o", out, "--spacing", wrong, ok=False)
        assert (refused.code, out.exists() and any(out.iterdir())) == (2, False), wrong
        assert "--spacing" in refused.err


def test_pictures_of_given_labels_have_them_exactly(trained, tmp_path):
    labels, affine = person(60, (4.0, 5.0, 6.0))
    write(tmp_path / "mask.nii.gz", labels.astype(np.uint8), affine)
    words = ("generate", "first", "-n", 2, "--seed", 4, "--from-labels", tmp_path / "mask.nii.gz")
    drawn = trained(*words, "-o", tmp_path / "two").json
    images = [nib.load(file) for file in drawn["files"] if "dseg" not in file]
    for file in drawn["files"]:
        assert nib.load(file).shape == labels.shape
        np.testing.assert_allclose(nib.load(file).affine, affine, atol=1e-4)
        if "dseg" in file:
            np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), labels)
    one, other = (image.get_fdata() for image in images)
    assert not np.array_equal(one, other)


def test_given_labels_look_as_they_do_in_the_library(library, tmp_path):
    """Of a model without patients: the noise on eight of them would decide otherwise."""
    named = ("--set", "anatomy.library=people", "--set", "pretrain.steps=1")
    library("pretrain", "-c", QUICK, "--name", "nobody", *named)
    labels, affine = person(60, (4.0, 5.0, 6.0))
    write(tmp_path / "mask.nii.gz", labels.astype(np.uint8), affine)
    words = ("generate", "nobody", "-n", 2, "--seed", 4, "--from-labels", tmp_path / "mask.nii.gz")
    drawn = library(*words, "-o", tmp_path / "two").json
    for file in drawn["files"]:
        if "dseg" not in file:
            image = nib.load(file).get_fdata()
            # Of the lens, 9 mm in voxels of 6 x 6 x 9 mm, one person or another shows no whole
            # voxel; who is drawn depends on how the library was aligned, and so on the processor.
            greys = np.array([np.median(image[labels == label]) for label in range(4)])
            assert np.corrcoef(greys, MEANS[:4])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("numbers", "more", "code", "named"),
    [
        ([0, 9], (), 3, "9"),
        ([0], (), 3, "no label"),
        ([0, 1], ("--spacing", "4"), 2, "--spacing"),
    ],
)
def test_labels_that_cannot_be_drawn_are_refused(trained, tmp_path, numbers, more, code, named):
    labels = np.zeros((20, 20, 12), np.uint8)
    labels[6:14, 6:14, 4:8] = numbers[-1]
    write(tmp_path / "mask.nii.gz", labels, np.diag([6.0, 6.0, 9.0, 1.0]))
    words = ("generate", "first", "-n", 1, "-o", tmp_path / "out", *more)
    refused = trained(*words, "--from-labels", tmp_path / "mask.nii.gz", ok=False)
    assert refused.code == code
    assert named in refused.err
    assert not (tmp_path / "out").exists()


def test_a_model_that_draws_people_does_not_go_into_a_bundle(trained, tmp_path):
    words = ("model", "export", "first", "-o", tmp_path / "out", "--format", "monai-bundle")
    refused = trained(*words, ok=False)
    assert refused.code == 2
    assert "draws from an anatomy" in refused.err
    assert not any((tmp_path / "out").iterdir())


def test_a_release_names_the_public_people_and_verifies(trained, tmp_path):
    made = trained("release", "create", "first", "-n", 2, "-o", tmp_path / "out").json
    assert made["passed"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["model"]["anatomy"]["licence"] == "free"
    assert any("3 public people (made up; licence: free" in limit for limit in card["known_limits"])
    assert card["data"]["grid"] == list(
        nib.load(next((tmp_path / "out").rglob("*T1w.nii.gz"))).shape
    )
    assert trained("release", "verify", tmp_path / "out").json["unchanged"]


def test_public_images_of_an_unknown_licence_are_not_passed_on(trained, tmp_path):
    words = ("release", "create", "first", "-n", 1, "-o", tmp_path / "out", "--with-public")
    refused = trained(*words, ok=False)
    assert refused.code == 2
    assert "the anatomy entry people has the licence 'free'" in refused.err
    assert not (tmp_path / "out").exists()


def test_an_evaluation_shows_what_public_people_give_without_a_patient(trained):
    words = ("evaluate", "first", "--against", "hearts", "-n", "2", "--no-downstream")
    found = trained(*words).json
    assert set(found["baselines"]) == {"public people drawn", "public images directly"}
    for one in found["baselines"].values():
        assert one["texture_frechet"]["n_real"] == 8
        assert one["texture_frechet"]["release_ok"] is False
        assert "reconstruction_psnr" not in one
    direct = found["baselines"]["public images directly"]["texture_frechet"]
    assert direct["n_synthetic"] == 3
    alone = trained(*words, "--no-baselines").json
    assert alone["baselines"] == {}
    assert alone["metrics"] == found["metrics"]


def test_public_people_alone_cost_nothing(trained, tmp_path):
    before = trained("budget").json["spent"]
    named = ("--set", "anatomy.library=people")
    made = trained("pretrain", "-c", QUICK, "--name", "public", *named, "--set", "pretrain.steps=1")
    assert made.json["private"] is False
    drawn = trained("generate", "public", "-n", 4, "-o", tmp_path / "some").json
    masks = [np.asarray(nib.load(path).dataobj) for path in drawn["files"][1::2]]
    # The lens of one person or another fills no whole voxel.
    assert {1, 2, 3, 4} == set(np.unique(masks)) - {0}
    assert trained("budget").json["spent"] == before


def test_two_entries_that_cover_the_cohort_must_be_chosen_from(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("second")
    add_people(library.root / "vault", folder, count=1, name="others")
    try:
        refused = library("plan", "-c", QUICK, "-d", "hearts", ok=False)
        assert refused.code == 2
        assert "others, people" in refused.err
        named = ("--set", "anatomy.library=others")
        assert library("plan", "-c", QUICK, "-d", "hearts", *named).json["anatomy"] == "others"
    finally:
        for path in (library.root / "vault" / "anatomy" / "others").iterdir():
            path.unlink()
        (library.root / "vault" / "anatomy" / "others").rmdir()


def test_a_model_whose_entry_is_gone_says_which(trained, tmp_path):
    entry = trained.root / "vault" / "anatomy" / "people"
    entry.rename(trained.root / "elsewhere")
    try:
        refused = trained("generate", "first", "-n", 1, "-o", tmp_path / "no", ok=False)
    finally:
        (trained.root / "elsewhere").rename(entry)
    assert refused.code == 7
    assert "made up" in refused.err


@pytest.mark.parametrize(
    ("given", "code", "word"),
    [
        (("anatomy.library=nobody",), 7, "nobody"),
        (("anatomy.library=none", "anatomy.share=1", "atlas.share=0"), 2, "anatomy.share"),
        (("anatomy.labels={'lens': ['moon']}",), 2, "moon"),
    ],
)
def test_refusals(library, given, code, word):
    more = ("finetune.share=0", "prior.share=0") if "anatomy.share=1" in given else ()
    words = [part for one in (*given, *more) for part in ("--set", one)]
    refused = library("plan", "-c", QUICK, "-d", "hearts", *words, ok=False)
    assert refused.code == code, refused.err
    assert word in refused.err


def test_an_entry_that_shows_a_patient_is_refused_before_the_debit(clinic, tmp_path):
    folder = _patients(tmp_path / "public", 2)
    given = ("--licence", "free", "--source", "made up", "--label-scheme", SCHEME)
    clinic("anatomy", "add", folder, "--name", "people", *given)
    clinic(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "hearts"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    refused = clinic("train", "-c", QUICK, "-d", "hearts", "--name", "first", *FEW, ok=False)
    assert refused.code == 2
    assert "ingested patient" in refused.err
    assert clinic("budget").json["spent"] == 0
    # Nor are they public people of whom a model could be made without a budget.
    named = ("--set", "anatomy.library=people", "--set", "pretrain.steps=1")
    refused = clinic("pretrain", "-c", QUICK, "--name", "public", *named, ok=False)
    assert refused.code == 2
    assert "ingested patient" in refused.err
    assert clinic("model", "list").json["models"] == []


def test_an_audit_attacks_the_released_numbers(trained, tmp_path):
    folder = _patients(tmp_path / "more", 16, first=60)
    trained(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "others"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    found = trained("audit", "first", "--against", "others", "-n", 2).json
    assert all(nearly_passed(one) for one in found["findings"]), found["findings"]
    assert not any("anatomy.means" in one for one in found["not_attacked"])
    assert any("noise" in one["name"] for one in found["findings"])
