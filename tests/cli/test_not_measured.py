"""What has no labels and no classes is measured as far as it can be, and the rest is named."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from medvae.api.public_meter import PublicMeter
from medvae.api.quality import _incomparable, _nobody
from medvae.cli.main import run
from medvae.release import create
from tests.cli.conftest import BY_FILE, Clinic
from tests.release.made import CT, MRI, Key, facts, synthetic


def scans(folder: Path, n: int, masks: bool) -> Path:
    """Scans of noise; each beside a mask, where `masks`."""
    folder.mkdir()
    for index in range(n):
        voxels = np.random.default_rng(index).integers(0, 900, (12, 11, 10)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"s{index}.nii.gz")
        if masks:
            nib.save(
                nib.Nifti1Image((voxels > 800).astype(np.uint8), np.eye(4)),
                folder / f"s{index}_seg.nii.gz",
            )
    return folder


def test_an_evaluation_names_what_it_could_not_measure(
    clinic: Clinic, tmp_path: Path, capsys: object
) -> None:
    clinic("ingest", scans(tmp_path / "in", 5, masks=False), "-d", "d", *BY_FILE)
    made = scans(tmp_path / "made", 3, masks=False)
    words = ("evaluate", made, "--against", "d")
    found = clinic(*words).json
    segmentation, classification = found["not_measured"]
    assert segmentation.startswith("segmentation: takes a label map in every volume")
    assert classification.startswith("classification: takes a class in every volume")
    assert found["metrics"]["texture_frechet"]["value"] > 0
    assert clinic(*words, "--no-downstream").json["not_measured"] == []
    given = ["--vault", str(clinic.root / "vault"), "--identity", str(clinic.root / "key")]
    assert run([*given, *map(str, words)]) == 0
    shown = capsys.readouterr().out.splitlines()  # type: ignore[attr-defined]
    assert sum(line.startswith("not measured: ") for line in shown) == 2
    clinic("ingest", scans(tmp_path / "masked", 5, masks=True), "-d", "m", *BY_FILE)
    masked = clinic("evaluate", scans(tmp_path / "drawn", 3, masks=True), "--against", "m").json
    assert [one.partition(":")[0] for one in masked["not_measured"]] == ["classification"]


def test_a_release_without_labels_says_why_it_has_no_quality_score(tmp_path: Path) -> None:
    assert "covers the labels" in _nobody(MRI)
    several = MRI.model_copy(update={"channels": ("t1", "t2")})
    assert "the volumes of this release have several" in _incomparable(several)
    key = Key()
    folder = create(
        volumes=synthetic(2, CT),
        out=tmp_path / "release",
        facts=facts(CT),
        sign=key.sign,
        public_key=key.public,
        meter=PublicMeter(CT, missing=_nobody(CT)),
    ).path
    score = json.loads((folder / "card.json").read_text())["scores"]["quality"]
    why = "Not measured: public people are compared by labels, and this release has none."
    assert (score["value"], score["meaning"].startswith(why)) == (None, True)
    assert why in (folder / "report.html").read_text()
    assert why in (folder / "CARD.md").read_text()
