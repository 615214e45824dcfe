"""What a tenant does with objects: put, get, names, deletion, transactions, access."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError
from medvae.vault import Tenant, Vault


@pytest.mark.parametrize("size", [0, 1, 4096, 16383, 16384, 16385, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_what_was_put_is_got(tenant: Tenant, size: int) -> None:
    data = os.urandom(size)
    assert tenant.get("volume", tenant.put("volume", data)) == data


def test_a_buffer_that_is_used_again(tenant: Tenant) -> None:
    sizes = [6 << 20, 70_000, 0]
    data = [os.urandom(size) for size in sizes]
    ids = [tenant.put("volume", one) for one in data]
    buffer = bytearray(6 << 20)
    for object_id, one in zip(ids, data, strict=True):
        assert tenant.get_into("volume", object_id, buffer) == len(one)
        assert buffer[: len(one)] == one
    with pytest.raises(UsageError, match="needs 70000 bytes, the buffer has 10"):
        tenant.get_into("volume", ids[1], bytearray(10))
    (path,) = (tenant.root / "objects").glob(f"*/{ids[0]}-1")
    raw = bytearray(path.read_bytes())
    raw[-100_000] ^= 1
    path.write_bytes(raw)
    buffer[:] = b"\xaa" * len(buffer)
    with pytest.raises(IntegrityError, match=ids[0]):
        tenant.get_into("volume", ids[0], buffer)
    assert not any(buffer)


def test_another_kind_is_another_object(tenant: Tenant) -> None:
    object_id = tenant.put("volume", b"voxels")
    with pytest.raises(NotFoundError, match=object_id):
        tenant.get("model", object_id)


def test_names_are_found_and_sorted(tenant: Tenant) -> None:
    second = tenant.put("dataset", b"2", name="b@1")
    tenant.put("dataset", b"1", name="a@1")
    tenant.put("model", b"3", name="a@1")
    assert tenant.names("dataset") == ["a@1", "b@1"]
    assert tenant.find("dataset", "b@1") == second
    assert tenant.find("dataset", "c@1") is None
    assert tenant.get_named("model", "a@1") == b"3"


def test_a_name_is_taken_once(tenant: Tenant) -> None:
    first = tenant.put("model", b"old", name="liver")
    with pytest.raises(UsageError, match="model liver exists already"):
        tenant.put("model", b"new", name="liver")
    assert tenant.put("model", b"new", name="liver", replace=True) == first
    assert tenant.get_named("model", "liver") == b"new"
    assert len(list((tenant.root / "objects").glob("*/*"))) == 1


def test_deletion(tenant: Tenant) -> None:
    gone, kept = tenant.put("volume", b"gone"), tenant.put("volume", b"kept")
    before = tenant.epoch
    tenant.delete("volume", gone)
    with pytest.raises(NotFoundError):
        tenant.get("volume", gone)
    assert tenant.get("volume", kept) == b"kept"
    assert tenant.epoch == before + 1


def test_a_transaction_is_all_or_nothing(tenant: Tenant, place) -> None:
    old = tenant.put("dataset", b"1", name="d@1")
    other = place.open("clinic")
    with pytest.raises(RuntimeError), tenant.transaction():  # noqa: PT012
        tenant.put("volume", b"lost")
        tenant.put("dataset", b"2", name="d@1", replace=True)
        tenant.put("dataset", b"3", name="e@1")
        assert tenant.get_named("dataset", "d@1") == b"2"
        assert tenant.names("dataset") == ["d@1", "e@1"]
        assert other.get_named("dataset", "d@1") == b"1"
        raise RuntimeError
    assert tenant.names("dataset") == ["d@1"]
    assert tenant.get("dataset", old) == b"1"
    assert tenant.ids("volume") == []
    assert list((tenant.root / "tmp").iterdir()) == []
    with tenant.transaction():
        tenant.put("volume", b"kept")
        tenant.delete("dataset", old)
        tenant.put("dataset", b"again", name="d@1")
    assert other.get_named("dataset", "d@1") == b"again"
    assert len(other.ids("volume")) == 1


def test_a_wrong_identity_is_refused_and_that_is_logged(place) -> None:
    place.create("clinic")
    place.create("other")
    with pytest.raises(AccessError, match="not among the recipients of tenant clinic"):
        place.vault.open("clinic", identity=place.identity("other"))
    last = place.open("clinic").events()[-1]
    assert (last["event"], last["outcome"]) == ("open", "refused")


def test_a_passphrase_is_wanted_and_checked(place) -> None:
    place.create("clinic", passphrase="correct horse")
    assert place.open("clinic", passphrase="correct horse").name == "clinic"
    with pytest.raises(AccessError, match="MEDVAE_PASSPHRASE"):
        place.open("clinic")
    with pytest.raises(AccessError, match="passphrase does not open"):
        place.open("clinic", passphrase="battery staple")
    assert b"correct" not in place.identity("clinic").read_bytes()


def test_one_identity_may_hold_two_tenants(place) -> None:
    one = place.create("one")
    two = place.vault.create_tenant(
        "two", identity=place.identity("one"), recovery=place.recovery("two")
    )
    object_id = one.put("volume", b"of one")
    with pytest.raises(NotFoundError):
        two.get("volume", object_id)
    assert place.vault.open("two", identity=place.identity("one")).name == "two"
    assert place.open("one").get("volume", object_id) == b"of one"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        "_a",
        "a/b",
        "..",
        "a" * 64,
        "a b",
        "a\n",
        "ä",
        "anatomy",
        "con",
        "nul",
        "com1",
    ],
)
def test_names_of_tenants(place, name: str) -> None:
    with pytest.raises(UsageError, match="not a name of a tenant"):
        place.create(name)
    assert place.vault.tenants() == []


def test_half_a_character_is_no_name_of_an_object(tenant: Tenant) -> None:
    with pytest.raises(UsageError, match="surrogate"):
        tenant.put("dataset", b"x", name="scans\udc80")


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_limits(place, limit: float) -> None:
    with pytest.raises(UsageError, match="epsilon limit"):
        place.vault.create_tenant(
            "clinic",
            identity=place.identity("clinic"),
            recovery=place.recovery("clinic"),
            epsilon_limit=limit,
        )


def test_creation_is_exclusive(place) -> None:
    place.create("clinic").put("volume", b"data")
    place.recovery("clinic").rename(place.root / "moved")
    with pytest.raises(UsageError, match="clinic exists already"):
        place.create("clinic")
    assert len(place.open("clinic").ids("volume")) == 1


def test_a_recovery_key_is_never_overwritten(place) -> None:
    place.create("clinic")
    with pytest.raises(UsageError, match="never overwritten"):
        place.vault.create_tenant(
            "new", identity=place.identity("new"), recovery=place.recovery("clinic")
        )
    assert [one.name for one in place.vault.tenants()] == ["clinic"]
    assert not list((place.root / "vault").glob(".creating-*"))


def test_a_file_that_is_no_identity_is_left_alone(place) -> None:
    path = place.identity("clinic")
    path.parent.mkdir()
    path.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    path.chmod(0o600)
    with pytest.raises(IntegrityError, match="not a medvae identity"):
        place.create("clinic")
    assert path.read_bytes().startswith(b"-----BEGIN")


def test_modes(place) -> None:
    tenant = place.create("clinic")
    tenant.put("volume", b"data")
    tenant.journal("ledger").append(b"debit")
    for folder, _, files in os.walk(place.root / "vault"):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        for file in files:
            assert stat.S_IMODE((Path(folder) / file).stat().st_mode) == 0o600, file
    for path in (place.identity("clinic"), place.recovery("clinic")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_folders_open_to_others_are_refused(place) -> None:
    place.create("clinic")
    (place.root / "vault" / "clinic").chmod(0o755)
    with pytest.raises(AccessError, match="chmod 700"):
        place.open("clinic")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o610, 0o604, 0o602, 0o601])
def test_an_identity_open_to_others_is_refused(place, mode) -> None:
    place.create("clinic")
    place.identity("clinic").chmod(mode)
    with pytest.raises(AccessError, match="chmod 600"):
        place.open("clinic")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_an_identity_of_its_owner_alone_opens(place, mode) -> None:
    place.create("clinic")
    place.identity("clinic").chmod(mode)
    place.open("clinic")


def test_what_is_not_there(place) -> None:
    with pytest.raises(NotFoundError, match="tenant nobody"):
        place.vault.open("nobody", identity=place.identity("nobody"))
    place.create("clinic")
    with pytest.raises(NotFoundError, match="no identity file"):
        place.vault.open("clinic", identity=place.root / "missing")
    with pytest.raises(NotFoundError, match="model liver"):
        place.open("clinic").get_named("model", "liver")


def test_pseudonyms_and_digests_are_keyed(place) -> None:
    one, two = place.create("one"), place.create("two")
    assert one.pseudonym("patient 1") == place.open("one").pseudonym("patient 1")
    assert one.pseudonym("patient 1") != two.pseudonym("patient 1")
    assert len(one.pseudonym("x")) == 17
    assert one.digest(b"data", "a") != one.digest(b"data", "b")
    assert one.digest(b"data", "a") != two.digest(b"data", "a")
    assert one.derive("noise", b"run") != one.derive("noise", b"other")
    before = one.pseudonym("x"), one.digest(b"x", "a"), one.derive("n"), one.public_key()
    one.rotate()
    assert before == (one.pseudonym("x"), one.digest(b"x", "a"), one.derive("n"), one.public_key())


def test_import_is_light() -> None:
    code = (
        "import sys, time; import medvae.vault; "
        "heavy = {'torch', 'numpy', 'monai', 'pydantic', 'obstore', 'pydicom'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_vault_is_made_on_first_use(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "deep" / "vault")
    assert vault.tenants() == []
    assert not (tmp_path / "deep").exists()
