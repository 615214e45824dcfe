"""Files of format version 1, made once, that every later medvae must open."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from make_golden import EVENTS, PASSPHRASE, SIZES, data

from medvae.vault import Vault, verify_signature

GOLDEN = Path(__file__).parent / "golden" / "v1"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy with the modes that version control does not keep."""
    copy = tmp_path / "v1"
    shutil.copytree(GOLDEN, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    for keep in copy.rglob(".keep"):
        keep.unlink()
    return copy


@pytest.mark.parametrize("which", ["identity.json", "sealed.json", "recovery.json"])
def test_version_1_opens(golden: Path, which: str) -> None:
    passphrase = PASSPHRASE if which == "sealed.json" else None
    vault = Vault(golden / "vault")
    tenant = vault.open("golden", identity=golden / which, passphrase=passphrase)
    for size in SIZES:
        assert tenant.get_named("volume", f"bytes-{size}") == data(size)
    assert tenant.get_named("model", "model") == b"new"
    assert tenant.epsilon_limit == 7.5
    assert tenant.journal("ledger").entries() == [f"debit {mark}".encode() for mark in range(3)]
    assert [event["event"] for event in tenant.events()[-len(EVENTS) :]] == list(EVENTS)
    assert tenant.verify(read_data=True).damaged == []
    assert tenant.verify_log().valid
    anchor, head, pseudonym, digest, derived, signature = (
        (golden / "expected.txt").read_text().splitlines()
    )
    tenant.check_anchor(anchor)
    tenant.journal("ledger").check(head)
    assert tenant.pseudonym("patient") == pseudonym
    assert tenant.digest(b"x", "y") == digest
    assert tenant.derive("noise", b"run").hex() == derived
    public = (golden / "public.pem").read_bytes()
    assert tenant.public_key() == public
    assert tenant.sign(b"release").hex() == signature
    assert verify_signature(public, bytes.fromhex(signature), b"release")


def test_version_1_can_be_worked_with(golden: Path) -> None:
    vault = Vault(golden / "vault")
    tenant = vault.open("golden", identity=golden / "identity.json")
    tenant.rotate()
    tenant.reseal()
    tenant.put("volume", b"new")
    tenant.journal("ledger").append(b"debit 3")
    again = vault.open("golden", identity=golden / "recovery.json")
    assert again.get_named("volume", "bytes-16385") == data(16385)
    assert again.verify(read_data=True).damaged == []
    tenant.check_anchor((golden / "expected.txt").read_text().splitlines()[0])
