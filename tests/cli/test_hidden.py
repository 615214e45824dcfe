"""Nothing is destroyed before the rows that say so are proven: hidden manifests and volumes."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

import medvae
from medvae.api import datasets, declaration
from medvae.vault import Tenant

from .conftest import Clinic

sys.path.insert(0, str(Path(__file__).parents[1] / "vault"))

import btree


def opened(clinic: Clinic) -> Tenant:
    return medvae.open(clinic.root / "vault", "clinic", identity=clinic.root / "key").tenant


def fill(clinic: Clinic) -> tuple[dict[str, str], dict[str, str]]:
    """Two data sets of three volumes each, of the same three patients; ids by name."""
    tenant = opened(clinic)
    volumes = {}
    for name in ("first", "second"):
        entries = []
        for patient in ("p1", "p2", "p3"):
            data = f"{name} {patient}".encode()
            digest = tenant.digest(data, "volume")
            stored = tenant.put("volume", data, name=digest)
            volumes[f"{name} {patient}"] = stored
            entries.append(
                {
                    "object": stored,
                    "digest": digest,
                    "voxels": digest,
                    "subject": tenant.pseudonym(patient),
                }
            )
        datasets.add_version(tenant, name, entries, declaration.UNDECLARED)
    manifests = {label: tenant.find("dataset", label) or "" for label in tenant.names("dataset")}
    tenant.close()
    return volumes, manifests


def hide(clinic: Clinic, stored: str) -> None:
    btree.hide_from_index(clinic.root / "vault" / "clinic" / "catalogue.db", bytes.fromhex(stored))


@pytest.mark.parametrize(
    "words", [("dataset", "delete", "second", "--yes"), ("subject", "erase", "p1", "--yes")]
)
@pytest.mark.parametrize("hidden", ["manifest", "volume"])
def test_a_deletion_refuses_what_an_index_hides(
    clinic: Clinic, words: tuple[str, ...], hidden: str
) -> None:
    volumes, manifests = fill(clinic)
    hide(clinic, manifests["first@1"] if hidden == "manifest" else volumes["second p1"])
    refused = clinic(*words, ok=False)
    assert refused.code == 4
    assert clinic("verify", ok=False).json["damaged"]
    tenant = opened(clinic)
    assert tenant.epoch == 1 + 1, "nothing was destroyed: no epoch but that of the drill"
    for name, stored in volumes.items():
        assert tenant.get("volume", stored) == name.encode()
    tenant.close()


def test_a_deletion_destroys_what_is_no_longer_listed_and_spares_the_rest(clinic: Clinic) -> None:
    volumes, _ = fill(clinic)
    assert clinic("subject", "erase", "p1", "--yes").json["volumes"] == 2
    assert clinic("dataset", "delete", "second", "--yes").json["volumes"] == 2
    left = {volumes["first p2"], volumes["first p3"]}
    assert set(opened(clinic).ids("volume")) == left


def test_an_erasure_fails_where_a_listed_volume_is_not_stored(clinic: Clinic) -> None:
    volumes, _ = fill(clinic)
    tenant = opened(clinic)
    tenant.delete("volume", volumes["first p1"])
    tenant.close()
    refused = clinic("subject", "erase", "p1", "--yes", ok=False)
    assert refused.code == 4
    assert volumes["first p1"] in refused.err
    assert clinic("dataset", "delete", "second", "--yes", ok=False).code == 4


def test_verify_counts_files_that_the_catalogue_does_not_know(clinic: Clinic) -> None:
    volumes, _ = fill(clinic)
    assert clinic("verify").json["unknown"] == 0
    stored = volumes["first p1"]
    folder = clinic.root / "vault" / "clinic" / "objects" / stored[:2]
    (folder / f"{stored}-9").write_bytes(b"left over")
    found = clinic("verify")
    assert (found.json["unknown"], found.json["damaged"]) == (1, [])


def test_a_catalogue_alone_put_back_ends_with_exit_code_4(clinic: Clinic) -> None:
    catalogue = clinic.root / "vault" / "clinic" / "catalogue.db"
    tenant = opened(clinic)
    tenant.close()
    older = catalogue.read_bytes()
    tenant = opened(clinic)
    tenant.journal("ledger").append(b"{}")
    tenant.close()
    catalogue.write_bytes(older)
    with sqlite3.connect(catalogue) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for words in (("budget",), ("verify",), ("log", "verify")):
        assert clinic(*words, ok=False).code == 4, words
