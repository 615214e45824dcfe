"""The BIDS App: a BIDS data set in, a signed BIDS data set out, by its two levels."""

from __future__ import annotations

import json
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from medvae.cli.bids_app import level
from tests.cli.conftest import DECLARED, QUICK, Clinic


@pytest.fixture
def bids(tmp_path: Path, scans: Path) -> Path:
    """The made-up scans and their masks as a BIDS data set."""
    root = tmp_path / "bids"
    images = sorted((scans / "images").glob("*.nii.gz"))
    for number, image in enumerate(images, 1):
        folder = root / f"sub-{number:02d}" / "anat"
        folder.mkdir(parents=True)
        shutil.copy(image, folder / f"sub-{number:02d}_T1w.nii.gz")
        mask = scans / "labels" / image.name
        shutil.copy(mask, folder / f"sub-{number:02d}_dseg.nii.gz")
    described = {"Name": "made up", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    return root


@pytest.fixture
def hospital(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """A tenant that the environment names, as a scheduler starts a BIDS App."""
    monkeypatch.setenv("MEDVAE_VAULT", str(clinic.root / "vault"))
    monkeypatch.setenv("MEDVAE_IDENTITY", str(clinic.root / "key"))
    return clinic


def test_both_levels_give_a_signed_release(hospital: Clinic, bids: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    place = [str(bids), str(out)]
    assert level([*place, "participant", *DECLARED]) == 0
    assert not any(out.iterdir()), "nothing of a patient leaves the vault"
    subjects = len(list(bids.glob("sub-*")))
    (held,) = hospital("dataset", "list").json["datasets"]
    assert (held["dataset"].split("@")[0], held["subjects"]) == ("bids", subjects)
    words = ["group", "--config", str(QUICK), "--number", "2", "--small-cohort"]
    assert level([*place, *words]) == 0
    assert hospital("release", "verify", out).json["unchanged"] is True
    assert len(list(out.glob("sub-*/anat/*_T1w.nii.gz"))) == 2
    # The budget is spent once more only where a training is asked for under another name.
    assert level([*place, *words]) != 0


def test_participants_can_be_chosen(hospital: Clinic, bids: Path, tmp_path: Path) -> None:
    place = [str(bids), str(tmp_path / "out"), "participant"]
    assert level([*place, *DECLARED, "--participant-label", "01", "sub-03"]) == 0
    assert hospital("dataset", "show", "bids").json["subjects"] == 2
    assert level([*place, *DECLARED, "--participant_label", "99"]) == 3


@pytest.mark.parametrize("label", ["../02", "sub-", "a b", ""])
def test_a_label_names_no_other_folder(bids: Path, tmp_path: Path, label: str) -> None:
    with pytest.raises(SystemExit) as refused:
        level([str(bids), str(tmp_path), "participant", "--participant-label", label])
    assert refused.value.code == 2


def test_the_entry_point_is_there() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, name = project["project"]["scripts"]["medvae-bids"].partition(":")
    assert callable(getattr(import_module(module), name))
