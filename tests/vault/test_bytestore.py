"""One suite that every byte store must pass: the local folder, and S3 over a real server."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from medvae.errors import AccessError, IntegrityError, MedvaeError, UsageError
from medvae.vault import elsewhere
from medvae.vault.bytestore import ByteStore, LocalStore
from medvae.vault.stores import open_store

TENANT = bytes(range(16))
KEY = f"ab/ab{'0' * 30}-1"
OTHER = f"cd/cd{'0' * 30}-1"


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    return "local" if request.param == "local" else request.getfixturevalue("s3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    LocalStore.create(tmp_path)
    return tmp_path


@pytest.fixture
def store(url: str, folder: Path) -> ByteStore:
    return open_store(url, folder, TENANT)


def content(store: ByteStore, key: str, *, staged: bool = False) -> bytes:
    return b"".join(bytes(piece) for piece in store.pieces(key, staged=staged))


def put(store: ByteStore, key: str, data: bytes) -> None:
    store.stage(key, [memoryview(data)])
    store.publish([key])


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 20) + 7, 11 << 20])
def test_round_trip(store: ByteStore, size: int) -> None:
    data = os.urandom(size)
    pieces = [memoryview(data)[at : at + (1 << 20)] for at in range(0, size, 1 << 20)]
    stored = store.stage(KEY, pieces)
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(data).digest())
    assert store.size(KEY) is None
    assert content(store, KEY, staged=True) == data
    store.publish([KEY])
    assert store.size(KEY) == size
    assert content(store, KEY) == data


def test_pieces_that_reuse_a_buffer(store: ByteStore) -> None:
    buffer = bytearray(1 << 20)

    def pieces() -> Iterator[memoryview]:
        for mark in range(5):
            buffer[:] = bytes([mark]) * len(buffer)
            yield memoryview(buffer)

    store.stage(KEY, pieces())
    store.publish([KEY])
    assert content(store, KEY) == b"".join(bytes([mark]) * (1 << 20) for mark in range(5))


def test_what_is_discarded_is_gone(store: ByteStore) -> None:
    store.stage(KEY, [memoryview(b"x")])
    store.discard([KEY, OTHER])
    assert store.size(KEY) is None
    assert store.sweep() == 0


def test_a_failed_stage_leaves_nothing(store: ByteStore) -> None:
    def pieces() -> Iterator[memoryview]:
        yield memoryview(b"x" * 100)
        raise RuntimeError("the source broke")

    with pytest.raises(Exception, match="the source broke"):
        store.stage(KEY, pieces())
    assert store.size(KEY) is None
    assert store.sweep() == 0


def test_sweep_takes_what_is_staged_and_old(url: str, folder: Path) -> None:
    put(open_store(url, folder, TENANT), OTHER, b"published")
    open_store(url, folder, TENANT).stage(KEY, [memoryview(b"of a process that died")])
    after = open_store(url, folder, TENANT)
    assert after.sweep(older_than=3600) == 0
    assert after.sweep() == 1
    assert content(after, OTHER) == b"published"


def test_delete(store: ByteStore) -> None:
    put(store, KEY, b"x")
    store.delete([KEY, OTHER])
    assert store.size(KEY) is None
    with pytest.raises(FileNotFoundError):
        content(store, KEY)


def test_entries(store: ByteStore) -> None:
    put(store, KEY, b"four")
    put(store, OTHER, b"")
    found = {entry.key: entry for entry in store.entries()}
    assert {key: entry.size for key, entry in found.items()} == {KEY: 4, OTHER: 0}
    assert -5 < found[KEY].age < 60


def test_quarantine_moves_the_bytes_unchanged(store: ByteStore) -> None:
    put(store, KEY, b"damaged")
    first = store.quarantine(KEY)
    assert store.size(KEY) is None
    put(store, KEY, b"damaged again")
    assert store.quarantine(KEY) != first


def test_publishing_over_something_sets_it_aside(store: ByteStore, folder: Path, url: str) -> None:
    put(store, KEY, b"from a commit that was cut off")
    put(store, KEY, b"new")
    assert content(store, KEY) == b"new"
    if url == "local":
        (aside,) = (folder / "quarantine").iterdir()
        assert aside.read_bytes() == b"from a commit that was cut off"


def test_tenants_do_not_meet(url: str, folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    LocalStore.create(second)
    put(open_store(url, folder, TENANT), KEY, b"of one")
    other = open_store(url, second, bytes(16))
    assert other.size(KEY) is None
    assert list(other.entries()) == []


@pytest.mark.parametrize(
    "key", ["../x", "ab/../../etc/passwd", "/etc/passwd", "ab/cd", "", KEY + "/"]
)
def test_only_keys_of_objects(store: ByteStore, key: str) -> None:
    with pytest.raises(MedvaeError):
        store.stage(key, [memoryview(b"x")])
    with pytest.raises(MedvaeError):
        store.size(key)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_are_not_followed(folder: Path, tmp_path: Path, what: str) -> None:
    store = open_store("local", folder, TENANT)
    put(store, KEY, b"data")
    path = folder / "objects" / KEY
    target = path if what == "file" else path.parent
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"symbolic link|not a regular file"):
        store.size(KEY)
    with pytest.raises(IntegrityError, match="symbolic link"):
        content(store, KEY)


def test_a_tenant_over_s3(s3: str, place) -> None:
    tenant = place.vault.create_tenant(
        "clinic", identity=place.identity("clinic"), recovery=place.recovery("clinic"), store=s3
    )
    object_id = tenant.put("volume", b"voxels" * 1000)
    tenant.put("model", b"old", name="m")
    tenant.put("model", b"new", name="m", replace=True)
    tenant.reseal()
    again = place.open("clinic")
    assert again.get("volume", object_id) == b"voxels" * 1000
    assert again.get_named("model", "m") == b"new"
    report = again.verify(read_data=True)
    assert (report.objects, report.damaged, report.orphans) == (2, [], [])
    assert place.vault.scrub("clinic", identity=place.identity("clinic")).damaged == []
    place.vault.erase("clinic", identity=place.identity("clinic"))
    store = open_store(s3, place.root, again._session.keys.tenant_id)
    assert list(store.entries()) == []


def test_an_erasure_whose_store_refuses_once_is_finished_by_its_repetition(
    s3: str, place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = place.vault.create_tenant(
        "clinic", identity=place.identity("clinic"), recovery=place.recovery("clinic"), store=s3
    )
    tenant.put("volume", b"data")
    store = open_store(s3, place.root, tenant._session.keys.tenant_id)
    tenant.close()

    def refuses(_: object) -> None:
        raise AccessError("the store refuses")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "purge", refuses)
        with pytest.raises(AccessError, match="refuses"):
            place.vault.erase("clinic", identity=place.identity("clinic"))
        # Other work goes on, and what is left opens nothing.
        place.create("other").close()
        assert not list((place.root / "vault").glob(".erased*/keyring.json"))
        assert list(store.entries())
    # What is left was signed by the tenant, which an identity of it knows.
    with pytest.raises(AccessError, match="--identity"):
        place.vault.erase("clinic")
    assert list(store.entries())
    place.vault.erase("clinic", identity=place.identity("clinic"))
    assert not list(store.entries())
    assert [path.name for path in (place.root / "vault").iterdir()] == ["other"]


def test_damage_in_s3_is_found(s3: str, place) -> None:
    import boto3

    tenant = place.vault.create_tenant(
        "clinic", identity=place.identity("clinic"), recovery=place.recovery("clinic"), store=s3
    )
    object_id = tenant.put("volume", b"voxels" * 1000)
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket = s3.split("/")[2]
    (entry,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    raw = bytearray(client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
    raw[1000] ^= 1
    client.put_object(Bucket=bucket, Key=entry["Key"], Body=bytes(raw))
    with pytest.raises(IntegrityError, match=f"volume {object_id}: damaged"):
        tenant.get("volume", object_id)
    assert [damage.object_id for damage in tenant.repair().lost] == [object_id]
    with pytest.raises(IntegrityError, match="missing"):
        tenant.get("volume", object_id)


def test_a_store_that_is_not_there(s3: str, place, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccessError, match="bucket"):
        place.vault.create_tenant(
            "clinic",
            identity=place.identity("clinic"),
            recovery=place.recovery("clinic"),
            store="s3://no-such-bucket",
        )
    assert place.vault.tenants() == []
    assert not place.recovery("clinic").exists()


@pytest.mark.parametrize("url", ["ftp://x", "s3://", "s3://UP", "s3://a-bucket/../up", "/tmp/x"])
def test_addresses(url: str, place) -> None:
    with pytest.raises(UsageError, match="not"):
        place.vault.create_tenant(
            "clinic",
            identity=place.identity("clinic"),
            recovery=place.recovery("clinic"),
            store=url,
        )


def over_s3(place, s3: str, name: str) -> object:
    """A tenant with an object in the store; closed. Gives its store."""
    tenant = place.vault.create_tenant(
        name, identity=place.identity(name), recovery=place.recovery(name), store=s3
    )
    tenant.put("volume", b"data")
    store = open_store(s3, place.root, tenant._session.keys.tenant_id)
    tenant.close()
    return store


def test_a_key_ring_that_was_edited_does_not_erase_another_tenants_objects(s3: str, place) -> None:
    mine, victim = over_s3(place, s3, "clinic"), over_s3(place, s3, "victim")
    ring, other = (place.root / "vault" / name / "keyring.json" for name in ("clinic", "victim"))
    facts, foreign = json.loads(ring.read_bytes()), json.loads(other.read_bytes())
    ring.write_text(json.dumps(facts | {"id": foreign["id"]}))
    for identity in (None, place.identity("clinic")):
        with pytest.raises(AccessError, match="--keys-only"):
            place.vault.erase("clinic", identity=identity)
        assert ring.exists()
    place.vault.erase("clinic", keys_only=True)
    assert list(victim.entries())
    assert list(mine.entries())
    assert [one.name for one in place.vault.tenants()] == ["victim"]


def test_a_scrub_lists_no_store_whose_address_the_tenant_has_not_signed(
    s3: str, place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who can write to the key ring names the bucket, or the objects, of another."""
    over_s3(place, s3, "clinic")
    over_s3(place, s3, "victim")
    known = place.identity("clinic")
    assert place.vault.scrub("clinic", identity=known).objects == 1
    asked: list[object] = []
    monkeypatch.setattr("medvae.vault.s3store.connect", lambda *words: asked.append(words))
    with pytest.raises(AccessError, match="only an identity of the tenant proves where"):
        place.vault.scrub("clinic")
    ring, other = (place.root / "vault" / name / "keyring.json" for name in ("clinic", "victim"))
    facts, foreign = json.loads(ring.read_bytes()), json.loads(other.read_bytes())
    for change in ({"store": f"{s3}x"}, {"id": foreign["id"]}):
        ring.write_text(json.dumps(facts | change))
        for identity in (None, known):
            with pytest.raises((AccessError, IntegrityError)):
                place.vault.scrub("clinic", identity=identity)
    assert asked == []


