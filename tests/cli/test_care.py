"""Keys, deletion, repair and storage of latents, as a steward uses them."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae import api
from tests.cli.conftest import DECLARED, Clinic


@pytest.fixture
def stocked(clinic: Clinic, scans: Path) -> Clinic:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    return clinic


def test_rotation_and_reseal_keep_everything_readable(stocked: Clinic) -> None:
    epoch = stocked("keys", "rotate").json["epoch"]
    assert stocked("tenant", "list").json["tenants"][0]["epoch"] == epoch
    assert stocked("keys", "reseal").json["resealed"] >= 13
    assert stocked("verify", "--read-data").json["damaged"] == []
    assert stocked("dataset", "show", "d").json["subjects"] == 10


def test_recovery_gives_a_new_identity(stocked: Clinic, tmp_path: Path) -> None:
    lost = stocked("--identity", tmp_path / "new", "budget", ok=False)
    assert lost.code in (5, 7)
    made = stocked(
        "-t",
        "clinic",
        "--identity",
        tmp_path / "new",
        "keys",
        "recover",
        "--recovery",
        tmp_path / "spare",
    ).json
    assert made["identity"] == str(tmp_path / "new")
    assert stocked("--identity", tmp_path / "new", "verify").json["damaged"] == []


def test_a_colleague_is_let_in_and_out(stocked: Clinic, tmp_path: Path) -> None:
    made = stocked("keys", "new", tmp_path / "colleague").json
    theirs = ("--identity", tmp_path / "colleague")
    assert stocked(*theirs, "dataset", "list", ok=False).code == 5
    stocked("keys", "add", made["public"], "--label", "colleague")
    assert stocked(*theirs, "dataset", "list").json["datasets"]
    stocked("keys", "remove", made["fingerprint"])
    assert stocked(*theirs, "dataset", "list", ok=False).code == 5
    assert len(stocked("keys", "list").json["recipients"]) == 2


def test_what_is_no_public_key_is_refused(stocked: Clinic, tmp_path: Path) -> None:
    (tmp_path / "junk.pub").write_text("{}")
    assert stocked("keys", "add", tmp_path / "junk.pub", ok=False).code == 2


def test_a_patient_withdraws(stocked: Clinic) -> None:
    assert stocked("subject", "erase", "CANARY-PATIENT-0", ok=False).code == 2
    gone = stocked("subject", "erase", "CANARY-PATIENT-0", "--yes").json
    assert gone["volumes"] == 2
    shown = stocked("dataset", "show", "d").json
    assert (shown["subjects"], shown["volumes"]) == (9, 10)
    assert stocked("subject", "erase", "CANARY-PATIENT-0", "--yes", ok=False).code == 7
    assert stocked("verify", "--read-data").json["damaged"] == []


def test_deleting_a_data_set_keeps_what_another_holds(stocked: Clinic, scans: Path) -> None:
    stocked("ingest", scans, "-d", "twin", *DECLARED)
    assert stocked("dataset", "delete", "d", "--yes").json["volumes"] == 0
    assert stocked("dataset", "show", "twin").json["volumes"] == 12
    assert stocked("dataset", "delete", "twin", "--yes").json["volumes"] == 12
    assert stocked("dataset", "list").json["datasets"] == []


def test_what_an_interrupted_ingest_left_goes_with_the_next_deletion(stocked: Clinic) -> None:
    session = api.open(stocked.root / "vault", "clinic", identity=stocked.root / "key")
    session.tenant.put("volume", b"sealed and never listed", name="left")
    stocked("subject", "erase", "CANARY-PATIENT-5", "--yes")
    assert len(session.tenant.ids("volume")) == 11
    assert session.tenant.find("volume", "left") is None


def test_export_gives_the_voxels_back(stocked: Clinic, scans: Path, tmp_path: Path) -> None:
    files = stocked("dataset", "export", "d", "-o", tmp_path / "out").json["files"]
    images = [p for p in files if "dseg" not in p]
    assert len(images) == 12
    assert not any("CANARY" in name for name in files)
    sums = sorted(int(np.asarray(nib.load(p).dataobj).sum()) for p in images)
    source = sorted(
        int(np.asarray(nib.load(p).dataobj).sum()) for p in (scans / "images").glob("*.nii.gz")
    )
    assert sums == source


def test_repair_moves_the_damaged_file_aside(stocked: Clinic) -> None:
    files = [
        p for p in (stocked.root / "vault").rglob("*") if p.is_file() and p.stat().st_size > 9000
    ]
    victim = max(p for p in files if "catalogue" not in p.name)
    victim.write_bytes(victim.read_bytes()[:-1])
    report = stocked("repair", ok=False)
    assert report.code == 4
    assert len(report.json["lost"]) == len(report.json["quarantined"]) == 1
    assert not victim.exists()
    assert stocked("verify", ok=False).code == 4


def test_erasing_a_tenant_leaves_the_other(stocked: Clinic, tmp_path: Path) -> None:
    stocked(
        "--identity",
        tmp_path / "two",
        "tenant",
        "create",
        "other",
        "--recovery-out",
        tmp_path / "r2",
    )
    assert stocked("tenant", "erase", "clinic", "--yes").json["erased"] == "clinic"
    assert [t["tenant"] for t in stocked("tenant", "list").json["tenants"]] == ["other"]
    assert stocked("-t", "clinic", "verify", ok=False).code == 7


def test_features_are_one_line_a_scan(journey: Clinic, scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    sources = sorted((scans / "images").glob("*.nii.gz"))[:2]
    for source in sources:
        (folder / source.name).write_bytes(source.read_bytes())
    (folder / "broken.nii").write_bytes(b"junk" * 200)
    made = journey("encode", "first", "-i", folder, "-o", tmp_path / "f.csv", "--features").json
    assert made["n"] == len(made["sources"]) == 2
    (refused,) = made["refused"]
    assert "broken.nii" in refused["source"]
    assert (tmp_path / "f.csv").stat().st_mode & 0o777 == 0o600
    with (tmp_path / "f.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["source", *made["names"]]
    assert [row[0] for row in rows] == made["sources"]
    journey("encode", "first", "-i", folder, "-o", tmp_path / "f.npy", "--features")
    table = np.load(tmp_path / "f.npy", allow_pickle=False)
    assert np.array_equal(table, np.array([row[1:] for row in rows], np.float32))
    assert not np.array_equal(table[0], table[1])
    for taken in ("f.csv", "f.txt"):
        again = ("encode", "first", "-i", folder, "-o", tmp_path / taken, "--features")
        assert journey(*again, ok=False).code == 2
    (folder / sources[0].name).unlink()
    (folder / sources[1].name).unlink()
    none = ("encode", "first", "-i", folder, "-o", tmp_path / "g.csv", "--features")
    assert journey(*none, ok=False).code == 3
    assert not (tmp_path / "g.csv").exists()


def test_latents_are_a_compact_form_of_a_scan(journey: Clinic, scans: Path, tmp_path: Path) -> None:
    source = next((scans / "images").glob("*.nii.gz"))
    made = journey("encode", "first", "-i", source, "-o", tmp_path / "z.safetensors").json
    assert made["ratio"] > 2
    assert (tmp_path / "z.safetensors").stat().st_mode & 0o777 == 0o600
    journey("decode", "first", "-i", tmp_path / "z.safetensors", "-o", tmp_path / "back.nii.gz")
    journey("reconstruct", "first", "-i", source, "-o", tmp_path / "rec.nii.gz")
    back, rec = (nib.load(tmp_path / name) for name in ("back.nii.gz", "rec.nii.gz"))
    assert np.array_equal(np.asarray(back.dataobj), np.asarray(rec.dataobj))
    assert np.allclose(back.affine, nib.load(source).affine)
    (tmp_path / "z.safetensors").write_bytes(b"junk" * 20)
    broken = journey(
        "decode", "first", "-i", tmp_path / "z.safetensors", "-o", tmp_path / "x.nii", ok=False
    )
    assert broken.code == 4
