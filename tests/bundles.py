"""What every bundle of MONAI must hold, and how it is run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# What the specification of bundles asks of metadata.json.
REQUIRED = {
    "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format",
}  # fmt: skip
REQUIRED_OF_TENSORS = {
    "type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
    "channel_def",
}  # fmt: skip
FILES = {
    "configs/metadata.json", "configs/inference.json", "models/model.ts", "docs/README.md",
    "docs/data_license.txt", "docs/model.json", "LICENSE",
}  # fmt: skip
# Without medvae, and without a network where the kernel lets a user leave it.
RUN = """
import sys
sys.modules["medvae"] = None
import monai.bundle
monai.bundle.run(config_file="configs/inference.json", seed={seed}, first={first}, n={n})
"""


def run(bundle: Path, seed: int, first: int, n: int) -> list[Path]:
    command = [sys.executable, "-c", RUN.format(seed=seed, first=first, n=n)]
    if shutil.which("unshare") and subprocess.run(["unshare", "-rn", "true"]).returncode == 0:
        command = ["unshare", "-rn", *command]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return sorted((bundle / "eval").iterdir())


def check_metadata(bundle: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert set(told) >= REQUIRED | {"schema"}
    tensors = told["network_data_format"]
    for one in (*tensors["inputs"].values(), *tensors["outputs"].values()):
        assert set(one) >= REQUIRED_OF_TENSORS
    found = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert found == FILES
    return told
