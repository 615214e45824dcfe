"""Files that somebody else wrote, and processes at the same place at the same time."""

from __future__ import annotations

import base64
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError, UsageError
from medvae.vault import Vault, recipient_of

DEEP = "[" * 200_000


def secret(**stored: Any) -> str:
    return base64.b64encode(json.dumps(stored).encode()).decode()


IDENTITIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "not json": lambda good: "\0" * 100,
    "empty": lambda good: "",
    "a number": lambda good: "5",
    "deep": lambda good: DEEP,
    "deep inside": lambda good: '{"medvae": "identity", "secret": ' + DEEP,
    "secret cut": lambda good: json.dumps({**good, "secret": "a"}),
    "secret of letters": lambda good: json.dumps({**good, "secret": "é"}),
    "secret deep": lambda good: json.dumps(
        {**good, "secret": base64.b64encode(DEEP.encode()).decode()}
    ),
    "seed a number": lambda good: json.dumps({**good, "secret": secret(seed=5, pins={})}),
    "pins a list": lambda good: json.dumps({**good, "secret": secret(seed="00" * 32, pins=[1])}),
    "public a number": lambda good: json.dumps({**good, "public": 5}),
    "protection a number": lambda good: json.dumps({**good, "protection": 5}),
    "another format": lambda good: json.dumps({**good, "format": [2]}),
    "server deep": lambda good: '{"medvae": "transit", "pins": ' + DEEP,
    "server address": lambda good: '{"medvae": "transit", "address": "https://[x", "key": "k"}',
    "server port": lambda good: '{"medvae": "transit", "address": "https://x:999999", "key": "k"}',
    "server pins": lambda good: '{"medvae": "transit", "address": "https://x", "pins": [1]}',
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_hostile_key_files(place, case: str) -> None:
    """Refused by one of medvae's own errors, with a passphrase and without, as key and as gift."""
    place.create("clinic").close()
    good = json.loads(place.identity("clinic").read_text())
    path = place.root / "hostile"
    path.write_text(IDENTITIES[case](good))
    path.chmod(0o600)
    for passphrase in (None, "a passphrase"):
        with pytest.raises(MedvaeError) as caught:
            place.vault.open("clinic", identity=path, passphrase=passphrase)
        assert type(caught.value) is not MedvaeError
    if not case.startswith(("secret", "seed", "pins", "protection", "another")):
        with pytest.raises((UsageError, IntegrityError)):
            recipient_of(path, "colleague")


def test_a_path_through_a_file_is_not_there(place) -> None:
    place.create("clinic").close()
    inside = place.identity("clinic") / "inside"
    with pytest.raises(NotFoundError, match="no identity file"):
        place.vault.open("clinic", identity=inside)


RINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "settings": lambda ring: ring["recipients"][0].update(settings=5),
    "label": lambda ring: ring["recipients"][0].update(label=5),
    "fingerprint": lambda ring: ring["recipients"][0].update(fingerprint=None),
    "id": lambda ring: ring.update(id=""),
    "created": lambda ring: ring.update(created="\x1b[2J"),
    "limit": lambda ring: ring.update(epsilon_limit=10**400),
    "slots": lambda ring: ring["epochs"][0].update(slots=[]),
    "number": lambda ring: ring["epochs"][0].update(number="1" * 5000),
}


@pytest.mark.parametrize("case", RINGS)
def test_hostile_key_rings(place, case: str) -> None:
    """What is read before anything is authenticated: by type, and before it is printed."""
    place.create("clinic").close()
    path = place.root / "vault/clinic/keyring.json"
    ring = json.loads(path.read_text())
    RINGS[case](ring)
    path.write_text(json.dumps(ring))
    for identity, passphrase in ((place.identity("clinic"), None), (None, "x" * 20)):
        with pytest.raises(IntegrityError, match="key ring of tenant clinic is damaged"):
            place.vault.open("clinic", identity=identity, passphrase=passphrase)
    with pytest.raises(IntegrityError):
        place.vault.scrub("clinic")
    assert [one.epoch for one in place.vault.tenants()] == [0]


@pytest.mark.parametrize("what", ["link", "folder"])
def test_a_lock_that_is_no_file(place, what: str) -> None:
    tenant = place.create("clinic")
    lock = tenant.root / "lock"
    lock.unlink()
    if what == "link":
        lock.symlink_to(place.root / "elsewhere")
    else:
        lock.mkdir()
    with pytest.raises(AccessError, match=r"its lock .* does not open"):
        tenant.put("volume", b"data")
    assert not (place.root / "elsewhere").exists()


def test_a_recovery_key_is_not_replaced_by_what_it_recovers(place) -> None:
    place.create("clinic").close()
    spare = place.recovery("clinic")
    kept = spare.read_bytes()
    linked = place.root / "linked"
    linked.symlink_to(spare)
    for identity in (spare, linked):
        with pytest.raises(UsageError, match="another file than the recovery key"):
            place.vault.recover("clinic", recovery=spare, identity=identity)
    assert spare.read_bytes() == kept
    assert sorted(path.name for path in spare.parent.iterdir()) == [spare.name]


def create(root: str, name: str, barrier: Any) -> None:
    place = Path(root)
    vault = Vault(place / "vault")
    barrier.wait()
    recovery = place / f"{name}.recovery"
    vault.create_tenant(name, identity=place / "keys" / "identity", recovery=recovery).close()


def test_tenants_made_at_once_with_one_identity(tmp_path: Path) -> None:
    """The second must not make an identity in the place of the first one's."""
    context = multiprocessing.get_context("fork")
    for turn in range(3):
        root = tmp_path / str(turn)
        root.mkdir()
        barrier = context.Barrier(3)
        names = ("one", "two", "three")
        workers = [
            context.Process(target=create, args=(str(root), name, barrier)) for name in names
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        for name in names:
            Vault(root / "vault").open(name, identity=root / "keys" / "identity").close()
        assert not list((root / "vault").glob(".*"))
