"""Contrasts of a patient drawn from public label maps: every verb, from ingest to a release."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae import Release
from tests.anatomy.cohorts import SPACING, picture
from tests.anatomy.conftest import person, write
from tests.cli.conftest import QUICK, Clinic

SCHEME = "1=body,2=left core,3=right core,4=lens"
NAMES = ("t1", "flair")
FEW = ("--set", "atlas.samples=4", "--set", "atlas.steps=1")
PATIENTS, EPSILON = 24, "50"
# Background, body, both cores, lens: cores are brighter than the body in t1, darker in flair.
GREYS = {"t1": (0.05, 0.5, 0.9, 0.9, 0.95), "flair": (0.05, 0.8, 0.3, 0.3, 0.1)}


def save_patients(folder: Path, count: int = PATIENTS) -> Path:
    for seed in range(count):
        labels, affine = person(70 + seed, SPACING)
        for name in NAMES:
            image = picture(labels, seed, np.array(GREYS[name]))
            write(folder / "images" / f"s{seed:02}_{name}.nii.gz", image, affine)
        write(folder / "labels" / f"s{seed:02}.nii.gz", labels.astype(np.uint8), affine)
    return folder


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    made = Clinic(tmp_path_factory.mktemp("contrasts"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare",
         "--epsilon-limit", EPSILON)  # fmt: skip
    made("ingest", save_patients(made.root / "hospital"), "-d", "d", "--modality", "mri",
         "--files-are-patients", "--channels", ",".join(NAMES),
         "--label-scheme", SCHEME)  # fmt: skip
    for seed in range(3):
        write(made.root / "public" / f"p{seed}.nii.gz", *person(20 + seed, SPACING))
    return made


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_without_an_entry_the_refusal_names_both_ways(clinic):
    refused = clinic("plan", "-c", QUICK, "-d", "d", ok=False)
    assert refused.code == 2
    assert "use -c contrasts" in refused.err
    assert "anatomy.library" in refused.err


@pytest.fixture(scope="module")
def model(clinic) -> Clinic:
    clinic("anatomy", "add", clinic.root / "public", "--name", "region", "--label-scheme", SCHEME,
           "--licence", "CC0", "--source", "made up")  # fmt: skip
    planned = clinic("plan", "-c", QUICK, "-d", "d").json
    assert (planned["anatomy"], planned["shape_source"]) == ("region", "public people")
    clinic("train", "-c", QUICK, "-d", "d", "--name", "m", "--epsilon", EPSILON, *FEW)
    return clinic


def test_contrasts_are_drawn_from_the_entry_that_covers_them_or_as_somebody_says(model):
    small = ("-c", "contrasts", "-d", "d", "--set", "data.size=[16,16,8]")
    for words in ((), ("--set", "anatomy.library=region")):
        planned = model("plan", *small, *words).json
        assert (planned["anatomy"], planned["anatomy_if_named"]) == ("region", [])
        assert not any(stage["name"].startswith("cosines") for stage in planned["stages"])
    planned = model("plan", *small, "--set", "anatomy.library=none").json
    assert (planned["anatomy"], planned["anatomy_if_named"]) == (None, ["region"])
    assert all(stage["name"].startswith("cosines") for stage in planned["stages"])


def test_draws_hold_every_contrast_and_one_label_map(model, tmp_path):
    model("generate", "m", "-n", "6", "-o", tmp_path / "drawn", "--seed", "1")
    greys: dict[tuple[str, int], list[float]] = {}
    for index in range(1, 7):
        stem = tmp_path / "drawn" / f"synth{index:04d}"
        mask = read(Path(f"{stem}_dseg.nii.gz"))
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 4}
        for name in NAMES:
            image = read(Path(f"{stem}_{name}.nii.gz")).astype(float)
            assert image.shape == mask.shape
            scale = np.percentile(image, 99)
            for label in np.unique(mask[mask > 0]):
                own = float(np.median(image[mask == label])) / scale
                greys.setdefault((name, label), []).append(own)
    mean = {key: float(np.mean(values)) for key, values in greys.items()}
    for core in (2, 3):
        assert mean["t1", core] > mean["t1", 1] + 0.03
        assert mean["flair", core] < mean["flair", 1] - 0.03


def test_the_same_seed_gives_the_same_voxels_in_any_shard(model, tmp_path):
    for name, words in (("whole", ()), ("half", ("--shard", "2/2"))):
        model("generate", "m", "-n", "2", "-o", tmp_path / name, "--seed", "4", *words)
    last = "synth0002_flair.nii.gz"
    (other,) = (tmp_path / "half").rglob(last)
    np.testing.assert_array_equal(read(tmp_path / "whole" / last), read(other))


def test_given_labels_are_drawn_in_every_contrast(model, tmp_path):
    labels, affine = person(90, SPACING)
    write(tmp_path / "given.nii.gz", labels.astype(np.uint8), affine)
    model("generate", "m", "-n", "1", "-o", tmp_path / "out", "--seed", "1",
          "--from-labels", tmp_path / "given.nii.gz")  # fmt: skip
    (mask,) = (tmp_path / "out").glob("*_dseg.nii.gz")
    np.testing.assert_array_equal(read(mask), labels)
    for name in NAMES:
        assert read(Path(str(mask).replace("dseg", name))).shape == labels.shape


def test_figures_audit_and_card_are_of_all_contrasts(model):
    words = ("evaluate", "m", "--against", "d", "-n", "6", "--no-downstream", "--no-baselines")
    metrics = model(*words).json["metrics"]
    assert set(metrics["channel_correlation"]["pairs"]) == {"t1 flair"}
    shown = json.dumps(model("model", "show", "m").json)
    assert "region" in shown
    attacked = model("audit", "m", "-n", "4").json
    assert attacked["attacks"]["run"]


@pytest.mark.parametrize("fmt", ["bids", "nnunet"])
def test_a_release_holds_every_contrast(model, tmp_path, fmt):
    out = tmp_path / "release"
    model("release", "create", "m", "-n", "4", "-o", out, "--format", fmt)
    assert model("release", "verify", out).json["unchanged"] is True
    item = Release.open(out).dataset()[0]
    assert np.asarray(item["image"]).shape[0] == len(NAMES)


@pytest.mark.parametrize("channels", [(), ("--set", "data.channels=[t1,flair]")])
def test_public_people_are_drawn_without_any_patient(model, tmp_path, channels):
    """Of whom nothing was released, so that all of a textbook's doubt is drawn."""
    name = f"public{len(channels)}"
    grid = ("--set", "data.size=[32,32,16]", "--set", "data.spacing=[6,6,9]")
    model("pretrain", "-c", QUICK, "--name", name, "--set", "anatomy.library=region", *grid,
          *channels, "--set", "pretrain.steps=1")  # fmt: skip
    model("generate", name, "-n", "2", "-o", tmp_path / "drawn", "--seed", "1")
    images = sorted((tmp_path / "drawn").glob("*.nii.gz"))
    # A label map, and a file a contrast, each.
    assert len(images) == 2 * (1 + (len(NAMES) if channels else 1))
    assert all(read(path).std() > 0 for path in images)


