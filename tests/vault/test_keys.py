"""Recipients, rotation, resealing, recovery, key servers, identity files."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError, UsageError
from medvae.vault import (
    Tenant,
    identity,
    new_identity,
    recipient_of,
    recipient_of_passphrase,
    transit,
)
from medvae.vault.identity import CHEAPEST, RECOMMENDED, Argon2, Identity
from medvae.vault.providers import hpke_recipient, passphrase_recipient


def sealed_keys(tenant: Tenant) -> list[tuple[bytes, bytes]]:
    import sqlite3

    with sqlite3.connect(tenant.root / "catalogue.db") as raw:
        return raw.execute("SELECT id, sealed FROM objects").fetchall()


def object_files(tenant: Tenant) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tenant.root / "objects").glob("*/*")}


def test_rotation_rewraps_and_leaves_the_objects(tenant: Tenant) -> None:
    ids = {tenant.put("volume", bytes([mark]) * 99, name=str(mark)): mark for mark in range(5)}
    before, files = sealed_keys(tenant), object_files(tenant)
    number = tenant.epoch
    assert tenant.rotate() == number + 1 == tenant.epoch
    assert not {sealed for _, sealed in before} & {sealed for _, sealed in sealed_keys(tenant)}
    assert object_files(tenant) == files
    assert all(tenant.get("volume", one) == bytes([mark]) * 99 for one, mark in ids.items())
    assert tenant.names("volume") == ["0", "1", "2", "3", "4"]
    ring = json.loads((tenant.root / "keyring.json").read_text())
    assert [epoch["number"] for epoch in ring["epochs"]] == [number + 1]


def test_an_old_epoch_key_opens_nothing_new(tenant: Tenant) -> None:
    from medvae.vault import objects
    from medvae.vault.catalogue import select

    tenant.put("volume", b"data")
    old = tenant._session.keys
    tenant.rotate()
    with tenant._session.read_tx() as (connection, keys):
        row = next(select(connection))
    assert keys.epoch != old.epoch
    with pytest.raises(IntegrityError):
        objects.open_row(old, row)


def test_resealing_renews_keys_and_ciphertext(tenant: Tenant) -> None:
    ids = {tenant.put("volume", bytes([mark]) * 99, name=str(mark)): mark for mark in range(5)}
    files = object_files(tenant)
    assert tenant.reseal() == 5
    after = object_files(tenant)
    assert len(after) == 5
    assert not set(files.values()) & set(after.values())
    assert all(tenant.get("volume", one) == bytes([mark]) * 99 for one, mark in ids.items())
    assert tenant.verify(read_data=True).damaged == []


def test_resealing_goes_on_where_it_was_cut_off(tenant: Tenant) -> None:
    for mark in range(5):
        tenant.put("volume", bytes([mark]))

    class Stop:
        def start(self, stage: str, total: int) -> None: ...
        def finish(self, note: str = "") -> None: ...
        def advance(self, done: int, note: str = "") -> None:
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tenant.reseal(Stop())
    epoch = tenant.epoch
    assert tenant.reseal() == 2
    assert tenant.epoch == epoch
    assert tenant.reseal() == 5


def test_a_handle_follows_a_rotation_elsewhere(place) -> None:
    first = place.create("clinic")
    object_id = first.put("volume", b"data")
    second = place.open("clinic")
    first.rotate()
    assert second.get("volume", object_id) == b"data"
    second.record("after")
    second.put("volume", b"more")
    first.rotate()
    second.rotate()
    assert first.get("volume", object_id) == b"data"


def test_recovery_gives_a_new_identity(place) -> None:
    tenant = place.create("clinic", passphrase="soon forgotten")
    object_id = tenant.put("volume", b"data")
    old = place.identity("clinic").read_bytes()
    path = place.vault.recover(
        "clinic", recovery=place.recovery("clinic"), identity=place.identity("clinic")
    )
    assert path == place.identity("clinic")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert place.open("clinic").get("volume", object_id) == b"data"
    (aside,) = path.parent.glob("*.replaced-*")
    assert aside.read_bytes() == old
    assert [one.label for one in place.open("clinic").recipients()] == [
        "identity",
        "recovery",
        "identity",
    ]


def test_recovery_with_another_tenants_key(place) -> None:
    place.create("clinic")
    place.create("other")
    with pytest.raises(AccessError, match="not among the recipients"):
        place.vault.recover("clinic", recovery=place.recovery("other"), identity=place.root / "new")
    assert not (place.root / "new").exists()


def test_the_recovery_key_may_lie_on_a_stick_without_modes(place) -> None:
    place.create("clinic")
    place.recovery("clinic").chmod(0o755)
    place.vault.recover("clinic", recovery=place.recovery("clinic"), identity=place.root / "new")


def test_adding_and_removing_a_recipient(place) -> None:
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"data")
    colleague, path = Identity.new(), place.root / "colleague"
    path.write_bytes(identity.encode(colleague, None, "identity"))
    path.chmod(0o600)
    entry = hpke_recipient(colleague.public(), "colleague", "2026-01-01")
    tenant.add_recipient(entry)
    with pytest.raises(UsageError, match="already"):
        tenant.add_recipient(entry)
    theirs = place.vault.open("clinic", identity=path)
    assert theirs.get("volume", object_id) == b"data"
    assert tenant.remove_recipient(entry.fingerprint[:10]) == tenant.epoch
    with pytest.raises(AccessError, match="not among the recipients"):
        place.vault.open("clinic", identity=path)
    with pytest.raises(AccessError):
        theirs.get("volume", object_id)
    assert tenant.get("volume", object_id) == b"data"
    assert [event["event"] for event in tenant.events()][-2:] == ["keys add", "keys remove"]


def test_enrolment_by_files(place, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = place.create("clinic")
    path = place.root / "colleague"
    fingerprint = new_identity(path, "their words")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="never overwritten"):
        new_identity(path)
    mailed = place.root / "mailed"
    public = json.loads(path.read_text())["public"]
    mailed.write_text(json.dumps({"medvae": "public", "public": public}))
    entry = recipient_of(mailed, "colleague")
    assert entry.fingerprint == fingerprint
    tenant.add_recipient(entry)
    assert place.vault.open("clinic", identity=path, passphrase="their words").name == "clinic"
    with pytest.raises(UsageError, match="20 characters"):
        recipient_of_passphrase("short", "x")
    with pytest.raises(UsageError, match="no key file"):
        recipient_of(place.root / "missing", "x")
    mailed.write_text(json.dumps({**json.loads(path.read_text()), "public": "AAAA"}))
    with pytest.raises(UsageError, match="no public key"):
        recipient_of(mailed, "x")


def test_a_forged_passphrase_entry_asks_for_no_memory(place) -> None:
    place.create("clinic")
    path = place.root / "vault/clinic/keyring.json"
    ring = json.loads(path.read_text())
    greedy = {"salt": "00" * 16, "argon2": {"memory": 1 << 40, "iterations": 1, "lanes": 1}}
    ring["recipients"].append({**ring["recipients"][0], "settings": greedy})
    path.write_text(json.dumps(ring))
    with pytest.raises(AccessError, match="not among the recipients"):
        place.vault.open("clinic", passphrase="words")


def test_accents_may_be_typed_either_way(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_bytes(identity.encode(Identity.new(), "Schlüssel", "identity"))
    path.chmod(0o600)
    identity.load(path, "Schlu\u0308ssel")


def test_two_recipients_at_least(place) -> None:
    tenant = place.create("clinic")
    mine, safe = tenant.recipients()
    with pytest.raises(UsageError, match="must keep two recipients"):
        tenant.remove_recipient(safe.fingerprint)
    with pytest.raises(UsageError, match="cannot remove itself"):
        tenant.remove_recipient(mine.fingerprint)
    with pytest.raises(NotFoundError, match="fingerprint"):
        tenant.remove_recipient("00000000")
    with pytest.raises(NotFoundError, match="first 8"):
        tenant.remove_recipient("")


def test_a_passphrase_alone(place) -> None:
    tenant = place.create("clinic")
    words = "seven dice words make eighty bits together"
    tenant.add_recipient(passphrase_recipient(words, "on call", "now", os.urandom(16), CHEAPEST))
    tenant.rotate()
    assert place.vault.open("clinic", passphrase=words).name == "clinic"
    with pytest.raises(AccessError, match="not among the recipients"):
        place.vault.open("clinic", passphrase="other words")
    with pytest.raises(NotFoundError, match="--identity"):
        place.vault.open("clinic")


# Identity files


def test_an_identity_file_is_bound_as_a_whole(tmp_path: Path) -> None:
    one = Identity.new()
    path = tmp_path / "id"
    raw = identity.encode(one, "words", "identity", CHEAPEST)
    header = json.loads(raw)
    path.write_bytes(raw)
    path.chmod(0o600)
    assert identity.load(path, "words").seed == one.seed
    changes: list[tuple[str, Any]] = [
        ("public", base64.b64encode(Identity.new().public()).decode()),
        ("medvae", "recovery"),
        ("secret", base64.b64encode(os.urandom(90)).decode()),
        ("protection", {**header["protection"], "salt": "00" * 16}),
        ("protection", {**header["protection"], "iterations": 2}),
        ("protection", {**header["protection"], "memory_kib": 1 << 40}),
        ("protection", {**header["protection"], "kdf": "pbkdf2"}),
        ("protection", None),
        ("format", 2),
        ("secret", "!!"),
    ]
    for name, value in changes:
        path.write_text(json.dumps({**header, name: value}))
        with pytest.raises(MedvaeError):
            identity.load(path, "words")
    for cut in range(0, len(raw), 97):
        path.write_bytes(raw[:cut])
        with pytest.raises(IntegrityError, match="not a medvae identity"):
            identity.load(path, "words")


def test_the_seed_is_not_in_a_protected_file(tmp_path: Path) -> None:
    one = Identity.new()
    raw = identity.encode(one, "words", "identity", CHEAPEST)
    secret = base64.b64decode(json.loads(raw)["secret"])
    assert one.seed not in secret
    assert one.seed.hex().encode() not in raw + secret
    assert one.seed.hex() not in repr(one)


def test_the_recommended_cost() -> None:
    """RFC 9106, section 4: at least the second recommended option."""
    assert RECOMMENDED.memory >= 64 * 1024
    assert RECOMMENDED.iterations >= 3


def test_a_link_is_no_identity(place) -> None:
    place.create("clinic")
    path = place.identity("clinic")
    path.rename(place.root / "moved")
    path.symlink_to(place.root / "moved")
    with pytest.raises(IntegrityError, match="symbolic link"):
        place.open("clinic")


# A key server, over the documented HTTP protocol of OpenBao and HashiCorp Vault


SERVER_KEYS = {"medvae": AESGCM.generate_key(256)}


class KeyServer(BaseHTTPRequestHandler):
    """POST /v1/transit/encrypt/NAME and decrypt/NAME as the API documentation states."""

    token = "s.token"
    sealed = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.sealed:
            return self.answer(503, {"errors": ["Vault is sealed"]})
        if self.headers.get("X-Vault-Token") != self.token:
            return self.answer(403, {"errors": ["permission denied"]})
        parts = self.path.split("/")
        if parts[:3] != ["", "v1", "transit"] or parts[4] not in SERVER_KEYS:
            return self.answer(404, {"errors": []})
        cipher = AESGCM(SERVER_KEYS[parts[4]])
        bound = base64.b64decode(body.get("associated_data", ""))
        if parts[3] == "encrypt":
            nonce = os.urandom(12)
            raw = nonce + cipher.encrypt(nonce, base64.b64decode(body["plaintext"]), bound)
            text = "vault:v1:" + base64.b64encode(raw).decode()
            return self.answer(200, {"data": {"ciphertext": text, "key_version": 1}})
        try:
            raw = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
            plain = cipher.decrypt(raw[:12], raw[12:], bound)
        except (InvalidTag, ValueError):
            return self.answer(400, {"errors": ["cipher: message authentication failed"]})
        return self.answer(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps({"request_id": "0", "lease_id": "", **body}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(KeyServer, "sealed", False)
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    monkeypatch.setenv("BAO_TOKEN", KeyServer.token)
    http = ThreadingHTTPServer(("127.0.0.1", 0), KeyServer)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()


@pytest.fixture
def served(place, server: str) -> tuple[Tenant, Path]:
    """A tenant with a key server among its recipients, and the file that names the server."""
    tenant = place.create("clinic")
    path = place.root / "server.json"
    path.write_text(json.dumps({"medvae": "transit", "address": server, "key": "medvae"}))
    tenant.add_recipient(transit.from_file(path).recipient("hsm", "2026-01-01"))
    return tenant, path


def test_a_key_server_opens_and_rotates(place, served: tuple[Tenant, Path]) -> None:
    tenant, path = served
    object_id = tenant.put("volume", b"data")
    through = place.vault.open("clinic", identity=path)
    assert through.get("volume", object_id) == b"data"
    through.rotate()
    assert through.get("volume", object_id) == b"data"
    assert tenant.get("volume", object_id) == b"data"
    assert b"s.token" not in b"".join(
        one.read_bytes() for one in tenant.root.rglob("*") if one.is_file()
    )


def test_what_a_key_server_refuses(
    place, served: tuple[Tenant, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, path = served
    monkeypatch.setenv("BAO_TOKEN", "wrong")
    with pytest.raises(AccessError, match=r"403.*permission denied"):
        place.vault.open("clinic", identity=path)
    monkeypatch.delenv("BAO_TOKEN")
    with pytest.raises(AccessError, match="BAO_TOKEN"):
        place.vault.open("clinic", identity=path)
    monkeypatch.setenv("VAULT_TOKEN", KeyServer.token)
    assert place.vault.open("clinic", identity=path).name == "clinic"
    monkeypatch.setattr(KeyServer, "sealed", True)
    with pytest.raises(AccessError, match="sealed"):
        place.vault.open("clinic", identity=path)
    with pytest.raises(AccessError, match="sealed"):
        tenant.rotate()
    assert tenant.epoch == 2
    monkeypatch.setattr(KeyServer, "sealed", False)
    assert tenant.rotate() == 3


def test_a_slot_of_another_tenant_does_not_open_at_the_server(
    place, served: tuple[Tenant, Path]
) -> None:
    _, path = served
    provider = transit.from_file(path)
    sealed = provider.wrap(b"k" * 32, b"bound to one")
    assert provider.unwrap(sealed, b"bound to one") == b"k" * 32
    from medvae.vault.providers import UnwrapError

    with pytest.raises(UnwrapError):
        provider.unwrap(sealed, b"bound to two")


@pytest.mark.parametrize(
    "settings",
    [
        {"address": "http://vault.example.org", "key": "k"},
        {"address": "ftp://localhost", "key": "k"},
        {"address": "https://user:pw@host", "key": "k"},
        {"address": "https://host/path?x", "key": "k"},
        {"address": "https://host", "key": "../../sys/seal"},
        {"address": "https://host", "key": "k", "mount": "../sys"},
        {"address": "https://host"},
        {"key": "k"},
    ],
)
def test_addresses_of_key_servers(settings: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        transit.from_settings(settings)


@pytest.mark.parametrize("asked", [(1024 * 1024 + 1, 1, 1), (8, 13, 1), (8, 1, 17), (0, 1, 1)])
def test_a_file_cannot_ask_for_minutes_or_for_all_memory(asked: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Argon2(*asked).key("words", bytes(16))
