"""A tenant that another machine opens from a copy of its key ring and catalogue."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError
from medvae.vault import Tenant, Vault
from medvae.vault.copied import Copy
from medvae.vault.follow import Asking, answer, copy_of, follow, recipient, store_of
from medvae.vault.providers import UnwrapError
from medvae.vault.slots import wrap_for

NAME = "clinic"


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    made = Vault(tmp_path / "vault").create_tenant(
        NAME, identity=tmp_path / "key", recovery=tmp_path / "spare"
    )
    made.put("volume", b"voxels of somebody", name="a")
    return made


def asking(tenant: Tenant) -> Asking:
    return Asking(*recipient(tenant), lambda *asked: answer(tenant, *asked))


def folder(tenant: Tenant, place: Path) -> Path:
    """A tenant's folder with its sealed objects alone."""
    place.mkdir(mode=0o700)
    shutil.copytree(tenant.root / "objects", place / "objects")
    return place


def opened(tenant: Tenant, place: Path, **changed: object) -> Tenant:
    ring, catalogue = copy_of(tenant)
    given = {"ring": ring, "catalogue": catalogue, "store": store_of(tenant)} | changed
    return follow(place, NAME, asking(tenant), Copy(**given))  # type: ignore[arg-type]


def test_a_copy_reads_what_is_committed_and_writes_nothing(tenant, tmp_path) -> None:
    place = folder(tenant, tmp_path / "elsewhere")
    # In the write-ahead log alone, and after the copy.
    other = opened(tenant, place)
    tenant.put("volume", b"somebody else", name="b")
    assert other.get_named("volume", "a") == b"voxels of somebody"
    assert other.find("volume", "b") is None
    with pytest.raises(AccessError, match="for reading alone"):
        other.put("volume", b"more", name="c")
    with pytest.raises(AccessError, match="for reading alone"):
        other.record("train")
    assert sorted(one.name for one in place.iterdir()) == ["objects"]
    other.close()


def test_a_copy_that_was_changed_is_refused(tenant, tmp_path) -> None:
    place = folder(tenant, tmp_path / "elsewhere")
    ring, catalogue = copy_of(tenant)
    with pytest.raises(IntegrityError, match="catalogue"):
        opened(tenant, place, catalogue=catalogue[:100]).names("volume")
    tenant.put("volume", b"somebody else", name="b")
    later = copy_of(tenant)
    at = later[1].index(tenant.find("volume", "b") and bytes.fromhex(tenant.find("volume", "b")))
    changed = bytearray(later[1])
    changed[at + 40] ^= 1
    with pytest.raises(IntegrityError):
        opened(tenant, place, catalogue=bytes(changed)).names("volume")
    with pytest.raises(IntegrityError, match="no key ring"):
        opened(tenant, place, ring=b"{}")
    with pytest.raises(IntegrityError, match="changed outside medvae"):
        opened(tenant, place, ring=ring.replace(b'"epsilon_limit": 20.0', b'"epsilon_limit": 49.0'))


def test_objects_are_read_from_nowhere_but_where_they_are_expected(tenant, tmp_path) -> None:
    place = folder(tenant, tmp_path / "elsewhere")
    with pytest.raises(AccessError, match="nothing is read from there"):
        opened(tenant, place, store="s3://another/bucket")
    place.chmod(0o755)
    with pytest.raises(AccessError, match="open to other accounts"):
        opened(tenant, place)
    with pytest.raises(NotFoundError):
        opened(tenant, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../clinic", "/etc", "a/b", "", ".", "anatomy"])
def test_a_name_that_leads_elsewhere_is_refused(tenant, tmp_path, name) -> None:
    with pytest.raises(UsageError, match="is not a name of a tenant"):
        follow(tmp_path, name, asking(tenant))


def test_a_key_crosses_sealed_to_who_asked(tenant) -> None:
    """Whoever reads an answer has no key; one that was made for another opens nothing."""
    answers: list[bytes] = []

    def ask(sealed: bytes, bound: bytes, public: bytes) -> bytes | None:
        answered = answer(tenant, sealed, bound, public)
        assert answered is not None
        answers.append(answered)
        return answers[0]

    ring, catalogue = copy_of(tenant)
    copy = Copy(ring, catalogue, "local")
    follow(tenant.root, NAME, Asking(*recipient(tenant), ask), copy).close()
    key = tenant._session.keys.epoch
    assert all(key not in one for one in answers)
    with pytest.raises(AccessError, match="sent no key"):
        follow(tenant.root, NAME, Asking(*recipient(tenant), ask), copy)


def test_who_asks_with_no_key_is_refused(tenant) -> None:
    session = tenant._session
    name = session.provider.fingerprint()
    (epoch,) = session.ring.epochs
    from medvae.vault.slots import slot_context

    bound = slot_context(session.ring.tenant_id, epoch.number, name)
    with pytest.raises(IntegrityError, match="no public key"):
        answer(tenant, epoch.slots[name], bound, b"x" * 1216 + b"y")
    assert answer(tenant, b"no slot", bound, b"") is None


def test_a_process_of_one_training_is_given_no_key_of_another_tenant(tenant, tmp_path) -> None:
    """One identity opens both."""
    other = Vault(tmp_path / "vault").create_tenant(
        "ward", identity=tmp_path / "key", recovery=tmp_path / "spare2"
    )
    follow(other.root, "ward", asking(other)).close()
    with pytest.raises(IntegrityError, match="the key slot of identity"):
        follow(other.root, "ward", asking(tenant))
    # Nor a slot that is sealed to it for anything else.
    asked = asking(tenant)
    bound = b"another use of the identity"
    sealed = wrap_for(tenant._session.ring.recipients[0], b"k" * 32, bound)
    assert tenant._session.provider.unwrap(sealed, bound) == b"k" * 32
    with pytest.raises(UnwrapError):
        asked.unwrap(sealed, bound)
    other.close()


def test_a_tenant_in_a_bucket_needs_no_folder(s3: str, tmp_path) -> None:
    made = Vault(tmp_path / "vault").create_tenant(
        NAME, identity=tmp_path / "key", recovery=tmp_path / "spare", store=s3
    )
    made.put("volume", b"voxels of somebody", name="a")
    other = opened(made, tmp_path / "nowhere")
    assert other.get_named("volume", "a") == b"voxels of somebody"
    assert not (tmp_path / "nowhere").exists()
    other.close()
    made.close()