def test_dp_sgd_on_channels_is_refused_before_anything_is_spent(model):
    """Its network takes one image; the anatomy would have been paid for by then."""
    parts = ("anatomy.share=0.8", "finetune.share=0.2", "atlas.share=0", "prior.share=0")
    sets = [word for part in parts for word in ("--set", part)]
    spent = model("budget").json["spent"]
    for words in (("plan",), ("train", "--name", "tuned", "--epsilon", "1")):
        refused = model(words[0], "-c", QUICK, "-d", "d", *words[1:], *sets, ok=False)
        assert refused.code == 2
        assert "set finetune.share to 0" in refused.err
    assert model("budget").json["spent"] == spent


def test_what_somebody_says_of_contrasts_or_labels_is_not_passed_over(model):
    """A slip of the pen would have drawn cosines."""
    small = ("-c", "contrasts", "-d", "d", "--set", "data.size=[16,16,8]")
    refused = model("plan", *small, "--set", "anatomy.contrasts={flaire: t2}", ok=False)
    assert refused.code == 2
    assert "names flaire, and the data set has t1, flair" in refused.err


def test_a_network_without_an_anatomy_has_no_channels(model):
    contrasts = ("--set", "data.channels=[t1,flair]", "--set", "pretrain.steps=1")
    refused = model("pretrain", "-c", QUICK, "--name", "alone", *contrasts, ok=False)
    assert refused.code == 2
    assert "leave data.channels out, or name an entry" in refused.err


def test_a_contrast_that_no_name_says_is_asked_for(model):
    """Before anything is spent."""
    source = model.root / "other"
    for path in (model.root / "hospital").rglob("*.nii.gz"):
        target = source / path.parent.name / path.name.replace("flair", "stir")
        target.parent.mkdir(parents=True, exist_ok=True)
        voxels = nib.load(path)
        # Another person's file: the same scan may not be ingested twice.
        data = np.roll(np.asarray(voxels.dataobj), 2, axis=0)
        nib.save(nib.Nifti1Image(data, voxels.affine), target)
    model("ingest", source, "-d", "stir", "--modality", "mri", "--files-are-patients",
          "--channels", "t1,stir", "--label-scheme", SCHEME)  # fmt: skip
    refused = model("plan", "-c", QUICK, "-d", "stir", ok=False)
    assert refused.code == 2
    assert "contrast of MRI the channel stir is; set anatomy.contrasts" in refused.err
    # Cosines need not know what it is.
    cosines = model("plan", "-c", "contrasts", "-d", "stir", "--set", "data.size=[16,16,8]").json
    assert cosines["anatomy"] is None
    # But who maps labels means an entry.
    labels = ("--set", "anatomy.labels={body: [body]}", "--set", "data.size=[16,16,8]")
    refused = model("plan", "-c", "contrasts", "-d", "stir", *labels, ok=False)
    assert "contrast of MRI the channel stir is; set anatomy.contrasts" in refused.err
    named = ("--set", "anatomy.contrasts={stir: t2}")
    assert model("plan", "-c", QUICK, "-d", "stir", *named).json["anatomy"] == "region"


def test_images_are_drawn_by_cosines_or_from_an_anatomy(model):
    source = model.root / "single"
    for seed in range(8):
        labels, affine = person(170 + seed, SPACING)
        write(source / "images" / f"s{seed}.nii.gz", picture(labels, seed), affine)
        write(source / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
    model("ingest", source, "-d", "single", "--modality", "mri", "--files-are-patients",
          "--label-scheme", SCHEME)  # fmt: skip
    shares = ("cosines.share=1", "atlas.share=0", "finetune.share=0", "prior.share=0")
    sets = [word for part in (*shares, "data.spacing=[8,8,9]") for word in ("--set", part)]
    for library in ("region", "patients"):
        named = ("--set", f"anatomy.library={library}")
        refused = model("plan", "-c", QUICK, "-d", "single", *sets, *named, ok=False)
        assert refused.code == 2
        assert f"anatomy.library is {library}, and cosines.share is 1" in refused.err
    assert model("plan", "-c", QUICK, "-d", "single", *sets).json["anatomy"] is None
