"""Nothing of one tenant opens under another, nor in another place of the same tenant."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import sqlite3
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError, UsageError
from medvae.vault import Tenant, format, objects, verify_signature
from medvae.vault.catalogue import Row, select


def files(tenant: Tenant) -> dict[str, Path]:
    return {path.name.split("-")[0]: path for path in (tenant.root / "objects").glob("*/*-*")}


def test_swapped_object_files(place) -> None:
    """Every pair, within a tenant and across two, of equal and of different sizes."""
    tenants = [place.create("one"), place.create("two")]
    placed = {}
    for tenant, kind, size in itertools.product(tenants, ("volume", "model"), (100, 100, 200)):
        placed[tenant.put(kind, b"x" * size)] = (tenant, kind)
    paths = {**files(tenants[0]), **files(tenants[1])}
    whole = {object_id: path.read_bytes() for object_id, path in paths.items()}
    assert len(whole) == 12
    for victim, source in itertools.permutations(whole, 2):
        paths[victim].write_bytes(whole[source])
        tenant, kind = placed[victim]
        with pytest.raises(IntegrityError, match=victim):
            tenant.get(kind, victim)
        paths[victim].write_bytes(whole[victim])


def test_swapped_rows_do_not_open(place) -> None:
    """Wrapped keys under every other row's and tenant's columns."""
    tenants = [place.create("one"), place.create("two")]
    rows = []
    for tenant in tenants:
        for kind in ("volume", "dataset"):
            for name in ("a", "b"):
                tenant.put(kind, b"same", name=name)
        with tenant._session.read_tx() as (connection, keys):
            rows += [(keys, row) for row in select(connection)]
    for (keys, row), (_, other) in itertools.product(rows, repeat=2):
        moved = replace(row, sealed=other.sealed)
        if row == other:
            objects.open_row(keys, moved)
            continue
        with pytest.raises(IntegrityError, match="does not open"):
            objects.open_row(keys, moved)
        with pytest.raises(IntegrityError, match="does not open"):
            objects.open_row(keys, replace(other, epoch=row.epoch + 1))
    for (keys, _), (owner, row) in itertools.product(rows, repeat=2):
        if keys.tenant_id != owner.tenant_id:
            with pytest.raises(IntegrityError, match="does not open"):
                objects.open_row(keys, row)


@pytest.mark.parametrize("field", [one.name for one in fields(Row)])
def test_every_column_of_a_row_is_bound_by_its_record(place, field: str) -> None:
    tenant = place.create("clinic")
    tenant.put("volume", b"data", name="scan")
    with tenant._session.read_tx() as (connection, keys):
        row = next(select(connection))
    value = getattr(row, field)
    if isinstance(value, bytes):
        changed = bytes([value[0] ^ 1]) + value[1:]
    else:
        changed = value + 1 if isinstance(value, int) else "model"
    objects.open_row(keys, row)
    with pytest.raises(IntegrityError, match="does not open"):
        objects.open_row(keys, replace(row, **{field: changed}))


def test_an_object_is_bound_to_its_place_even_under_its_own_key(place) -> None:
    """As if a data key had been copied to another row, kind, version or tenant."""
    tenant = place.create("clinic")
    tenant.put("volume", b"data")
    with tenant._session.read_tx() as (connection, keys):
        row = next(select(connection))
    data_key, _ = objects.open_row(keys, row)
    message = b"".join(bytes(piece) for piece in tenant._session.store.pieces(row.key))
    assert format.unseal(data_key, objects.object_context(keys, row), [message]) == b"data"
    elsewhere = [
        (replace(keys, tenant_id=b"\1" * 16), row),
        (keys, replace(row, kind="model")),
        (keys, replace(row, object_id=b"\1" * 16)),
        (keys, replace(row, version=2)),
    ]
    for one in elsewhere:
        with pytest.raises(InvalidTag):
            format.unseal(data_key, objects.object_context(*one), [message])


def test_swapped_catalogues_key_rings_and_folders(place) -> None:
    for name in ("one", "two"):
        tenant = place.create(name)
        tenant.put("dataset", name.encode(), name="manifest@1")
        tenant.close()
    root = place.root / "vault"
    keep = place.root / "keep"
    shutil.copytree(root, keep)
    for file in ("catalogue.db", "keyring.json"):
        shutil.copy2(keep / "one" / file, root / "two" / file)
        with pytest.raises(MedvaeError) as caught:
            place.open("two").get_named("dataset", "manifest@1")
        assert isinstance(caught.value, IntegrityError | AccessError)
        shutil.copy2(keep / "two" / file, root / "two" / file)
    assert place.open("two").get_named("dataset", "manifest@1") == b"two"
    shutil.rmtree(root / "two")
    shutil.copytree(keep / "one", root / "two")
    with pytest.raises(IntegrityError, match="holds the key ring of tenant one"):
        place.open("two")


def test_a_tenant_made_by_an_intruder_is_not_taken_for_the_real_one(place) -> None:
    """Somebody who can write to the disk wraps keys of their own to the owner's public key."""
    place.create("clinic").put("volume", b"real")
    real = json.loads((place.root / "vault/clinic/keyring.json").read_text())
    forged_id = real["id"]
    # The intruder's tenant has the same id and name, and the owner as a recipient.
    from medvae.vault import create, keyring
    from medvae.vault.keys import Keys
    from medvae.vault.providers import Recipient

    folder = place.root / "forged"
    folder.mkdir(mode=0o700)
    keys = Keys(bytes.fromhex(forged_id), 1, b"e" * 32, b"r" * 32)
    owner = Recipient(**real["recipients"][0])
    safe = Recipient(**real["recipients"][1])
    ring = keyring.Keyring(
        "clinic", keys.tenant_id, "now", 1e9, keys.signer_public(), "local", (), ()
    )
    ring = keyring.add_epoch(ring, keys, (owner, safe))
    create.LocalStore.create(folder)
    create.Catalogue.create(folder, "clinic", keys.tenant_id, 1)
    (folder / "keyring.json").write_bytes(keyring.encode(ring))
    shutil.rmtree(place.root / "vault/clinic")
    folder.rename(place.root / "vault/clinic")
    with pytest.raises(IntegrityError, match="not the tenant that this identity was made for"):
        place.open("clinic")


