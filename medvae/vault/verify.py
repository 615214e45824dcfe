"""Is everything there, and what it was? Without keys (`scrub`) or with them (`verify`).

A scrub trusts the catalogue and checks the files against it. With keys the catalogue is
checked too: every row opens, the rows are those of the last commit, the journals chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from medvae.errors import IntegrityError
from medvae.progress import SILENT, Progress
from medvae.vault import heads, objects, tally
from medvae.vault.bytestore import ByteStore
from medvae.vault.catalogue import Catalogue, Row, select
from medvae.vault.scan import scan
from medvae.vault.session import Session

CATALOGUE: Final = "catalogue"


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was. object: "KIND ID", or "catalogue"."""

    object: str
    reason: str
    object_id: str = ""
    kind: str = ""


@dataclass
class VerifyReport:
    """What was looked at and found.

    objects: how many were checked. orphans: files among the objects that the catalogue does
    not know: no damage, `gc` collects them by age.
    """

    objects: int = 0
    damaged: list[Damage] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def add(self, row: Row, reason: str) -> None:
        """Note damage to an object."""
        reason = reason.removeprefix(f"{row.label()}: ")
        self.damaged.append(Damage(row.label(), reason, row.object_id.hex(), row.kind))


def scrub(catalogue: Catalogue, store: ByteStore, progress: Progress = SILENT) -> VerifyReport:
    """Check the files against the catalogue; needs no key."""
    report = VerifyReport()
    try:
        if problem := catalogue.check():
            report.damaged.append(Damage(CATALOGUE, f"damaged: {problem}"))
        with catalogue.reading() as connection:
            for _ in heads.chain(connection):
                pass
            rows = list(select(connection))
    except IntegrityError as error:
        report.damaged.append(Damage(CATALOGUE, str(error)))
        return report
    _files(report, store, rows, progress, catalogue)
    report.orphans = orphans(store, rows)
    return report


def verify(
    session: Session,
    *,
    read_data: bool = False,
    only: set[str] | None = None,
    progress: Progress = SILENT,
) -> VerifyReport:
    """Check catalogue, journals and files; with `read_data`, open every object as well.

    only: ids of the objects to check; the catalogue is checked as a whole all the same. An
    id that is not in the catalogue is reported as missing.
    """
    report = VerifyReport()
    try:
        if problem := session.catalogue.check():
            report.damaged.append(Damage(CATALOGUE, f"damaged: {problem}"))
        ring = session.stored_ring()
        with session.read_tx() as (connection, keys):
            rows = list(select(connection))
            try:
                snapshot = scan(connection, keys)
                snapshot.prove()
                snapshot.prove_journals(connection)
                tally.check_all(ring, snapshot)
            except IntegrityError as error:
                report.damaged.append(Damage(CATALOGUE, str(error)))
    except IntegrityError as error:
        report.damaged.append(Damage(CATALOGUE, str(error)))
        return report
    checked = [row for row in rows if only is None or row.object_id.hex() in only]
    for unknown in sorted((only or set()) - {row.object_id.hex() for row in checked}):
        report.damaged.append(Damage(unknown, "missing: not in the catalogue", unknown))
    catalogue, opening = session.catalogue, session if read_data else None
    good = _files(report, session.store, checked, progress, catalogue, opening)
    for row in good:
        _row(report, session, row)
    if only is None:
        report.orphans = orphans(session.store, rows)
    return report


def orphans(store: ByteStore, rows: Iterable[Row]) -> list[str]:
    """Keys in the store that no row names."""
    referenced = {row.key for row in rows}
    return sorted(entry.key for entry in store.entries() if entry.key not in referenced)


def _files(
    report: VerifyReport,
    store: ByteStore,
    rows: list[Row],
    progress: Progress,
    catalogue: Catalogue,
    session: Session | None = None,
) -> list[Row]:
    """Check files; with a session open them too. Returns the rows without damage.

    An object that a writer replaces or deletes meanwhile is no damage: it is judged by the
    row that it has after its file was read.
    """
    good = []
    progress.start("verify", len(rows))
    for done, row in enumerate(rows, 1):
        report.objects += 1
        listed: Row | None = row
        reason = _damage(store, row, session)
        while reason is not None and listed is not None:
            newer = _current(catalogue, row.object_id)
            if newer == listed:
                report.add(listed, reason)
                break
            listed = newer
            reason = None if newer is None else _damage(store, newer, session)
        if reason is None and listed is not None:
            good.append(listed)
        progress.advance(done)
    progress.finish(f"{len(report.damaged)} damaged")
    return good


def _damage(store: ByteStore, row: Row, session: Session | None) -> str | None:
    reason = objects.ciphertext_damage(store, row)
    return _opens(session, row) if reason is None and session is not None else reason


def _current(catalogue: Catalogue, object_id: bytes) -> Row | None:
    with catalogue.reading() as connection:
        return next(select(connection, "id = ?", object_id), None)


def _opens(session: Session, row: Row) -> str | None:
    session.refresh()
    try:
        objects.read(session.keys, session.store, row)
    except IntegrityError as error:
        return str(error)
    except FileNotFoundError:
        return objects.missing(row)
    return None


def _row(report: VerifyReport, session: Session, row: Row) -> None:
    """Open a row's sealed record; one that a rotation rewraps meanwhile is read again."""
    newer = _current(session.catalogue, row.object_id)
    while newer is not None:
        session.refresh()
        try:
            objects.open_row(session.keys, newer)
            return
        except IntegrityError as error:
            listed, newer = newer, _current(session.catalogue, row.object_id)
            if newer == listed:
                report.add(row, str(error))
                return
