"""Approval keys: one an identity, listed by the tenant, of no use to anybody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvae.errors import AccessError, IntegrityError, UsageError
from medvae.vault import (
    Tenant,
    approver_of,
    identity,
    keyring,
    new_identity,
    recipient_of,
    recipient_of_passphrase,
    verify_signature,
)
from medvae.vault.identity import Identity
from tests.vault.conftest import Place


def edited(path: Path, **changes: object) -> Path:
    told = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            told.pop(key)
        else:
            told[key] = value
    path.write_text(json.dumps(told))
    return path


def test_an_identity_signs_by_a_key_of_its_own(tenant: Tenant, place: Place) -> None:
    colleague = place.root / "colleague"
    new_identity(colleague)
    tenant.add_recipient(recipient_of(colleague, "colleague"))
    theirs = place.vault.open("clinic", identity=colleague)
    own, other = tenant.approvals.own(), theirs.approvals.own()
    assert len({own, other, tenant.public_key()}) == 3
    assert set(theirs.approvals.listed()) == {own, other}
    signature = theirs.approvals.sign(b"release")
    assert verify_signature(other, signature, b"release")
    assert not verify_signature(own, signature, b"release")
    theirs.close()


def test_the_approval_key_is_fixed_by_the_seed() -> None:
    seed = bytes(range(32))
    assert Identity(seed).approver_public() == Identity(seed).approver_public()
    assert Identity(seed).approver_public() == (
        "270d83e70ee2bb949faddc4fa9eaea377d095e516a44fa0038826f71cc6b953d"
    )


def test_recovery_keys_and_passphrases_approve_nothing(tenant: Tenant, place: Place) -> None:
    words = "seven words drawn by dice and more"
    tenant.add_recipient(recipient_of_passphrase(words, "words"))
    assert {one.label: approver_of(one) is None for one in tenant.recipients()} == {
        "identity": False,
        "recovery": True,
        "words": True,
    }
    for opened in (
        place.vault.open("clinic", passphrase=words),
        place.vault.open("clinic", identity=place.recovery("clinic")),
    ):
        with pytest.raises(AccessError, match="has no approval key"):
            opened.approvals.sign(b"release")
        opened.close()


def test_files_of_earlier_versions_open_but_do_not_approve(tenant: Tenant, place: Place) -> None:
    colleague = place.root / "colleague"
    new_identity(colleague)
    old = edited(colleague, approver=None)
    tenant.add_recipient(recipient_of(old, "colleague"))
    theirs = place.vault.open("clinic", identity=old)
    with pytest.raises(AccessError, match="has no approval key"):
        theirs.approvals.own()
    theirs.close()


def test_a_recovered_identity_can_approve(tenant: Tenant, place: Place) -> None:
    new = place.root / "new"
    place.vault.recover("clinic", recovery=place.recovery("clinic"), identity=new)
    opened = place.vault.open("clinic", identity=new)
    assert opened.approvals.own() in opened.approvals.listed()
    opened.close()


def test_an_approval_key_that_is_not_the_files_is_found(place: Place) -> None:
    place.create("clinic").close()
    edited(place.identity("clinic"), approver=Identity.new().approver_public())
    with pytest.raises(IntegrityError, match="do not match"):
        place.open("clinic")


@pytest.mark.parametrize("raw", ["", "00", "00" * 32, "zz" * 32, 7, ["00" * 32], "ff" * 32])
def test_an_approval_key_that_anybody_could_use_is_no_recipients(place: Place, raw: object) -> None:
    place.root.joinpath("keys").mkdir()
    path = place.root / "keys" / "colleague"
    new_identity(path)
    edited(path, approver=raw)
    with pytest.raises(UsageError, match="no public key"):
        recipient_of(path, "colleague")


def test_the_demand_cannot_be_taken_out_of_the_key_ring(place: Place) -> None:
    tenant = place.vault.create_tenant(
        "clinic",
        identity=place.identity("clinic"),
        recovery=place.recovery("clinic"),
        approvals=1,
    )
    assert tenant.approvals.required == 1
    tenant.close()
    ring = tenant.root / keyring.FILE
    good = ring.read_bytes()
    edited(ring, approvals=None)
    with pytest.raises(IntegrityError, match="was changed outside medvae"):
        place.open("clinic")
    for wrong in (2, -1, True, "1"):
        ring.write_bytes(good)
        edited(ring, approvals=wrong)
        with pytest.raises(IntegrityError):
            place.open("clinic")
    ring.write_bytes(good)
    opened = place.open("clinic")
    opened.rotate()
    assert opened.approvals.required == 1
    opened.close()
    with pytest.raises(UsageError, match="0 approvals or 1"):
        place.vault.create_tenant(
            "other",
            identity=place.identity("other"),
            recovery=place.recovery("other"),
            approvals=2,
        )


def test_the_form_of_the_file_says_the_approval_key() -> None:
    one = Identity.new()
    told = json.loads(identity.encode(one, "words", "identity"))
    assert told["approver"] == one.approver_public()
    assert "approver" not in json.loads(identity.encode(one, None, "recovery"))
