"""A ledger never reads as less spent: hidden records, lost logs, single files put back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import btree

from medvae.errors import AccessError, IntegrityError
from medvae.vault import Tenant, audit, journal, keyring, new_identity, recipient_of

LEDGER = [b"debit 0", b"debit 1"]


def with_ledger(place, events: int = 20) -> Tenant:
    """A tenant with two debits and an ordinary trail."""
    tenant = place.create("clinic")
    for record in LEDGER:
        tenant.journal("ledger").append(record)
    for turn in range(events):
        tenant.record("access", turn=turn)
    return tenant


def numbers(path: Path, name: bytes, *, seek: bool) -> list[int]:
    with sqlite3.connect(path) as connection:
        if seek:
            query = "SELECT number FROM journal WHERE name = ? ORDER BY number"
            return [row[0] for row in connection.execute(query, (name,))]
        rows = connection.execute("SELECT name, number FROM journal").fetchall()
        return [row[1] for row in rows if row[0] == name]


def hide_newest(place, tenant: Tenant, hidden: str) -> None:
    """The attack, with a record more where the newest one is not on a leaf page."""
    path, name = tenant.root / "catalogue.db", journal.index(tenant._session.keys, hidden)
    for _ in range(5):
        tenant.close()
        try:
            btree.hide_newest(path, name)
        except LookupError:
            tenant = place.open("clinic")
            tenant.journal("ledger").append(b"more")
            tenant.record("access")
            continue
        break
    there = numbers(path, name, seek=False)
    assert sorted(there) == list(range(len(there)))
    assert numbers(path, name, seek=True) != sorted(there), "the attack has no effect"


@pytest.mark.parametrize("events", [1, 20, 40, 90])
@pytest.mark.parametrize("hidden", ["ledger", audit.NAME])
def test_a_record_hidden_by_the_order_of_a_leaf_is_found(place, events: int, hidden: str) -> None:
    hide_newest(place, with_ledger(place, events), hidden)
    opened = place.open("clinic")
    for use in (
        opened.journal("ledger").entries,
        opened.journal("ledger").confirm,
        lambda: opened.journal("ledger").append(b"more"),
        opened.inventory,
        lambda: opened.record("access"),
    ):
        with pytest.raises(IntegrityError):
            use()
    assert opened.verify().damaged
    assert not opened.verify_log().valid
    assert place.vault.scrub("clinic").damaged


def test_an_object_hidden_from_an_index_is_listed_and_found(place) -> None:
    tenant = with_ledger(place)
    ids = {name: tenant.put("dataset", name.encode(), name=name) for name in ("one@1", "two@1")}
    tenant.close()
    btree.hide_from_index(tenant.root / "catalogue.db", bytes.fromhex(ids["two@1"]))
    with sqlite3.connect(tenant.root / "catalogue.db") as connection:
        query = "SELECT COUNT(*) FROM objects WHERE kind = 'dataset'"
        assert connection.execute(query).fetchone() == (1,), "the attack has no effect"
    opened = place.open("clinic")
    assert opened.names("dataset") == ["one@1", "two@1"]
    assert opened.ids("dataset") == sorted(ids.values())
    for use in (opened.inventory, lambda: opened.delete("dataset", ids["one@1"])):
        with pytest.raises(IntegrityError, match="objects_by_kind"):
            use()
    assert opened.verify().damaged
    assert opened.get_named("dataset", "two@1") == b"two@1"


def test_a_row_that_is_gone_from_table_and_indexes_stops_an_inventory(place) -> None:
    tenant = with_ledger(place)
    stored = tenant.put("volume", b"x")
    assert tenant.inventory()["volume"] == {stored: None}
    with sqlite3.connect(tenant.root / "catalogue.db") as connection:
        connection.execute("DELETE FROM objects")
    with pytest.raises(IntegrityError, match="rows of the catalogue"):
        tenant.inventory()


WORK = """
import os, signal, sys
from pathlib import Path
from medvae.vault import Vault, keyring
tenant = Vault(Path(sys.argv[1]) / "vault").open("clinic", identity=Path(sys.argv[2]))
if sys.argv[3] == "before the ring":
    keyring.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "before the checkpoint":
    tenant._session.catalogue.checkpoint = lambda: os.kill(os.getpid(), signal.SIGKILL)
