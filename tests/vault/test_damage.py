"""Damage is found, named, and nothing of a damaged object is handed out.

The long versions (100,000 random flips, every bit of a 4 KiB object) run with
MEDVAE_LONG=1; the suite takes a seeded sample of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from medvae.errors import IntegrityError, MedvaeError
from medvae.vault import Tenant, format
from medvae.vault.catalogue import Row

LONG = bool(os.environ.get("MEDVAE_LONG"))
CHUNK = 16 * 1024
STORED_CHUNK = CHUNK + 16
HEADER = 56


def sealed(key: bytes, bound: bytes, data: bytes) -> bytes:
    return b"".join(bytes(piece) for piece in format.seal(key, bound, data))


def refuses(key: bytes, bound: bytes, message: bytes) -> bool:
    """Whether opening fails, with the buffer left as zeros."""
    try:
        out = bytearray(b"\xaa" * format.opened_size(len(message)))
    except ValueError:
        return True
    try:
        format.unseal_into(key, bound, [message], memoryview(out))
    except InvalidTag:
        return not any(out)
    return False


def object_file(tenant: Tenant, object_id: str) -> Path:
    (path,) = (tenant.root / "objects" / object_id[:2]).glob(f"{object_id}-*")
    return path


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


# Every flip, cut and move of a message, without a vault around it


@pytest.mark.parametrize("size", [0, 1, 33, 256, 4096])
def test_every_bit_of_small_messages(size: int) -> None:
    key, message = format.new_key(), bytearray()
    message += sealed(key, b"bound", os.urandom(size))
    step = 1 if LONG or size <= 256 else 13
    for bit in range(0, len(message) * 8, step):
        message[bit // 8] ^= 1 << bit % 8
        assert refuses(key, b"bound", bytes(message)), bit
        message[bit // 8] ^= 1 << bit % 8
    assert not refuses(key, b"bound", bytes(message))


def test_random_flips() -> None:
    rng = random.Random(4)
    key = format.new_key()
    message = bytearray(sealed(key, b"bound", rng.randbytes(5 * CHUNK + 100)))
    for _ in range(100_000 if LONG else 4_000):
        bit = rng.randrange(len(message) * 8)
        message[bit // 8] ^= 1 << bit % 8
        assert refuses(key, b"bound", bytes(message)), bit
        message[bit // 8] ^= 1 << bit % 8


def boundaries(length: int) -> Iterator[int]:
    edges = [0, HEADER, *range(HEADER + STORED_CHUNK, length, STORED_CHUNK), length]
    for edge, by in itertools.product(edges, (-1, 0, 1)):
        yield max(edge + by, 0)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK, 4 * CHUNK + 9])
def test_cuts_and_additions_at_every_boundary(size: int) -> None:
    key = format.new_key()
    message = sealed(key, b"bound", os.urandom(size))
    for at in boundaries(len(message)):
        if at < len(message):
            assert refuses(key, b"bound", message[:at]), f"cut to {at}"
            assert refuses(key, b"bound", message[at:]) or at == 0, f"cut from {at}"
            assert refuses(key, b"bound", message[:at] + message[at + 1 :]), f"one out at {at}"
        assert refuses(key, b"bound", message[:at] + b"\0" + message[at:]), f"one in at {at}"
    assert refuses(key, b"bound", message + message)
    assert refuses(key, b"bound", message + bytes(STORED_CHUNK))


def test_chunks_in_another_order() -> None:
    key = format.new_key()
    message = sealed(key, b"bound", os.urandom(4 * CHUNK))
    head, body = message[:HEADER], message[HEADER:]
    chunks = [body[at : at + STORED_CHUNK] for at in range(0, len(body), STORED_CHUNK)]
    for order in itertools.permutations(range(len(chunks))):
        if list(order) != sorted(order):
            moved = head + b"".join(chunks[one] for one in order)
            assert refuses(key, b"bound", moved), order
    for one, two in itertools.product(range(len(chunks)), repeat=2):
        if one != two:
            copied = [chunks[two] if at == one else chunk for at, chunk in enumerate(chunks)]
            assert refuses(key, b"bound", head + b"".join(copied)), (one, two)


def test_key_and_context_are_bound() -> None:
    key, other = format.new_key(), format.new_key()
    message = sealed(key, b"bound", b"data" * 9000)
    assert refuses(other, b"bound", message)
    assert refuses(key, b"bounD", message)
    assert refuses(key, b"", message)
    assert not refuses(key, b"bound", message)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 5])
def test_a_buffer_of_another_size_than_the_message(size: int) -> None:
    key, data = format.new_key(), os.urandom(size)
    message = sealed(key, b"bound", data)
    assert format.unseal(key, b"bound", [message]) == data
    for wrong in {size + 1, size + CHUNK, max(size - 1, 0), size // 2} - {size}:
        out = bytearray(b"\xaa" * wrong)
        with pytest.raises(InvalidTag):
            format.unseal_into(key, b"bound", [message], memoryview(out))
        assert not any(out)
    with pytest.raises(InvalidTag):
        format.unseal(key, b"bound", [message[:-1]])
    with pytest.raises(InvalidTag):
        format.unseal(key, b"bound", [message, b"x"])


def test_contexts_of_different_parts_differ() -> None:
    parts = [(), ("",), ("a",), ("", "a"), ("a", ""), ("ab",), ("a", "b"), (b"a",), (97,), (None,)]
    parts += [("a", None), (None, "a"), (b"", b""), (0,), (b"\0" * 16,)]
    assert len({format.context(*one) for one in parts}) == len(parts)


# The same through a tenant


def test_a_flip_names_object_and_reason(tenant: Tenant) -> None:
    object_id = tenant.put("volume", os.urandom(50_000))
    flip(object_file(tenant, object_id), 8 * 30_000)
    with pytest.raises(IntegrityError, match=f"volume {object_id}: damaged: the SHA-256"):
        tenant.get("volume", object_id)
    (damage,) = tenant.verify().damaged
    assert damage.object == f"volume {object_id}"
    assert "SHA-256" in damage.reason


def test_wrong_sizes_name_both_sizes(tenant: Tenant) -> None:
    object_id = tenant.put("volume", os.urandom(50_000))
    path = object_file(tenant, object_id)
    whole = path.read_bytes()
    for wrong in (b"", whole[:-1], whole + b"\0", whole[: HEADER + STORED_CHUNK]):
        path.write_bytes(wrong)
        expected = f"has {len(wrong)} bytes, expected {len(whole)}"
        with pytest.raises(IntegrityError, match=f"{object_id}.*{expected}"):
            tenant.get("volume", object_id)
        assert expected in tenant.verify().damaged[0].reason
    path.unlink()
    with pytest.raises(IntegrityError, match=f"volume {object_id}: missing"):
        tenant.get("volume", object_id)
    assert "missing" in tenant.verify().damaged[0].reason


def test_a_link_in_place_of_an_object(tenant: Tenant, tmp_path: Path) -> None:
    object_id = tenant.put("volume", b"data")
    path = object_file(tenant, object_id)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(IntegrityError, match="not a regular file"):
        tenant.get("volume", object_id)
    assert "not a regular file" in tenant.verify().damaged[0].reason


def test_flips_of_files_seeded(tenant: Tenant) -> None:
    rng = random.Random(7)
    ids = [tenant.put("volume", rng.randbytes(rng.randrange(1, 40_000))) for _ in range(8)]
    for _ in range(150):
        object_id = rng.choice(ids)
        path = object_file(tenant, object_id)
        bit = rng.randrange(path.stat().st_size * 8)
        flip(path, bit)
        with pytest.raises(IntegrityError, match=object_id):
            tenant.get("volume", object_id)
        report = tenant.verify(only={object_id})
        assert [damage.object_id for damage in report.damaged] == [object_id]
        flip(path, bit)
    assert tenant.verify(read_data=True).damaged == []


def test_scrub_needs_no_keys(place) -> None:
    tenant = place.create("clinic")
    good, bad = tenant.put("volume", b"good"), tenant.put("volume", b"bad" * 99)
    tenant.close()
    place.identity("clinic").unlink()
    place.recovery("clinic").unlink()
    assert place.vault.scrub("clinic").damaged == []
    flip(object_file(tenant, bad), 100)
    report = place.vault.scrub("clinic")
    assert report.objects == 2
    assert [damage.object_id for damage in report.damaged] == [bad]
    assert good != bad


def test_orphans_are_reported_and_collected_by_age(tenant: Tenant) -> None:
    object_id = tenant.put("volume", b"data")
    path = object_file(tenant, object_id)
    orphan = path.with_name(f"{object_id}-9")
    orphan.write_bytes(b"left over")
    strange = path.with_name("notes.txt")
    strange.write_bytes(b"not ours")
    report = tenant.verify()
    assert report.damaged == []
    assert {name.split("/")[1] for name in report.orphans} == {orphan.name, "notes.txt"}
    assert tenant.gc().orphans == 0
    old = orphan.stat().st_mtime - 2 * 86400
    for one in (orphan, strange, path):
        os.utime(one, (old, old))
    assert tenant.gc().orphans == 1
    assert strange.exists()
    assert tenant.get("volume", object_id) == b"data"


def test_repair_quarantines_and_destroys_nothing(tenant: Tenant) -> None:
    good, bad = tenant.put("volume", b"good"), tenant.put("volume", b"bad" * 99)
    path = object_file(tenant, bad)
    whole = path.read_bytes()
    flip(path, 500)
    damaged = path.read_bytes()
    report = tenant.repair()
    assert [damage.object_id for damage in report.lost] == [bad]
    (where,) = report.quarantined.values()
    assert (tenant.root / where).read_bytes() == damaged
    assert tenant.get("volume", good) == b"good"
    with pytest.raises(IntegrityError, match="missing"):
        tenant.get("volume", bad)
    again = tenant.repair()
    assert [damage.object_id for damage in again.lost] == [bad]
    assert again.quarantined == {}
    path.write_bytes(whole)  # from a backup
    assert tenant.get("volume", bad) == b"bad" * 99
    assert tenant.repair().lost == []
    assert [event["outcome"] for event in tenant.events()[-3:]] == ["failure", "failure", "success"]


# The catalogue


def catalogue_of(tenant: Tenant) -> sqlite3.Connection:
    return sqlite3.connect(tenant.root / "catalogue.db", isolation_level=None)


COLUMNS = ["kind", "version", "lookup", "size", "sha256", "epoch", "born", "sealed", "id"]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_row_is_found(tenant: Tenant, column: str) -> None:
    object_id = tenant.put("volume", b"data", name="scan")
    with catalogue_of(tenant) as raw:
        (value,) = raw.execute(f"SELECT {column} FROM objects").fetchone()
        if isinstance(value, bytes):
            changed = bytes([value[0] ^ 1]) + value[1:]
        else:
            changed = value + 1 if isinstance(value, int) else "model"
        raw.execute(f"UPDATE objects SET {column} = ?", (changed,))
    with pytest.raises(MedvaeError):
        tenant.get("volume", object_id)
    assert tenant.verify().damaged


ODD = [None, 1.5, -1, "x", b"", 1 << 62, b"\0" * 40]


@pytest.mark.parametrize("table", ["objects", "journal", "heads", "meta"])
def test_values_of_other_types_are_damage_and_no_defect(place, table: str) -> None:
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"data", name="scan")
    tenant.journal("ledger").append(b"debit")
    tenant.close()
    path = tenant.root / "catalogue.db"
    whole = path.read_bytes()
    with contextlib.closing(catalogue_of(tenant)) as raw:
        columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
    for column, value in itertools.product(columns, ODD):
        for leftover in ("catalogue.db-wal", "catalogue.db-shm"):
            (tenant.root / leftover).unlink(missing_ok=True)
        path.write_bytes(whole)
        taken = contextlib.suppress(sqlite3.IntegrityError)
        with contextlib.closing(catalogue_of(tenant)) as raw, taken:
            raw.execute(f"UPDATE {table} SET {column} = ?", (value,))
        with contextlib.suppress(MedvaeError), contextlib.closing(place.open("clinic")) as opened:
            found = opened.verify().damaged or not opened.verify_log().valid
            assert found or opened.get("volume", object_id) == b"data"
            opened.get("volume", object_id)
            opened.journal("ledger").entries()
            opened.put("volume", b"more")


@pytest.mark.parametrize("statement", [
    "CREATE TRIGGER t AFTER DELETE ON objects BEGIN DELETE FROM heads; END",
    "CREATE VIEW v AS SELECT * FROM objects",
    "CREATE TABLE stash(sealed BLOB)",
    "DROP INDEX objects_by_kind",
])  # fmt: skip
def test_another_schema_is_refused(place, statement: str) -> None:
    place.create("clinic").close()
    with sqlite3.connect(place.root / "vault/clinic/catalogue.db") as raw:
        raw.execute(statement)
    with pytest.raises(IntegrityError, match="tables are not those of this format"):
        place.open("clinic")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from medvae.errors import AccessError
from medvae.vault import Vault
tenant = Vault(Path(sys.argv[1])).open("clinic", identity=Path(sys.argv[2]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    tenant.put("volume", bytes(20_000_000))
except AccessError as error:
    assert "nothing was changed" in str(error), error
    assert tenant.put("volume", b"small")
    sys.exit(7)
"""


