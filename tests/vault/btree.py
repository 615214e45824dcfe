"""Damage to the b-trees of a catalogue that leaves every row in the file.

Written from the SQLite file format (sqlite.org/fileformat2.html): a leaf page of a table
WITHOUT ROWID has type 10, an 8-byte header and an array of 2-byte cell pointers in key order.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEAF, INTERIOR = 10, 2


@dataclass(frozen=True)
class Cell:
    """One entry of a b-tree: where its pointer is in the file, and its first two columns."""

    page: int  # offset of its page in the file
    rank: int  # place in the page's pointer array
    kind: int
    columns: tuple[bytes | int, ...]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The big-endian base-128 number at `at`, and where it ends (numbers of 9 bytes apart)."""
    value = 0
    while True:
        byte = data[at]
        value, at = value << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            return value, at


def columns(data: bytes, at: int) -> tuple[bytes | int, ...]:
    """The first two columns of the record at `at`: bytes and whole numbers only."""
    _, at = varint(data, at)  # the payload's size
    size, after = varint(data, at)
    serials = []
    while after < at + size and len(serials) < 2:
        serial, after = varint(data, after)
        serials.append(serial)
    at += size
    found: list[bytes | int] = []
    for serial in serials:
        if serial in (8, 9):
            found.append(serial - 8)
            continue
        length = (serial - 12) // 2 if serial >= 12 else serial
        raw = data[at : at + length]
        found.append(bytes(raw) if serial >= 12 else int.from_bytes(raw, "big"))
        at += length
    return tuple(found)


def cells(data: bytes, size: int, page: int) -> Iterator[Cell]:
    """Every entry below a page, in the order of the b-tree."""
    at = (page - 1) * size
    kind = data[at]
    (count,) = struct.unpack_from(">H", data, at + 3)
    for rank, start in enumerate(pointers(data, at)):
        cell = at + start
        if kind == INTERIOR:
            yield from cells(data, size, struct.unpack_from(">I", data, cell)[0])
            cell += 4
        yield Cell(at, rank, kind, columns(data, cell))
    if kind == INTERIOR:
        yield from cells(data, size, struct.unpack_from(">I", data, at + 8)[0])
    assert count or kind == LEAF


def pointers(data: bytes, page: int) -> list[int]:
    """The pointer array of the page at that offset."""
    (count,) = struct.unpack_from(">H", data, page + 3)
    header = 12 if data[page] == INTERIOR else 8
    return list(struct.unpack_from(f">{count}H", data, page + header))


def hide_newest(path: Path, name: bytes) -> None:
    """Move the pointer of a journal's newest record to the other end of its leaf page.

    Nothing is removed: a full scan still meets the record, a seek to the journal does not
    where another journal has records on that page.

    Raises:
        LookupError: that record is not on a leaf page.
    """
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'journal'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(path.read_bytes())
    newest = [cell for cell in cells(data, size, root) if cell.columns[0] == name][-1]
    if newest.kind != LEAF:
        raise LookupError("the newest record is in an interior page")
    order = pointers(data, newest.page)
    moved = order.pop(newest.rank)
    last = newest.rank >= len(order) // 2
    order = [moved, *order] if last else [*order, moved]
    struct.pack_into(f">{len(order)}H", data, newest.page + 8, *order)
    path.write_bytes(data)


def hide_from_index(path: Path, object_id: bytes) -> None:
    """Make the index of kinds anew without one object; its text in the schema stays as it was."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        query = "SELECT sql FROM sqlite_master WHERE name = 'objects_by_kind'"
        (text,) = connection.execute(query).fetchone()
        connection.execute("DROP INDEX objects_by_kind")
        connection.execute(f"{text} WHERE id <> x'{object_id.hex()}'")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = 'objects_by_kind'", (text,)
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