tenant.journal("ledger").append(b"debit 2")
print("durable", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(place, moment: str) -> bytes:
    """What another process that debits says before it is killed at that moment."""
    words = [sys.executable, "-c", WORK, str(place.root), str(place.identity("clinic")), moment]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, capture_output=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


def lose_log(folder: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (folder / f"catalogue.db{suffix}").unlink(missing_ok=True)


def counted(folder: Path) -> list[int]:
    ring = json.loads((folder / "keyring.json").read_text())
    return [one["count"] for one in ring["journals"].values()]


def test_the_write_ahead_log_can_go_once_a_debit_is_durable(place) -> None:
    tenant = with_ledger(place)
    tenant.close()
    assert killed(place, "after") == b"durable\n"
    lose_log(tenant.root)
    opened = place.open("clinic")
    assert opened.journal("ledger").entries() == [*LEDGER, b"debit 2"]
    assert counted(tenant.root) == [3]
    assert opened.verify().damaged == []


@pytest.mark.parametrize("moment", ["before the ring", "before the checkpoint"])
@pytest.mark.parametrize("log_lost", [False, True])
def test_a_crash_before_append_returns_locks_nobody_out(place, moment: str, log_lost: bool) -> None:
    tenant = with_ledger(place)
    tenant.close()
    assert killed(place, moment) == b""
    if log_lost:
        lose_log(tenant.root)
    opened = place.open("clinic")
    book = opened.journal("ledger")
    # Nothing that the record stands for can have begun: it may be there or not, but whole.
    records = book.entries()
    assert records in (LEDGER, [*LEDGER, b"debit 2"])
    assert log_lost or len(records) == 3
    assert counted(tenant.root) == [2]
    book.confirm()
    assert counted(tenant.root) == [len(records)]
    lose_log(tenant.root)
    again = place.open("clinic").journal("ledger")
    assert again.append(b"debit 3") == len(records)
    assert again.entries() == [*records, b"debit 3"]
    assert place.open("clinic").verify().damaged == []


def refused_everywhere(opened: Tenant, words: str) -> None:
    book = opened.journal("ledger")
    for use in (book.entries, book.confirm, book.head, lambda: book.append(b"more")):
        with pytest.raises(IntegrityError, match=words):
            use()
    assert any(words in one.reason for one in opened.verify().damaged)
    assert words in str(opened.verify_log().problem)


def test_an_older_catalogue_alone_is_refused(place) -> None:
    tenant = with_ledger(place)
    tenant.close()
    older = place.root / "older.db"
    shutil.copy(tenant.root / "catalogue.db", older)
    tenant = place.open("clinic")
    tenant.journal("ledger").append(b"debit 2")
    tenant.close()
    shutil.copy(older, tenant.root / "catalogue.db")
    refused_everywhere(place.open("clinic"), "where the key ring counts 3")


def test_a_catalogue_that_went_on_differently_is_refused(place) -> None:
    tenant = with_ledger(place)
    tenant.close()
    older = place.root / "older"
    shutil.copytree(tenant.root, older)
    tenant = place.open("clinic")
    tenant.journal("ledger").append(b"debit 2")
    tenant.close()
    newest = (tenant.root / "keyring.json").read_bytes()
    shutil.rmtree(tenant.root)
    shutil.copytree(older, tenant.root)
    tenant = place.open("clinic")
    for mark in range(2):
        tenant.journal("ledger").append(f"another {mark}".encode())
    tenant.close()
    (tenant.root / "keyring.json").write_bytes(newest)
    refused_everywhere(place.open("clinic"), "from record 3 on")


def test_the_newest_commit_cut_off_with_its_head_is_refused(place) -> None:
    """What is left fits its head: only the count in the key ring tells."""
    tenant = with_ledger(place)
    tenant.journal("ledger").append(b"debit 2")
    with sqlite3.connect(tenant.root / "catalogue.db") as connection:
        name = journal.index(tenant._session.keys, "ledger")
        connection.execute("DELETE FROM journal WHERE name = ? AND number = 2", (name,))
        connection.execute("DELETE FROM heads WHERE sequence = (SELECT MAX(sequence) FROM heads)")
    refused_everywhere(place.open("clinic"), "where the key ring counts 3")


def test_an_older_key_ring_alone_takes_nothing_away(place) -> None:
    tenant = with_ledger(place)
    older = (tenant.root / "keyring.json").read_bytes()
    tenant.journal("ledger").append(b"debit 2")
    (tenant.root / "keyring.json").write_bytes(older)
    book = place.open("clinic").journal("ledger")
    assert len(book.entries()) == 3
    book.confirm()
    assert counted(tenant.root) == [3]


def test_a_count_that_somebody_changed_is_found(place) -> None:
    tenant = with_ledger(place)
    tenant.close()
    path = tenant.root / "keyring.json"
    for change in (lambda ring: ring.pop("journals"), lambda ring: ring["journals"].clear()):
        good = path.read_bytes()
        ring = json.loads(good)
        change(ring)
        path.write_text(json.dumps(ring))
        with pytest.raises(IntegrityError, match="was changed outside medvae"):
            place.open("clinic")
        path.write_bytes(good)


def test_another_process_rotation_keeps_the_count_and_the_recipients(place) -> None:
    one, two = with_ledger(place), place.open("clinic")
    two.journal("ledger").append(b"debit 2")
    one.rotate()
    assert counted(one.root) == [3]
    assert two.journal("ledger").entries() == [*LEDGER, b"debit 2"]


def test_an_append_goes_by_what_was_read(place) -> None:
    tenant = with_ledger(place)
    book, other = tenant.journal("ledger"), place.open("clinic").journal("ledger")
    read = len(book.entries())
    assert other.append(b"in between") == 2
    assert book.append(b"checked without it", expected=read) is None
    assert book.entries() == [*LEDGER, b"in between"]
    assert book.append(b"checked with it", expected=3) == 3


def test_a_reader_that_keeps_the_log_in_use_is_named(place, monkeypatch) -> None:
    tenant = with_ledger(place)
    monkeypatch.setattr(tenant._session.catalogue, "checkpoint", lambda: False)
    with pytest.raises(AccessError, match="run the same command again"):
        tenant.journal("ledger").append(b"debit 2")
    assert len(tenant.journal("ledger").entries()) == 3


def test_a_reseal_cannot_be_made_to_do_nothing(place) -> None:
    tenant = place.create("clinic")
    ids = [tenant.put("volume", bytes([mark])) for mark in range(3)]
    with sqlite3.connect(tenant.root / "catalogue.db") as connection:
        connection.execute("INSERT INTO meta VALUES('reseal', 0)")
        query = "SELECT id, born, version FROM objects"
        before = connection.execute(query).fetchall()
    assert place.open("clinic").reseal() == 3
    with sqlite3.connect(tenant.root / "catalogue.db") as connection:
        after = connection.execute(query).fetchall()
        assert connection.execute("SELECT COUNT(*) FROM meta").fetchone() == (3,)
    assert [(old[1] < new[1], old[2] < new[2]) for old, new in zip(before, after, strict=True)] == [
        (True, True)
    ] * 3
    assert sorted(tenant.ids("volume")) == sorted(ids)


def test_a_reseal_that_was_cut_off_goes_on(place, monkeypatch) -> None:
    from medvae.vault import rotation

    tenant = place.create("clinic")
    for mark in range(4):
        tenant.put("volume", bytes([mark]))
    real, done = rotation._reseal_one, []

    def twice(session, object_id) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        real(session, object_id)
        done.append(object_id)

    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_reseal_one", twice)
        with pytest.raises(KeyboardInterrupt):
            tenant.reseal()
    epoch = tenant.epoch
    assert tenant.reseal() == 2
    assert tenant.epoch == epoch
    assert tenant.reseal() == 4
    assert tenant.epoch == epoch + 1


FULL = """
import resource, signal, sys
from pathlib import Path
from medvae.errors import MedvaeError
from medvae.vault import Vault
tenant = Vault(Path(sys.argv[1]) / "vault").open("clinic", identity=Path(sys.argv[2]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    tenant.record("access", text="x" * 20_000)
except MedvaeError as error:
    print(error.exit_code, error)
"""


def test_an_input_or_output_error_asks_for_no_backup(place) -> None:
    """The kernel refuses writes beyond 4 KiB, which SQLite reports as a disk I/O error."""
    tenant = with_ledger(place)
    tenant.close()
    words = [sys.executable, "-c", FULL, str(place.root), str(place.identity("clinic"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(words, capture_output=True, text=True, env=environment, check=True).stdout
    assert said.startswith("5 the disk refused"), said
    assert "nothing was changed" in said
    assert "restore" not in said
    opened = place.open("clinic")
    assert opened.verify().damaged == []
    assert opened.journal("ledger").entries() == LEDGER


def test_a_ring_of_an_earlier_version_counts_from_the_first_debit_on(tmp_path: Path) -> None:
    from medvae.vault import Vault

    golden = tmp_path / "v1"
    shutil.copytree(Path(__file__).parent / "golden" / "v1", golden)
    for path in (golden, *golden.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    vault, key = Vault(golden / "vault"), golden / "identity.json"
    tenant = vault.open("golden", identity=key)
    assert (tenant.delta, tenant._session.ring.journals) == (keyring.DEFAULT_DELTA, None)
    tenant.rotate()
    assert tenant._session.ring.journals is None
    older = (tenant.root / "catalogue.db").read_bytes()
    tenant.journal("ledger").append(b"debit 3")
    assert counted(tenant.root) == [4]
    tenant.close()
    (tenant.root / "catalogue.db").write_bytes(older)
    with pytest.raises(IntegrityError, match="where the key ring counts 4"):
        vault.open("golden", identity=key).journal("ledger").entries()


def put_back(place, change) -> Tenant:
    """A tenant whose catalogue.db alone is that of before `change`."""
    tenant = with_ledger(place)
    tenant.put("dataset", b"kept", name="kept@1")
    tenant.close()
    older = place.root / "older.db"
    shutil.copy(tenant.root / "catalogue.db", older)
    tenant = place.open("clinic")
    change(tenant)
    tenant.close()
    shutil.copy(older, tenant.root / "catalogue.db")
    return place.open("clinic")


def answers(opened: Tenant) -> list:
    return [
        lambda: opened.names("dataset"),
        lambda: opened.ids("dataset"),
        lambda: opened.find("dataset", "kept@1"),
        lambda: opened.get_named("dataset", "kept@1"),
        opened.inventory,
        opened.events,
        opened.anchor,
        opened.journal("ledger").entries,
        lambda: opened.record("access"),
        lambda: opened.put("dataset", b"more", name="more@1"),
        opened.rotate,
        opened.gc,
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda tenant: tenant.put("dataset", b"new", name="new@1"),
        lambda tenant: tenant.add_recipient(tenant_key(tenant)),
    ],
    ids=["put", "recipient"],
)
def test_no_answer_comes_from_a_catalogue_that_was_put_back_alone(place, change) -> None:
    opened = put_back(place, change)
    for use in answers(opened):
        with pytest.raises(IntegrityError, match="key ring counts"):
            use()
    assert opened.verify().damaged


def tenant_key(tenant: Tenant):
    path = tenant.root.parent / "another.identity"
    new_identity(path)
    return recipient_of(path, "another")


def test_an_older_catalogue_is_accepted_on_demand_and_never_a_shorter_ledger(place) -> None:
    opened = put_back(place, lambda tenant: tenant.put("dataset", b"new", name="new@1"))
    assert opened.accept_catalogue() == 1
    assert opened.names("dataset") == ["kept@1"]
    assert place.open("clinic").verify().damaged == []
    assert opened.events()[-1]["event"] == "repair accept"
    older = opened.root / "catalogue.db"
    opened.close()
    kept = older.read_bytes()
    again = place.open("clinic")
    again.journal("ledger").append(b"debit 2")
    again.close()
    older.write_bytes(kept)
    with pytest.raises(IntegrityError, match="where the key ring counts 3"):
        place.open("clinic").accept_catalogue()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM objects WHERE kind = 'dataset'",
        "UPDATE objects SET kind = 'hidden' WHERE kind = 'dataset'",
        "DELETE FROM journal WHERE number = (SELECT MAX(number) FROM journal)",
        "DELETE FROM heads WHERE sequence = (SELECT MAX(sequence) FROM heads)",
        "DELETE FROM heads WHERE sequence = 1",
        "UPDATE meta SET value = 9 WHERE key = 'format'",
        "UPDATE meta SET value = 9 WHERE key = 'epoch'",
        "DROP INDEX objects_by_kind",
    ],
)
def test_no_answer_comes_from_rows_that_were_edited(place, statement: str) -> None:
    tenant = with_ledger(place)
    tenant.put("dataset", b"kept", name="kept@1")
    tenant.close()
    with sqlite3.connect(tenant.root / "catalogue.db") as connection:
        connection.execute(statement)
    connection.close()

    def use(number: int) -> None:
        answers(place.open("clinic"))[number]()

    for number in range(12):
        with pytest.raises(IntegrityError):
            use(number)


@pytest.mark.parametrize("mode", [b"\1\1", b"\2\3", b"\3\2"])
def test_a_changed_journal_mode_is_damage(place, mode: bytes) -> None:
    tenant = with_ledger(place)
    tenant.close()
    with (tenant.root / "catalogue.db").open("r+b") as file:
        file.seek(18)
        file.write(mode)
    with pytest.raises(IntegrityError, match="header"):
        place.open("clinic")


def test_commits_of_another_process_are_seen_and_proven(place) -> None:
    first = with_ledger(place)
    second = place.open("clinic")
    assert second.names("dataset") == []
    for number in range(3):
        first.put("dataset", b"x", name=f"{number}@1")
        assert len(second.names("dataset")) == number + 1
    second.delete("dataset", second.find("dataset", "1@1") or "")
    assert first.names("dataset") == ["0@1", "2@1"]
    assert first.inventory() == second.inventory() == place.open("clinic").inventory()


def test_an_event_of_a_verb_that_only_reads_is_counted_too(place) -> None:
    opened = put_back(place, lambda tenant: tenant.record("access"))
    with pytest.raises(IntegrityError, match="commits where the key ring counts"):
        opened.events()
