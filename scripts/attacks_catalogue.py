"""Attacks on the catalogue: its pages, pointers, free pages, indexes, schema and log."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "vault"))

import btree
from attacks_scene import Attack, Scene, files

STATEMENTS = {
    "a row deleted": ("DELETE FROM objects WHERE id = (SELECT id FROM objects LIMIT 1)",),
    "a row under another id": (
        "UPDATE objects SET id = zeroblob(16) WHERE id = (SELECT id FROM objects LIMIT 1)",
    ),
    "a journal deleted": ("DELETE FROM journal WHERE name = (SELECT name FROM journal LIMIT 1)",),
    "the epoch changed": ("UPDATE meta SET value = value + 1 WHERE key = 'epoch'",),
    "the newest head deleted": (
        "DELETE FROM heads WHERE sequence = (SELECT max(sequence) FROM heads)",
    ),
    "a trigger that hides rows": (
        "CREATE TRIGGER t AFTER INSERT ON heads BEGIN DELETE FROM objects; END",
    ),
    "a view in the place of a table": (
        "ALTER TABLE objects RENAME TO hidden",
        "CREATE VIEW objects AS SELECT * FROM hidden LIMIT 3",
    ),
    "a table with sqlite_sequence": ("CREATE TABLE more(a INTEGER PRIMARY KEY AUTOINCREMENT)",),
    "an index more": ("CREATE INDEX more ON objects(kind) WHERE kind <> 'volume'",),
    "a table at the root of another": (
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = "
        "'heads') WHERE name = 'refusals'",
    ),
}
Change = Callable[[bytearray, random.Random], None]


def changed(part: str, change: Change) -> Attack:
    """An attack on the bytes of one file."""

    def attack(vault: Path, chance: random.Random) -> None:
        path = chance.choice(files(vault, part))
        data = bytearray(path.read_bytes())
        change(data, chance)
        path.write_bytes(data)

    return attack


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def page_size(data: bytes | bytearray) -> int:
    """Bytes a page, as the header says (SQLite file format, 1.3.2)."""
    return int.from_bytes(data[16:18], "big") or 4096


def two_pages(data: bytearray, chance: random.Random) -> tuple[slice, slice]:
    """Two places of a page each."""
    size = page_size(data)
    one, two = (size * chance.randrange(len(data) // size) for _ in range(2))
    return slice(one, one + size), slice(two, two + size)


def swap_pages(data: bytearray, chance: random.Random) -> None:
    one, two = two_pages(data, chance)
    data[one], data[two] = data[two], data[one]


def copy_page(data: bytearray, chance: random.Random) -> None:
    one, two = two_pages(data, chance)
    data[one] = data[two]


def zero_page(data: bytearray, chance: random.Random) -> None:
    place, _ = two_pages(data, chance)
    data[place] = bytes(page_size(data))


def swap_cells(data: bytearray, chance: random.Random) -> None:
    """Two cell pointers of one leaf page: every row stays, in another order."""
    size = page_size(data)
    pages = [at for at in range(size, len(data), size) if data[at] in (10, 13)]
    at = chance.choice(pages)
    count = int.from_bytes(data[at + 3 : at + 5], "big")
    if count > 1:
        one, two = (at + 8 + 2 * chance.randrange(count) for _ in range(2))
        data[one : one + 2], data[two : two + 2] = data[two : two + 2], data[one : one + 2]


def free_page_in_use(data: bytearray, chance: random.Random) -> None:
    """The list of free pages (SQLite file format, 1.5) begins with a page that is in use."""
    count = len(data) // page_size(data)
    data[32:36] = chance.randrange(2, count + 1).to_bytes(4, "big")
    data[36:40] = chance.randrange(1, 4).to_bytes(4, "big")


def older_page(scene: Scene) -> Attack:
    """One page of an older catalogue of the same tenant."""

    def attack(vault: Path, chance: random.Random) -> None:
        path = vault / "a" / "catalogue.db"
        data = bytearray(path.read_bytes())
        before = (chance.choice(scene.older) / "catalogue.db").read_bytes()
        size = page_size(data)
        at = size * chance.randrange(min(len(data), len(before)) // size)
        data[at : at + size] = before[at : at + size]
        path.write_bytes(data)

    return attack


def index_without_a_row(vault: Path, chance: random.Random) -> None:
    """The index of kinds, made without one object; the text of the schema is as it was."""
    path = vault / "a" / "catalogue.db"
    with sqlite3.connect(path) as connection:
        ids = [one for (one,) in connection.execute("SELECT id FROM objects ORDER BY id")]
    connection.close()
    btree.hide_from_index(path, chance.choice(ids))


def hidden_record(vault: Path, chance: random.Random) -> None:
    """The newest record of a journal, out of its order in the page."""
    path = vault / "a" / "catalogue.db"
    with sqlite3.connect(path) as connection:
        names = [one for (one,) in connection.execute("SELECT DISTINCT name FROM journal")]
    connection.close()
    btree.hide_newest(path, chance.choice(sorted(names)))


def sql(*statements: str) -> Attack:
    """Statements on the catalogue; one that SQLite refuses changes nothing."""

    def attack(vault: Path, chance: random.Random) -> None:
        connection = sqlite3.connect(vault / "a" / "catalogue.db", isolation_level=None)
        try:
            for statement in statements:
                connection.execute(statement)
        finally:
            connection.close()

    return attack


def log_deleted(vault: Path, chance: random.Random) -> None:
    """As a cleaner of temporary files does, or a backup of catalogue.db alone."""
    for path in (vault / "a").glob("catalogue.db-*"):
        path.unlink()


def older_log(scene: Scene) -> Attack:
    """The log of the killed writer beside the catalogue of another state."""

    def attack(vault: Path, chance: random.Random) -> None:
        for path in (scene.killed / "a").glob("catalogue.db-*"):
            (vault / "a" / path.name).write_bytes(path.read_bytes())

    return attack


def attacks(scene: Scene) -> Iterator[tuple[str, Attack, dict[str, bool]]]:
    """Name, attack, and how it is tried; all are to be found where they change an answer."""
    for title, change in {
        "pages of the catalogue swapped": swap_pages,
        "a page of the catalogue over another": copy_page,
        "a page of the catalogue zeroed": zero_page,
        "rows hidden by the order of a page": swap_cells,
    }.items():
        yield title, changed("catalogue", change), {}
    yield "a page of an older catalogue", older_page(scene), {}
    yield (
        "a page in use named as free, then written to",
        changed("catalogue", free_page_in_use),
        {"write": True},
    )
    yield "a row left out of an index, then written to", index_without_a_row, {"write": True}
    yield "the newest record of a journal hidden", hidden_record, {}
    for title, statements in STATEMENTS.items():
        yield title, sql(*statements), {}
    yield "the log of a killed writer deleted", log_deleted, {"killed": True}
    yield "the log of a killed writer cut short", changed("log", cut), {"killed": True}
    yield "a bit of the log of a killed writer flipped", changed("log", flip), {"killed": True}
    yield "the log of another state", older_log(scene), {}
