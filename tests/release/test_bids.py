"""The BIDS folder: names, headers, geometry, and what the validator of the field says."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medvae.errors import InputError, UsageError
from medvae.release import ReleaseResult, write_nifti
from medvae.release.gate import VoxelGate
from medvae.volume import Volume
from tests.release.made import CT, MRI, facts, synthetic

Make = Callable[..., ReleaseResult]
CLASSED = MRI.model_copy(update={"labels": 0, "classes": 3})
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def validate(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Errors of the validator, and the subjects that it saw; off the network where it can be."""
    command = [str(VALIDATOR), str(folder), "--format", "json"]
    if shutil.which("unshare") and subprocess.run(["unshare", "-rn", "true"]).returncode == 0:
        command = ["unshare", "-rn", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    errors = [issue for issue in found["issues"]["issues"] if issue["severity"] == "error"]
    return errors, found["summary"]["subjects"]


@pytest.mark.skipif(not VALIDATOR.exists(), reason="bids-validator-deno is not installed")
def test_the_validator_finds_no_error(make: Make, tmp_path: Path) -> None:
    mri = make(MRI, out=tmp_path / "mri").path
    errors, subjects = validate(mri)
    assert errors == []
    assert sorted(subjects) == ["synth0001", "synth0002", "synth0003"]
    assert validate(mri / "derivatives" / "labels")[0] == []
    assert validate(make(CT, out=tmp_path / "ct").path)[0] == []
    (mri / "sub-synth0001/anat/sub-synth0001_T9w.nii.gz").write_bytes(b"")
    assert validate(mri)[0], "the validator must notice a wrong name"


@pytest.mark.parametrize(("data", "place"), [(MRI, "anat/{}_T1w"), (CT, "ct/{}_ct")])
def test_voxels_and_geometry_come_back(make: Make, data: Any, place: str) -> None:
    release = make(data, n=2).path
    for index, volume in enumerate(synthetic(2, data), 1):
        subject = f"sub-synth{index:04d}"
        image = nib.load(release / subject / f"{place.format(subject)}.nii.gz")
        assert image.get_data_dtype() == np.int16
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), volume.voxels)
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
        for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
            assert code == 1
            np.testing.assert_allclose(form, volume.affine, atol=1e-5)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert bytes(image.header["descrip"].tobytes()).rstrip(b"\0") == b"synthetic (medvae)"
        if volume.mask is not None:
            labels = release / f"derivatives/labels/{subject}/anat/{subject}_dseg.nii.gz"
            np.testing.assert_array_equal(np.asanyarray(nib.load(labels).dataobj), volume.mask)


def test_gzip_headers_hold_no_time_and_no_name(make: Make) -> None:
    for path in make().path.rglob("*.gz"):
        head = path.read_bytes()[:10]
        assert head[3] == 0, "no name, no comment"
        assert head[4:8] == b"\0\0\0\0", "no time"
        assert gzip.decompress(path.read_bytes())[344:348] == b"n+1\0"


def test_participants_and_sidecars(make: Make) -> None:
    release = make(n=2).path
    rows = (release / "participants.tsv").read_text().splitlines()
    assert rows == ["participant_id\tsynthetic", "sub-synth0001\tyes", "sub-synth0002\tyes"]
    sidecar = json.loads((release / "sub-synth0002/anat/sub-synth0002_T1w.json").read_text())
    assert sidecar["Synthetic"] is True
    assert sidecar["SampleIndex"] == 2
    table = (release / "derivatives/labels/dseg.tsv").read_text().splitlines()
    assert table == ["index\tname", "0\tbackground", "1\touter part", "2\tinner part"]


def _classed(*classes: int | None) -> list[Volume]:
    made = synthetic(len(classes), CLASSED)
    return [
        replace(v, meta={} if k is None else {"class": k})
        for v, k in zip(made, classes, strict=True)
    ]


@pytest.mark.parametrize("fmt", ["bids", "dicom"])
def test_classes_are_a_described_column(make: Make, fmt: str) -> None:
    release = make(data=CLASSED, n=3, volumes=_classed(2, 0, 1), fmt=fmt).path
    header, *rows = (release / "participants.tsv").read_text().splitlines()
    assert header == "participant_id\tsynthetic\tclass"
    assert [row.split("\t")[2] for row in rows] == ["2", "0", "1"]
    described = json.loads((release / "participants.json").read_text())
    assert set(described["class"]["Levels"]) == {"0", "1", "2"}
    card = json.loads((release / "card.json").read_text())
    assert "column class of participants.tsv, 0 to 2" in card["data"]["classes"]
    fields = json.loads((release / "croissant.json").read_text())["recordSet"][0]["field"]
    assert [one["name"] for one in fields] == ["participant_id", "class"]


@pytest.mark.parametrize("classes", [(0, None, 1), (0, 3, 1)])
def test_a_class_that_was_not_declared_does_not_leave(
    make: Make, classes: tuple[int | None, ...]
) -> None:
    with pytest.raises(InputError, match="synthetic volume 2 is of class"):
        make(data=CLASSED, n=3, volumes=_classed(*classes))


def test_croissant_names_what_is_there(make: Make) -> None:
    release = make(n=2).path
    found = json.loads((release / "croissant.json").read_text())
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for part in found["distribution"]:
        if part["@type"] == "cr:FileSet":
            assert len(list(release.glob(part["includes"]))) == 2
        else:
            assert (release / part["contentUrl"]).is_file()


def test_a_suffix_that_bids_does_not_know(make: Make) -> None:
    with pytest.raises(UsageError, match="'T9w' is not a BIDS suffix"):
        make(facts=facts(suffix="T9w"))
    release = make(facts=facts(suffix="FLAIR")).path
    assert (release / "sub-synth0001/anat/sub-synth0001_FLAIR.nii.gz").is_file()


def test_write_nifti_keeps_oblique_geometry_and_floats(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = [[0.9, -0.2, 0.1], [0.2, 0.9, 0.0], [-0.1, 0.0, 2.0]]
    affine[:3, 3] = [-12.5, 7.25, 100.0]
    voxels = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    mask = (voxels > 0).astype(np.uint8)
    volume = Volume(voxels, affine, "mri", mask)
    for suffix in (".nii", ".nii.gz"):
        image, labels = write_nifti(volume, tmp_path, "a", suffix=suffix)
        assert image.name == f"a{suffix}"
        back = nib.load(image)
        np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), voxels)
        np.testing.assert_allclose(back.affine, affine, atol=1e-5)
        np.testing.assert_array_equal(np.asanyarray(nib.load(labels).dataobj), mask)


def test_the_public_range_is_what_the_grid_writes() -> None:
    assert VoxelGate(MRI).range == (0.0, 1000.0)
    assert VoxelGate(CT).range == (-1000.0, 1000.0)
