"""A model of format 1, whose noise does not protect: looked at inside, and nothing leaves."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from medvae import api
from medvae.model import Artifact
from tests.cli.conftest import Clinic


@pytest.fixture(scope="module")
def old(journey: Clinic) -> Clinic:
    """The journey's tenant, with its model once more as `old` in format 1."""
    with contextlib.redirect_stderr(io.StringIO()):
        tenant = api.open(journey.root / "vault", identity=journey.root / "key").tenant
    artifact = Artifact.from_bytes(tenant.get_named("model", "first"))
    artifact.facts["format"] = 1
    with tenant.writer(), tenant.transaction():
        tenant.put("model", artifact.to_bytes(), name="old")
        tenant.put("run", tenant.get_named("run", "first"), name="old")
    return journey


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "old", "-n", "1", "-o", "OUT"),
        ("model", "export", "old", "-o", "OUT", "--format", "safetensors"),
        ("model", "compress", "old", "--to", "smaller"),
        ("release", "create", "old", "-n", "1", "-o", "OUT"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_nothing_leaves_and_the_sentence_says_why(
    old: Clinic, tmp_path: Path, words: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    refused = old(*(out if word == "OUT" else word for word in words), ok=False)
    assert refused.code == 6, refused.err
    for part in ("model old", "format 1", "coarser grid", "train it again", "ledger keeps"):
        assert part in refused.err
    assert not out.exists()
    assert "smaller" not in [one["model"] for one in old("model", "list").json["models"]]


def test_it_can_be_looked_at_inside(old: Clinic, scans: Path, tmp_path: Path) -> None:
    assert old("model", "show", "old").json["facts"]["format"] == 1
    scan = next(scans.rglob("*.nii.gz"))
    assert old("encode", "old", "-i", scan, "-o", tmp_path / "codes.safetensors").json["bytes"]
    assert old("reconstruct", "old", "-i", scan, "-o", tmp_path / "same.nii.gz").json["psnr"]
    figures = old("evaluate", "old", "--against", "phantoms", "-n", "2", "--no-downstream")
    assert figures.json["metrics"]
    assert old("audit", "old", "-n", "2", ok=False).json["findings"]