def test_objects_elsewhere_are_erased_with_an_identity_or_left_knowingly(s3: str, place) -> None:
    store = over_s3(place, s3, "clinic")
    with pytest.raises(AccessError, match="--keys-only"):
        place.vault.erase("clinic")
    place.open("clinic").close()
    place.vault.erase("clinic", keys_only=True)
    assert list(store.entries())
    assert list((place.root / "vault").iterdir()) == []


@pytest.mark.parametrize("change", ["store", "tenant", "signature"])
def test_a_planted_note_of_an_erasure_removes_nothing(s3: str, place, change: str) -> None:
    """Somebody who can write to the vault copies and edits what an erasure has left."""
    mine, victim = over_s3(place, s3, "clinic"), over_s3(place, s3, "victim")
    tenant = place.open("clinic")
    elsewhere.remember(tenant._session)
    tenant.close()
    note = json.loads((place.root / "vault/clinic/store.json").read_bytes())
    other = json.loads((place.root / "vault/victim/keyring.json").read_bytes())
    changed = {"store": f"{s3}x", "tenant": other["id"], "signature": "00" * 64}[change]
    planted = place.root / "vault/.erased-ghost.0"
    planted.mkdir(mode=0o700)
    (planted / "store.json").write_text(json.dumps(note | {change: changed}))
    for identity in (place.identity("clinic"), place.identity("victim")):
        with pytest.raises((AccessError, IntegrityError)):
            place.vault.erase("ghost", identity=identity)
    assert list(mine.entries())
    assert list(victim.entries())
    # A later creation does not act on it either.
    place.create("other").close()
    assert list(mine.entries())
    assert list(victim.entries())
