"""What every test may lean on: small made-up scans, and where the real ones lie."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage


def phantom(rng: np.random.Generator, shape: tuple[int, int, int] = (16, 24, 16)) -> tuple:
    """A soft ellipsoid with a smaller one inside: (int16 image, uint8 mask of labels 1 and 2)."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    centre = rng.normal(0, 0.08, (3, 1, 1, 1))
    radii = 0.6 * np.exp(rng.normal(0, 0.08, (3, 1, 1, 1)))
    outer = np.sqrt((((grid - centre) / radii) ** 2).sum(0))
    inner = np.sqrt((((grid - centre - 0.1) / (0.5 * radii)) ** 2).sum(0))
    mask = np.where(inner < 1, 2, np.where(outer < 1, 1, 0)).astype(np.uint8)
    image = 200 + 400 * (outer < 1) + 200 * (inner < 1) + rng.normal(0, 20, shape)
    return ndimage.gaussian_filter(image, 0.7).astype(np.int16), mask


def write_scans(folder: Path, patients: int) -> Path:
    """Scans of so many patients, two of them with two: images/, labels/, subjects.csv."""
    rng = np.random.default_rng(7)
    rows = [("filename", "subject")]
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for patient in range(patients):
        for scan in range(2 if patient < 2 else 1):
            name = f"CANARY-FILE-{patient}-{scan}.nii.gz"
            image, mask = phantom(rng)
            affine = np.diag([1.0, 1.0, 1.5, 1.0])
            nib.save(nib.Nifti1Image(image, affine), folder / "images" / name)
            nib.save(nib.Nifti1Image(mask, affine), folder / "labels" / name)
            rows.append((name, f"CANARY-PATIENT-{patient}"))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is noted in the account's own state folder."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients: a small cohort, as `plan` and `train` have to be told."""
    return write_scans(tmp_path_factory.mktemp("scans"), 10)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans that MEDVAE_REAL_DATA names; tests skip without it."""
    named = os.environ.get("MEDVAE_REAL_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("MEDVAE_REAL_DATA names no folder of real scans")
    return Path(named)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket on a server of our own; returns the address of a store in it."""
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"sealed-{os.urandom(6).hex()}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/hospital/one"
