"""A release before nnU-Net's own check and plan step, where nnU-Net is installed (`nnunetv2`)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medvae.config import DataConfig
from tests.release.made import CT, MRI, facts, synthetic
from tests.release.test_nnunet import Make

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nnunetv2") is None, reason="nnU-Net (nnunetv2) is not installed"
)
ENTRY = "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints"


@pytest.mark.parametrize("base", [MRI, CT], ids=["mri", "ct"])
def test_its_check_passes_and_its_plan_is_made(
    make: Make, base: DataConfig, tmp_path: Path
) -> None:
    labelled = base.model_copy(
        update={"size": (24, 24, 20), "label_scheme": {"1": "a", "2": "b"}, "labels": 2}
    )
    volumes = synthetic(5, labelled)
    release = make(labelled, volumes=volumes, facts=facts(labelled), fmt="nnunet").path
    raw = tmp_path / "raw"
    shutil.copytree(release, raw / "Dataset042_synthetic")
    places = {
        "nnUNet_raw": raw,
        "nnUNet_preprocessed": tmp_path / "planned",
        "nnUNet_results": tmp_path / "results",
    }
    words = ["-d", "42", "--verify_dataset_integrity", "--no_pp", "-np", "1", "-npfp", "1"]
    call = f"from {ENTRY} import plan_and_preprocess_entry as main; main()"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", call, *words],
        env={**os.environ, **{name: str(place) for name, place in places.items()}},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "verify_dataset_integrity Done" in done.stdout
    plans = json.loads((tmp_path / "planned/Dataset042_synthetic/nnUNetPlans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["patch_size"]
    assert len(plans["original_median_shape_after_transp"]) == 3
