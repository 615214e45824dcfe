"""Manifests and journals in one another's place, across data sets and across two tenants.

The intruder writes to the disk as he likes and has no key. Everything of a kind is put in the
place of everything else, in each way that leaves the catalogue well-formed: nothing opens.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from medvae.api import datasets
from medvae.api.declaration import UNDECLARED
from medvae.errors import IntegrityError, MedvaeError
from medvae.vault import Tenant, audit, journal
from medvae.vault.catalogue import Row, select

NAMES = ("liver@1", "liver@2", "spleen@1")
JOURNALS = ("ledger", "other", audit.NAME)


@contextlib.contextmanager
def raw(tenant: Tenant) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tenant.root / "catalogue.db", isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous=OFF")
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def put_back_after(tenant: Tenant, *tables: str) -> Iterator[sqlite3.Connection]:
    """What is done to these tables is undone at the end."""
    with raw(tenant) as connection:
        saved = {one: connection.execute(f"SELECT * FROM {one}").fetchall() for one in tables}
        try:
            yield connection
        finally:
            for one, rows in saved.items():
                connection.execute(f"DELETE FROM {one}")
                places = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {one} VALUES({places})", rows)


def volume(mark: str) -> dict[str, object]:
    return {
        "digest": mark,
        "voxels": mark,
        "subject": mark,
        "object": mark,
        "mask": False,
        "labels": 0,
    }


@pytest.fixture
def clinics(place) -> list[Tenant]:
    """Two tenants, each with three manifests and three journals of three records."""
    made = [place.create("one"), place.create("two")]
    for tenant in made:
        datasets.add_version(tenant, "liver", [volume("a")], UNDECLARED)
        datasets.add_version(tenant, "liver", [volume("b")], UNDECLARED)
        datasets.add_version(tenant, "spleen", [volume("a")], UNDECLARED)
        for name in JOURNALS[:2]:
            for mark in range(3):
                tenant.journal(name).append(b"debit %d" % mark)
        assert len(tenant.events()) >= 2
    return made


def row_of(tenant: Tenant, name: str) -> Row:
    with tenant._session.read_tx() as (connection, _):
        found = bytes.fromhex(tenant.find("dataset", name) or "")
        return next(select(connection, "id = ?", found))


def swap_file(source: tuple[Tenant, Row], target: tuple[Tenant, Row]) -> None:
    """The ciphertext alone."""
    (giver, given), (taker, taken) = source, target
    shutil.copyfile(giver.root / "objects" / given.key, taker.root / "objects" / taken.key)


def swap_key(source: tuple[Tenant, Row], target: tuple[Tenant, Row]) -> None:
    """The ciphertext, with its wrapped key, size and hash."""
    (_, given), (taker, taken) = source, target
    swap_file(source, target)
    with raw(taker) as connection:
        statement = "UPDATE objects SET sealed = ?, size = ?, sha256 = ? WHERE id = ?"
        connection.execute(statement, (given.sealed, given.size, given.sha256, taken.object_id))


def swap_row(source: tuple[Tenant, Row], target: tuple[Tenant, Row]) -> None:
    """The whole row and its file, found under the other's name."""
    (giver, given), (taker, taken) = source, target
    with raw(taker) as connection:
        connection.execute("DELETE FROM objects WHERE id = ?", (taken.object_id,))
        connection.execute(
            "INSERT OR REPLACE INTO objects VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                given.object_id, given.kind, given.version, taken.lookup, given.size,
                given.sha256, given.epoch, given.born, given.sealed,
            ),
        )  # fmt: skip
    if giver is not taker:
        placed = taker.root / "objects" / given.key
        placed.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(giver.root / "objects" / given.key, placed)


Swap = Callable[[tuple[Tenant, Row], tuple[Tenant, Row]], None]


@pytest.mark.parametrize("swap", [swap_file, swap_key, swap_row], ids=lambda one: one.__name__)
def test_manifests(clinics: list[Tenant], swap: Swap) -> None:
    rows = {(one, name): row_of(clinics[one], name) for one in (0, 1) for name in NAMES}
    tried = 0
    for (target, name), (source, other) in itertools.permutations(rows, 2):
        taker, giver = clinics[target], clinics[source]
        path = taker.root / "objects" / rows[target, name].key
        kept = path.read_bytes()
        with put_back_after(taker, "objects"):
            swap((giver, rows[source, other]), (taker, rows[target, name]))
            with pytest.raises(IntegrityError):
                datasets.load(taker, name)
            assert taker.verify(read_data=True).damaged
        path.write_bytes(kept)
        assert datasets.load(taker, name)["name"] == name.partition("@")[0]
        tried += 1
    assert tried == 6 * 5
    for tenant in clinics:
        assert tenant.verify(read_data=True).damaged == []


