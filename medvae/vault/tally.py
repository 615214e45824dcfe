"""The length of each journal, and of the catalogue's chain of commits, in the key ring as well.

The catalogue and the key ring are two files. A record is committed to the catalogue first and
counted in the ring next, and work that the record stands for begins after that. So:

| ring and catalogue | means |
|---|---|
| equal | nothing happened |
| the catalogue goes on from what the ring counts | a crash in between, or an older ring: good |
| the catalogue has fewer records, or other ones | it was put back to an older state: refused |
| the ring counts nothing | it is of an earlier version: counted with the next record |
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from medvae.errors import IntegrityError
from medvae.vault import heads
from medvae.vault.index import GENESIS
from medvae.vault.keyring import Keyring, Tally
from medvae.vault.scan import Scan


def check(ring: Keyring, key: bytes, links: Sequence[bytes], what: str) -> None:
    """The catalogue's links of the journal `key` go on from what the ring counts.

    Raises:
        IntegrityError: the catalogue was put back to an older state; names `what`.
    """
    if ring.journals is None:
        return
    counted = ring.journals.get(key.hex(), Tally(0, GENESIS))
    if len(links) < counted.count:
        raise IntegrityError(
            f"{what} of tenant {ring.tenant} has {len(links)} records where the key ring counts "
            f"{counted.count}: catalogue.db was put back to an older state, or its write-ahead log "
            "was deleted; restore the newest catalogue.db"
        )
    if counted.count and links[counted.count - 1] != counted.link:
        raise IntegrityError(
            f"{what} of tenant {ring.tenant} is not the one that the key ring counts from record "
            f"{counted.count} on: catalogue.db was put back to an older state and went on "
            "differently; restore the newest catalogue.db"
        )


def check_all(ring: Keyring, snapshot: Scan) -> None:
    """`check` of all that the ring counts; the links themselves are not opened."""
    for key in ring.journals or {}:
        raw = bytes.fromhex(key)
        links = [record.link for record in snapshot.journals.get(raw, [])]
        check(ring, raw, links, f"journal {key[:8]}")
    check_commits(ring, snapshot)


def check_commits(ring: Keyring, snapshot: Scan) -> None:
    """The catalogue's chain of commits goes on from the one that the ring counts.

    Raises:
        IntegrityError: the catalogue was put back to an older state.
    """
    counted = ring.commits
    if counted is None:
        return
    if len(snapshot.commits) < counted.count:
        raise IntegrityError(
            f"the catalogue of tenant {ring.tenant} has {len(snapshot.commits)} commits where the "
            f"key ring counts {counted.count}: catalogue.db was put back to an older state, or its "
            "write-ahead log was deleted; restore the newest catalogue.db, or take catalogue.db, "
            "keyring.json and objects/ from one backup"
        )
    if snapshot.commits[counted.count - 1] != counted.link:
        raise IntegrityError(
            f"the catalogue of tenant {ring.tenant} is not the one that the key ring counts "
            f"from commit {counted.count} on: it was put back to an older state and went on "
            "differently; restore the newest catalogue.db"
        )


def counting_commits(ring: Keyring, connection: sqlite3.Connection) -> Keyring:
    """The ring (not signed yet) that counts the catalogue's newest commit."""
    newest = heads.last(connection)
    return ring if newest is None else replace(ring, commits=Tally(newest.sequence, newest.head))


def counted(ring: Keyring, key: bytes, count: int, link: bytes) -> Keyring:
    """The ring (not signed yet) that counts so many records of the journal `key`."""
    journals = dict(ring.journals or {})
    if count:
        journals[key.hex()] = Tally(count, link)
    return replace(ring, journals=journals)