def test_a_disk_that_is_full_changes_nothing(place) -> None:
    tenant = place.create("clinic")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    args = [sys.executable, "-c", FULL_DISK, str(place.root / "vault")]
    done = subprocess.run(
        [*args, str(place.identity("clinic"))], env=environment, check=False, capture_output=True
    )
    assert done.returncode == 7, done.stderr.decode()
    assert len(tenant.ids("volume")) == 1
    assert list((tenant.root / "tmp").iterdir()) == []
    assert tenant.verify(read_data=True).damaged == []


def test_rows_removed_or_put_back_are_found(tenant: Tenant) -> None:
    object_id = tenant.put("volume", b"data")
    with catalogue_of(tenant) as raw:
        row = raw.execute("SELECT * FROM objects").fetchone()
        raw.execute("DELETE FROM objects")
    (damage,) = tenant.verify().damaged
    assert (damage.object, "rows of the catalogue" in damage.reason) == ("catalogue", True)
    with catalogue_of(tenant) as raw:
        raw.execute(f"INSERT INTO objects VALUES({','.join('?' * len(row))})", row)
    assert tenant.verify().damaged == []
    # Put back from before a replacement: file and row both as they once were.
    path = object_file(tenant, object_id)
    old = path.read_bytes()
    tenant.delete("volume", object_id)
    path.write_bytes(old)
    with catalogue_of(tenant) as raw:
        raw.execute(f"INSERT INTO objects VALUES({','.join('?' * len(row))})", row)
    assert tenant.verify().damaged
    with pytest.raises(IntegrityError, match=object_id):
        tenant.get("volume", object_id)


