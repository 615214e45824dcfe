"""`medvae model nearest`: seen by who opens the tenant, sealed, and in nothing that leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae import api
from medvae.api import datasets, nearest
from tests.cli.conftest import BY_FILE, DECLARED, Clinic
from tests.conftest import phantom


def words_of(result: dict) -> list[bytes]:
    """What only the comparison says: who is near, and how near."""
    rows = result["rows"]
    return [str(row["distance"]).encode() for row in rows] + [
        row["subject"].encode() for row in rows
    ]


def files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def test_it_is_sealed_and_nothing_outside_holds_it(journey: Clinic, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    (tmp_path / "in").mkdir()
    for index in range(9):
        image = nib.Nifti1Image(phantom(rng)[0], np.diag([1.0, 1.0, 1.5, 1.0]))
        nib.save(image, tmp_path / "in" / f"{index}.nii.gz")
    given = (tmp_path / "in", "-d", "unseen", *DECLARED, "--files-are-patients")
    journey("ingest", *given)
    assert journey("model", "nearest", "first", "--last", ok=False).code == 7
    made = journey("model", "nearest", "first", "--against", "unseen", "-n", "5")
    found = made.json
    assert "without noise: they stay in the tenant" in made.err
    assert (len(found["rows"]), found["compared"], found["unseen"]) == (5, 9, True)
    assert (found["releasable"], found["against"]) == (False, "unseen@1")
    tenant = api.open(journey.root / "vault", identity=journey.root / "key").tenant
    patients = datasets.subjects(datasets.load(tenant, "phantoms"))
    assert {row["subject"] for row in found["rows"]} <= set(patients)
    assert journey("model", "nearest", "first", "--last").json == found
    looked = [e for e in journey("log").json["events"] if e["details"].get("nearest")]
    assert len(looked) == 2
    # What leaves: a release, a model, a signed folder that somebody adds it to.
    release = journey("release", "create", "first", "-n", "2", "-o", tmp_path / "release")
    assert release.json["passed"]
    journey("model", "export", "first", "-o", tmp_path / "model")
    outside = [*files(tmp_path / "release"), *files(tmp_path / "model")]
    for path in [*outside, *files(journey.root / "vault")]:
        data = path.read_bytes()
        assert not [word for word in words_of(found) if word in data], path
    key = tmp_path / "release" / "signer.pem"
    assert journey("release", "verify", tmp_path / "release", "--public-key", key).json["valid"]
    (tmp_path / "release" / "nearest.json").write_text(made.out)
    added = journey("release", "verify", tmp_path / "release", "--public-key", key, ok=False)
    assert (added.code, "nearest.json" in added.err + added.out) == (4, True)


def test_nothing_that_a_release_is_made_of_reads_it(
    journey: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases, models and data sets are written without a look at what is sealed as this."""
    from medvae.vault import Tenant

    read = Tenant.get_named
    asked: list[str] = []

    def watched(self: Tenant, kind: str, name: str) -> bytes:
        asked.append(kind)
        assert kind != nearest.KIND
        return read(self, kind, name)

    monkeypatch.setattr(Tenant, "get_named", watched)
    journey("release", "create", "first", "-n", "1", "-o", tmp_path / "release")
    journey("model", "export", "first", "-o", tmp_path / "model")
    journey("dataset", "export", "phantoms", "-o", tmp_path / "scans")
    assert "model" in asked


def sealed(clinic: Clinic, tmp_path: Path) -> str:
    """A data set of two, and a comparison with it; gives a patient's own name."""
    (tmp_path / "in").mkdir()
    rows = "filename,subject\n"
    for n, name in enumerate(("ALICE", "BOB")):
        voxels = np.random.default_rng(n).integers(0, 900, (12, 11, 10)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "in" / f"{n}.nii.gz")
        rows += f"{n}.nii.gz,{name}\n"
    (tmp_path / "in" / "subjects.csv").write_text(rows)
    clinic("ingest", tmp_path / "in", "-d", "d", *BY_FILE[:2])
    row = {
        "number": 1, "subject": "a", "distance": 0.5, "next_subject": "b", "next_distance": 0.6,
        "mirrored": False, "nearer": 3.0,
    }  # fmt: skip
    told = {
        "model": "m", "members": "d@1", "against": None, "n": 1, "seed": 0, "compared": 2,
        "unseen": False, "usual": 0.7, "least": 0.4, "rows": [row], "releasable": False,
    }  # fmt: skip
    tenant = api.open(clinic.root / "vault", identity=clinic.root / "key").tenant
    tenant.put(nearest.KIND, json.dumps(told).encode(), name="m")
    tenant.put(nearest.KIND, json.dumps(told | {"members": "e@1"}).encode(), name="other")
    tenant.close()
    return "ALICE"


@pytest.mark.parametrize("verb", ["dataset delete", "subject erase"])
def test_it_goes_with_its_patients(clinic: Clinic, tmp_path: Path, verb: str) -> None:
    name = sealed(clinic, tmp_path)
    assert clinic("model", "nearest", "m", "--last").json["rows"][0]["distance"] == 0.5
    clinic(*verb.split(), "d" if verb.startswith("dataset") else name, "--yes")
    assert clinic("model", "nearest", "m", "--last", ok=False).code == 7
    assert clinic("model", "nearest", "other", "--last").json["members"] == "e@1"


def test_what_cannot_be_right_is_one_sentence(clinic: Clinic) -> None:
    for words, code in (
        (("m", "--last", "--against", "d"), 2),
        (("m", "--most", "0"), 2),
        (("m",), 7),
        (("m", "--last"), 7),
    ):
        got = clinic("model", "nearest", *words, ok=False)
        assert (got.code, len(got.err.splitlines())) == (code, 1), got.err
