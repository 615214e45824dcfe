"""Volumes without a declared voxel size: files say 1 mm, and plan and generate say so."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib

from medvae.config_files import load_config
from tests.cli.conftest import QUICK, Clinic


def test_plan_and_generate_say_that_a_voxel_size_was_not_declared(
    journey: Clinic, tmp_path: Path
) -> None:
    planned = ("plan", "-c", QUICK, "-d", "phantoms", "--set", "anatomy.library=none")
    assert journey(*planned).json["spacing_known"] is False
    assert journey(*planned, "--set", "data.spacing=[2,2,6]").json["spacing_known"] is True
    drawn = journey("generate", "first", "-n", 1, "-o", tmp_path / "out")
    assert drawn.json["spacing_known"] is False
    assert "files say 1 mm" in drawn.err
    image = nib.load(drawn.json["files"][0])
    assert image.header.get_zooms() == (1.0, 1.0, 1.0)


def test_volumes_of_the_patients_maps_have_the_declared_size(journey: Clinic) -> None:
    settings = ("--set", "anatomy.library=patients", "--set", "data.spacing=[2,2,2]")
    planned = journey("plan", "-c", QUICK, "-d", "phantoms", *settings).json
    assert (planned["anatomy"], planned["spacing_known"]) == ("patients", True)


def test_pictures_need_none() -> None:
    assert [load_config(name, []).knows_voxels for name in ("xray", "photo", "ct")] == [
        True,
        True,
        False,
    ]