def test_an_older_version_put_back_is_found(tenant: Tenant) -> None:
    object_id = tenant.put("checkpoint", b"step 1", name="run")
    path = object_file(tenant, object_id)
    old_file = path.read_bytes()
    with catalogue_of(tenant) as raw:
        old_row = raw.execute("SELECT * FROM objects").fetchone()
    tenant.put("checkpoint", b"step 2", name="run", replace=True)
    with catalogue_of(tenant) as raw:
        raw.execute("DELETE FROM objects")
        raw.execute(f"INSERT INTO objects VALUES({','.join('?' * len(old_row))})", old_row)
    path.write_bytes(old_file)
    assert any("put back" in damage.reason for damage in tenant.verify().damaged)


@pytest.mark.parametrize("statement", [
    "DELETE FROM heads WHERE sequence = 2",
    "DELETE FROM heads WHERE sequence = (SELECT MAX(sequence) FROM heads)",
    "UPDATE heads SET sealed = zeroblob(60) WHERE sequence = 2",
    "UPDATE heads SET head = zeroblob(32) WHERE sequence = 2",
    "DELETE FROM heads",
    "UPDATE heads SET sequence = sequence + 100",
])  # fmt: skip
def test_changed_heads_are_found(place, statement: str) -> None:
    tenant = place.create("clinic")
    for _ in range(3):
        tenant.put("volume", b"data")
    tenant.close()
    with catalogue_of(tenant) as raw:
        raw.execute(statement)
    try:
        damaged = place.open("clinic").verify().damaged
    except IntegrityError:
        return
    assert damaged