def test_manifests_put_in_by_somebody_with_keys(clinics: list[Tenant]) -> None:
    """Of another tenant: its signature is not ours. Of another data set: it names that."""
    for tenant, giver in itertools.product(clinics, repeat=2):
        for name, other in itertools.permutations(NAMES, 2):
            kept = tenant.get_named("dataset", name)
            tenant.put("dataset", giver.get_named("dataset", other), name=name, replace=True)
            wrong = "another data set" if tenant is giver else "not signed by its tenant"
            with pytest.raises(IntegrityError, match=wrong):
                datasets.load(tenant, name)
            tenant.put("dataset", kept, name=name, replace=True)


Record = tuple[int, str, int]


def records(clinics: list[Tenant]) -> dict[Record, tuple[bytes, bytes, bytes]]:
    """(tenant, journal, number) -> the journal's index, the sealed record, its link."""
    found = {}
    for one, tenant in enumerate(clinics):
        with tenant._session.read_tx() as (connection, keys):
            for name in JOURNALS:
                index = journal.index(keys, name)
                query = "SELECT number, sealed, link FROM journal WHERE name = ? AND number < 3"
                for number, sealed, link in connection.execute(query, (index,)):
                    found[one, name, number] = (index, sealed, link)
    return found


def relink(connection: sqlite3.Connection, index: bytes) -> None:
    """Make the links fit the records again: they are hashes, so anybody can."""
    before = journal.GENESIS
    query = "SELECT number, sealed FROM journal WHERE name = ? ORDER BY number"
    for number, sealed in connection.execute(query, (index,)).fetchall():
        before = journal._link(before, sealed)
        statement = "UPDATE journal SET link = ? WHERE name = ? AND number = ?"
        connection.execute(statement, (before, index, number))


def read(tenant: Tenant, name: str) -> object:
    return tenant.events() if name == audit.NAME else tenant.journal(name).entries()


@pytest.mark.parametrize("how", ["record", "record and link", "relinked"])
def test_journal_records(clinics: list[Tenant], how: str) -> None:
    found = records(clinics)
    tried = 0
    for target, source in itertools.permutations(found, 2):
        one, name, number = target
        tenant, (index, _, link) = clinics[one], found[target]
        _, other, other_link = found[source]
        taken = other_link if how == "record and link" else link
        with put_back_after(tenant, "journal") as connection:
            statement = "UPDATE journal SET sealed = ?, link = ? WHERE name = ? AND number = ?"
            connection.execute(statement, (other, taken, index, number))
            if how == "relinked":
                relink(connection, index)
            with pytest.raises(
                IntegrityError, match=f"journal {name}: record {number} was changed"
            ):
                read(tenant, name)
            if name == audit.NAME:
                assert not tenant.verify_log().valid
            if source[2] == 0:
                assert tenant.verify().damaged
        tried += 1
    assert tried >= 16 * 15
    for tenant in clinics:
        assert tenant.verify().damaged == []
        assert tenant.verify_log().valid


def test_whole_journals(clinics: list[Tenant]) -> None:
    """A journal under another's index, with and without the one that was there."""
    for taker, giver in itertools.product(clinics, repeat=2):
        for name, other in itertools.product(JOURNALS, repeat=2):
            if (taker, name) == (giver, other):
                continue
            with giver._session.read_tx() as (connection, keys):
                query = "SELECT number, sealed, link FROM journal WHERE name = ? ORDER BY number"
                rows = connection.execute(query, (journal.index(keys, other),)).fetchall()
            index = journal.index(taker._session.keys, name)
            with put_back_after(taker, "journal") as connection:
                connection.execute("DELETE FROM journal WHERE name = ?", (index,))
                if name == audit.NAME:  # gone altogether
                    assert not taker.verify_log().valid
                else:
                    with pytest.raises(IntegrityError, match="rows of the catalogue"):
                        read(taker, name)
                connection.executemany(
                    "INSERT INTO journal VALUES(?, ?, ?, ?)", [(index, *row) for row in rows]
                )
                with pytest.raises(IntegrityError, match=f"journal {name}: record 0 was changed"):
                    read(taker, name)


@pytest.mark.parametrize("table", ["objects", "journal", "heads"])
def test_whole_tables_of_another_tenant(place, clinics: list[Tenant], table: str) -> None:
    one, two = clinics
    with raw(one) as connection:
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    with put_back_after(two, table) as connection:
        connection.execute(f"DELETE FROM {table}")
        connection.executemany(f"INSERT INTO {table} VALUES({', '.join('?' * len(rows[0]))})", rows)
        try:
            found = place.open("two").verify()
        except MedvaeError as error:
            assert isinstance(error, IntegrityError)  # noqa: PT017
        else:
            assert found.damaged
        with pytest.raises(IntegrityError):
            two.journal("ledger").entries()
    assert two.verify(read_data=True).damaged == []