@pytest.mark.parametrize("form", ["its own", "another"])
@pytest.mark.parametrize("field", ["epsilon_limit", "created", "store", "signer", "recipients"])
def test_a_changed_key_ring_is_found(place, field: str, form: str) -> None:
    place.create("clinic").close()
    path = place.root / "vault/clinic/keyring.json"
    text = path.read_text()
    ring = json.loads(text)
    # In the form that medvae writes nothing but its MAC tells that it was changed.
    assert json.dumps(ring, indent=1) + "\n" == text
    if field == "recipients":
        ring[field].append({**ring[field][0], "fingerprint": "0" * 32})
    else:
        ring[field] = {
            "epsilon_limit": 1e6,
            "created": "2000-01-01",
            "store": "s3://intruders-bucket",
            "signer": "00" * 32,
        }[field]
    path.write_text(json.dumps(ring, indent=1) + "\n" if form == "its own" else json.dumps(ring))
    with pytest.raises(IntegrityError, match="changed outside medvae"):
        place.open("clinic")


def test_an_id_of_another_tenant_is_not_there(place) -> None:
    one, two = place.create("one"), place.create("two")
    object_id = one.put("volume", b"data")
    with pytest.raises(NotFoundError):
        two.get("volume", object_id)
    with pytest.raises(NotFoundError):
        two.get("volume", "../" + object_id)


def test_signatures_are_a_tenants_own(place) -> None:
    one, two = place.create("one"), place.create("two")
    signature = one.sign(b"release")
    assert verify_signature(one.public_key(), signature, b"release")
    assert not verify_signature(one.public_key(), signature, b"releasE")
    assert not verify_signature(two.public_key(), signature, b"release")
    assert not verify_signature(one.public_key(), signature[:-1], b"release")
    assert not verify_signature(one.public_key(), b"", b"release")


def in_pem(raw: bytes) -> bytes:
    body = base64.b64encode(raw)
    return b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n"


ED25519 = bytes.fromhex("302a300506032b6570032100") + bytes(31) + b"\1"
SECP224K1 = bytes.fromhex("304e301006072a8648ce3d020106052b81040020033a0004") + bytes(56)


@given(st.sampled_from([ED25519, SECP224K1]), st.lists(st.tuples(st.integers(0, 79), st.binary())))
@example(SECP224K1, [])
@settings(max_examples=500, deadline=None)
def test_a_malformed_public_key_is_refused_by_name(start: bytes, changes) -> None:
    """Whatever it is made of: a verdict or medvae's own error, never the library's."""
    raw = start
    for at, put in changes:
        raw = raw[:at] + put + raw[at + len(put) :]
    for key in (in_pem(raw), raw, in_pem(raw)[:-9]):
        try:
            assert verify_signature(key, bytes(64), b"release") in (True, False)
        except UsageError as error:
            assert "the public key is not" in str(error)  # noqa: PT017


def test_the_vaults_own_records_are_not_signed_on_request(place) -> None:
    with pytest.raises(MedvaeError, match="imitate"):
        place.create("one").sign(b"medvae-vault\0\0\0\1...")


def test_a_catalogue_link_is_not_followed(place) -> None:
    tenant = place.create("clinic")
    tenant.close()
    path = tenant.root / "catalogue.db"
    path.rename(place.root / "moved.db")
    path.symlink_to(place.root / "moved.db")
    with pytest.raises(IntegrityError, match="symbolic link"):
        place.open("clinic")


def test_a_tenant_folder_link_is_not_followed(place) -> None:
    place.create("clinic").close()
    folder = place.root / "vault/clinic"
    folder.rename(place.root / "moved")
    folder.symlink_to(place.root / "moved")
    assert place.vault.tenants() == []
    with pytest.raises(AccessError, match="not a link"):
        place.open("clinic")


def test_the_catalogue_has_no_names_in_plain(place) -> None:
    tenant = place.create("clinic")
    tenant.put("dataset", b"secret contents", name="liver-of-mr-smith@1")
    tenant.journal("ledger-of-smith").append(b"subject smith")
    tenant.record("ingest", dataset="liver-of-mr-smith")
    tenant.close()
    with sqlite3.connect(tenant.root / "catalogue.db") as raw:
        dump = "".join(raw.iterdump()).encode()
    for path in (tenant.root).rglob("*"):
        if path.is_file():
            dump += path.read_bytes()
    assert b"smith" not in dump
    assert b"smith".hex().encode() not in dump.lower()
    assert b"secret contents" not in dump