def test_a_ruined_catalogue_is_named(place) -> None:
    tenant = place.create("clinic")
    tenant.put("volume", b"data")
    tenant.close()
    path = tenant.root / "catalogue.db"
    whole = path.read_bytes()
    for ruined in (b"", b"x" * len(whole), whole[: len(whole) // 2], whole[:100]):
        path.write_bytes(ruined)
        with pytest.raises(IntegrityError, match="catalogue of tenant clinic"):
            place.open("clinic").verify()
    path.unlink()
    with pytest.raises(IntegrityError, match=r"missing.*restore it from a backup"):
        place.open("clinic")


def test_flips_in_the_catalogue_hand_out_nothing_wrong(place) -> None:
    """Whatever bit of the database flips: what is read is right, or it is an error."""
    tenant = place.create("clinic")
    expected = {tenant.put("volume", bytes([mark]) * 500): mark for mark in range(6)}
    tenant.close()
    path = tenant.root / "catalogue.db"
    rng = random.Random(11)
    for _ in range(400 if LONG else 120):
        bit = rng.randrange(path.stat().st_size * 8)
        flip(path, bit)
        try:
            opened = place.open("clinic")
            for object_id, mark in expected.items():
                assert opened.get("volume", object_id) == bytes([mark]) * 500
            opened.close()
        except MedvaeError:
            pass
        flip(path, bit)
        for leftover in ("catalogue.db-wal", "catalogue.db-shm"):
            (tenant.root / leftover).unlink(missing_ok=True)
    assert place.open("clinic").verify(read_data=True).damaged == []


def test_rows_name_their_files(tenant: Tenant) -> None:
    row = Row(b"\xab" * 16, "volume", 3, None, 72, b"", 1, 1, b"")
    assert row.key == f"ab/{'ab' * 16}-3"
