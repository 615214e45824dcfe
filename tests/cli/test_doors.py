"""What vault and ingest can do is reachable: object stores, passphrases, workers, collection."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import medvae
from medvae import api

from .conftest import DECLARED, Clinic

WORDS = "seven words that dice have drawn here"


def test_a_tenant_in_an_object_store(s3: str, tmp_path: Path, scans: Path) -> None:
    import boto3

    clinic = Clinic(tmp_path)
    spare = ("--recovery-out", tmp_path / "spare")
    made = clinic("tenant", "create", "clinic", *spare, "--store", s3).json
    assert made["store"] == s3
    clinic("ingest", scans, "-d", "d", *DECLARED)
    assert clinic("verify", "--read-data").json["damaged"] == []
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    names = [one["Key"] for one in client.list_objects_v2(Bucket=s3.split("/")[2])["Contents"]]
    assert len(names) >= 12
    assert all("/objects/" in name for name in names)
    assert not list((tmp_path / "vault" / "clinic").glob("objects/*/*"))


@pytest.mark.parametrize("store", ["s4://bucket", "/tmp/folder", "s3://"])
def test_what_is_no_store_is_refused(tmp_path: Path, store: str) -> None:
    refused = Clinic(tmp_path)("tenant", "create", "clinic", "--store", store, ok=False)
    assert refused.code == 2
    assert "s3://BUCKET/PREFIX" in refused.err
    assert Clinic(tmp_path)("tenant", "list").json["tenants"] == []


def test_a_passphrase_alone_opens_a_tenant(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDVAE_NEW_PASSPHRASE", WORDS)
    made = clinic("keys", "add", "--passphrase", "--label", "Ada").json
    assert made["label"] == "Ada"
    assert made["added"] in {
        one["fingerprint"] for one in clinic("keys", "list").json["recipients"]
    }
    monkeypatch.delenv("MEDVAE_NEW_PASSPHRASE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("MEDVAE_IDENTITY", raising=False)
    session = medvae.open(clinic.root / "vault", "clinic", passphrase=WORDS)
    assert session.log.verify().valid
    with pytest.raises(medvae.errors.AccessError, match="not among the recipients"):
        medvae.open(clinic.root / "vault", "clinic", passphrase=WORDS + "!")
    with pytest.raises(medvae.errors.NotFoundError, match="identity"):
        medvae.open(clinic.root / "vault", "clinic")


def test_passphrases_that_will_not_do(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDVAE_NEW_PASSPHRASE", "short")
    assert clinic("keys", "add", "--passphrase", ok=False).code == 2
    monkeypatch.delenv("MEDVAE_NEW_PASSPHRASE")
    refused = clinic("keys", "add", "--passphrase", ok=False)
    assert refused.code == 2
    assert "MEDVAE_NEW_PASSPHRASE" in refused.err
    assert clinic("keys", "add", ok=False).code == 2
    assert clinic("keys", "add", "file.pub", "--passphrase", ok=False).code == 2
    assert len(clinic("keys", "list").json["recipients"]) == 2


def test_workers_give_the_same_data_set(clinic: Clinic, scans: Path) -> None:
    one = clinic("ingest", scans, "-d", "one", *DECLARED, "--workers", "1").json
    three = clinic("ingest", scans, "-d", "three", *DECLARED, "--workers", "3").json
    assert one | {"dataset": "three"} == three | {"added": one["added"]}
    session = api.open(clinic.root / "vault", "clinic", identity=clinic.root / "key")
    from medvae.api import datasets

    first, second = (datasets.load(session.tenant, name)["volumes"] for name in ("one", "three"))
    assert first == second
    refused = clinic("ingest", scans, "-d", "none", *DECLARED, "--workers", "0", ok=False)
    assert refused.code == 2
    assert "workers must be at least 1" in refused.err


def _aged_orphan(clinic: Clinic) -> Path:
    """A sealed file that the catalogue does not know, two days old."""
    path = next((clinic.root / "vault" / "clinic" / "objects").glob("*/*"))
    orphan = path.with_name(f"{path.name.partition('-')[0]}-99")
    shutil.copy(path, orphan)
    old = orphan.stat().st_mtime - 2 * 86400
    os.utime(orphan, (old, old))
    return orphan


def test_repair_collects_what_nothing_refers_to(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    orphan = _aged_orphan(clinic)
    assert clinic("verify").json["unknown"] == 1
    assert clinic("repair").json["collected"] is None
    assert orphan.exists()
    size = orphan.stat().st_size
    found = clinic("repair", "--gc").json["collected"]
    assert (found["orphans"], found["freed"]) == (1, size)
    assert not orphan.exists()
    assert clinic("verify", "--read-data").json == {
        "objects": 13,
        "damaged": [],
        "unknown": 0,
        "read_data": True,
    }
    assert clinic("log").json["events"][-2]["event"] == "repair gc"


def test_nothing_is_collected_while_objects_are_lost(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    orphan = _aged_orphan(clinic)
    other = next(
        path
        for path in (clinic.root / "vault" / "clinic" / "objects").glob("*/*")
        if path.name.partition("-")[0] != orphan.name.partition("-")[0]
    )
    data = bytearray(other.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    refused = clinic("repair", "--gc", ok=False)
    assert refused.code == 4
    assert refused.json["collected"] is None
    assert orphan.exists()
