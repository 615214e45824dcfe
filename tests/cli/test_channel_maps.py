"""Contrasts with masks and without a library, from plan to signed release, by command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import nibabel as nib
import numpy as np
import pytest

from medvae import Release
from medvae.api.results import PlanResult
from medvae.cli.verbs.plan import _anatomy
from tests.anatomy.cohorts import SPACING
from tests.anatomy.conftest import person, write
from tests.cli.conftest import QUICK, Clinic
from tests.cli.test_channel_anatomy import FEW, NAMES, SCHEME, save_patients

GRID = ("--set", "data.size=[24, 24, 16]", "--set", "data.spacing=[6, 6, 9]")
CONTRASTS = ("-c", "contrasts", "-d", "d", *GRID)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp("maps"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare",
         "--epsilon-limit", "50")  # fmt: skip
    made("ingest", save_patients(made.root / "hospital", 8), "-d", "d", "--modality", "mri",
         "--files-are-patients", "--channels", ",".join(NAMES),
         "--label-scheme", SCHEME)  # fmt: skip
    made("train", *CONTRASTS, *FEW, "--name", "m", "--epsilon", "50")
    return made


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_masks_and_a_spacing_make_maps_and_somebody_may_say_none(clinic):
    planned = clinic("plan", *CONTRASTS).json
    assert (planned["anatomy"], planned["shape_source"]) == ("patients", "masks")
    assert planned["channels"] == list(NAMES)
    # An entry of images would have one contrast.
    result = SimpleNamespace(
        shape_source="masks", anatomy="patients", anatomy_if_named=(), channels=NAMES
    )
    assert "Public label maps of the region" in " ".join(_anatomy(cast(PlanResult, result)))
    assert not planned["maps_if_spaced"]
    assert "anatomy-fine" in {stage["name"] for stage in planned["stages"]}
    none = clinic("plan", *CONTRASTS, "--set", "anatomy.library=none").json
    assert none["anatomy"] is None
    assert all(stage["name"].startswith("cosines") for stage in none["stages"])


def test_without_a_spacing_the_plan_says_what_lacks(clinic):
    words = ("-c", "contrasts", "-d", "d", "--set", "data.size=[16,16,8]")
    planned = clinic("plan", *words)
    assert planned.json["anatomy"] is None
    assert planned.json["maps_if_spaced"]
    none = clinic("plan", *words, "--set", "anatomy.library=none").json
    assert not none["maps_if_spaced"]
    named = clinic("plan", *words, "--set", "anatomy.library=patients", ok=False)
    assert named.code == 2
    assert "set data.spacing" in named.err


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("anatomy.labels={body: [torso]}", "the public library has no entry"),
        ("anatomy.contrasts={flair: t2}", "is drawn from its own mean maps; leave it out"),
    ],
)
def test_what_somebody_says_of_an_entry_is_not_passed_over(clinic, said, words):
    refused = clinic("plan", *CONTRASTS, "--set", said, ok=False)
    assert refused.code == 2
    assert words in refused.err


def test_without_channels_drawn_together_the_refusal_names_maps_too(clinic):
    refused = clinic("plan", "-c", QUICK, "-d", "d", ok=False)
    assert refused.code == 2
    assert "patients, which needs contrasts of MRI, masks and data.spacing" in refused.err


def test_of_contrasts_that_no_name_says_the_plan_names_the_entry_that_covers_them(tmp_path):
    made = Clinic(tmp_path)
    made("tenant", "create", "clinic", "--recovery-out", tmp_path / "spare")
    source = save_patients(tmp_path / "hospital")
    for path in source.rglob("*_flair.nii.gz"):
        path.rename(path.with_name(path.name.replace("flair", "stir")))
    made("ingest", source, "-d", "d", "--modality", "mri", "--files-are-patients",
         "--channels", "t1,stir", "--label-scheme", SCHEME)  # fmt: skip
    for seed in range(3):
        write(tmp_path / "public" / f"p{seed}.nii.gz", *person(20 + seed, SPACING))
    made("anatomy", "add", tmp_path / "public", "--name", "region", "--label-scheme", SCHEME,
         "--licence", "CC0", "--source", "made up")  # fmt: skip
    planned = made("plan", *CONTRASTS).json
    assert (planned["anatomy"], planned["anatomy_if_named"]) == ("patients", ["region"])
    result = SimpleNamespace(shape_source="masks", anatomy="patients", anatomy_if_named=("region",))
    said = " ".join(_anatomy(cast(PlanResult, result)))
    assert "No entry" not in said
    assert "name it (--set anatomy.library=region)" in said
    refused = made("plan", *CONTRASTS, "--set", "anatomy.library=region", ok=False)
    assert "contrast of MRI the channel stir is; set anatomy.contrasts" in refused.err


def test_draws_hold_every_contrast_on_one_label_map_and_a_seed_repeats_them(clinic, tmp_path):
    for name in ("one", "again"):
        clinic("generate", "m", "-n", "3", "-o", tmp_path / name, "--seed", "1")
    for index in range(1, 4):
        mask = read(tmp_path / "one" / f"synth{index:04d}_dseg.nii.gz")
        assert mask.shape == (24, 24, 16)
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 4}
        assert (mask > 0).any()
        for channel in NAMES:
            file = f"synth{index:04d}_{channel}.nii.gz"
            image = read(tmp_path / "one" / file)
            assert image.shape == mask.shape
            assert image.std() > 0
            np.testing.assert_array_equal(image, read(tmp_path / "again" / file))


def test_given_labels_are_drawn_in_every_contrast(clinic, tmp_path):
    labels, affine = person(90, SPACING)
    write(tmp_path / "given.nii.gz", labels.astype(np.uint8), affine)
    clinic("generate", "m", "-n", "1", "-o", tmp_path / "out", "--seed", "1",
           "--from-labels", tmp_path / "given.nii.gz")  # fmt: skip
    (mask,) = (tmp_path / "out").glob("*_dseg.nii.gz")
    np.testing.assert_array_equal(read(mask), labels)
    for name in NAMES:
        assert read(Path(str(mask).replace("dseg", name))).shape == labels.shape


def test_figures_audit_and_card_are_of_all_contrasts(clinic):
    words = ("evaluate", "m", "--against", "d", "-n", "6", "--no-downstream", "--no-baselines")
    pairs = clinic(*words).json["metrics"]["channel_correlation"]["pairs"]
    assert set(pairs) == {" ".join(NAMES)}
    attacked = json.dumps(clinic("audit", "m", "--against", "d", "-n", "4").json)
    assert "anatomy-fine" in attacked
    assert "correlation of t1 and flair within labels" not in attacked


def test_a_release_holds_every_contrast_and_its_masks(clinic, tmp_path):
    out = tmp_path / "release"
    created = clinic("release", "create", "m", "-n", "4", "-o", out)
    # Nobody said whose the files are.
    assert created.json["unit"] == "file"
    assert clinic("release", "verify", out).json["unchanged"] is True
    item = Release.open(out).dataset()[0]
    assert np.asarray(item["image"]).shape[0] == len(NAMES)
    card = json.loads((out / "card.json").read_text())
    assert any("Labelled organs" in limit for limit in card["known_limits"])
