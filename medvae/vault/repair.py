"""After damage: move what is damaged aside and report it; collect what nothing refers to.

Repair destroys nothing and overwrites nothing (borg #3602 and #7852 say why). A damaged
file goes to quarantine/ as it is; its catalogue row stays, so the object goes on being
reported as missing until its file is put back from a backup, or it is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from medvae.progress import SILENT, Progress
from medvae.vault import audit, keyring, tally, verify
from medvae.vault.bytestore import KEY
from medvae.vault.catalogue import select
from medvae.vault.scan import scan
from medvae.vault.session import Session
from medvae.vault.verify import Damage


@dataclass
class RepairReport:
    """What a repair found and did.

    quarantined: object -> where its damaged file is now, relative to the tenant's folder.
    lost: damaged or missing objects, to be restored from a backup, or deleted.
    """

    objects: int = 0
    lost: list[Damage] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Collected:
    """What a garbage collection removed: files that were staged, and unreferenced ones."""

    staged: int
    orphans: int
    freed: int


def repair(session: Session, progress: Progress = SILENT) -> RepairReport:
    """Verify everything and quarantine damaged files; the caller holds the writer lock."""
    checked = verify.verify(session, read_data=True, progress=progress)
    report = RepairReport(objects=checked.objects, lost=checked.damaged)
    with session.read_tx() as (connection, _):
        rows = {row.object_id.hex(): row for row in select(connection)}
    for damage in checked.damaged:
        row = rows.get(damage.object_id)
        if row is not None and _is_there(session, row.key):
            report.quarantined[damage.object] = session.store.quarantine(row.key)
    outcome = "failure" if report.lost else "success"
    audit.record(
        session,
        "repair",
        outcome,
        {
            "objects": report.objects,
            "lost": [damage.object for damage in report.lost],
            "quarantined": sorted(report.quarantined),
        },
    )
    return report


def accept(session: Session) -> int:
    """Take an older catalogue for the truth, where a backup of it alone was put back.

    Never one whose ledger is shorter than the key ring counts: budget that was spent stays
    spent. The caller holds the writer lock. Returns how many commits are given up at least.

    Raises:
        IntegrityError: the catalogue is not whole, or a journal is shorter than was counted.
    """
    ring = session.stored_ring()
    with session.read_tx() as (connection, keys):
        snapshot = scan(connection, keys)
        snapshot.prove()
        snapshot.prove_journals(connection)
        tally.check_all(replace(ring, commits=None), snapshot)
    lost = 0 if ring.commits is None else max(ring.commits.count - len(snapshot.commits), 0)
    keyring.save(session.folder, keyring.signed(replace(ring, commits=None), session.keys))
    audit.record(
        session, "repair accept", "success", {"commits": len(snapshot.commits), "lost": lost}
    )
    return lost


def collect(session: Session, older_than: float) -> Collected:
    """Remove staged and unreferenced files of that age; the caller holds the writer lock.

    Only files that are named like objects are removed; anything strange is left to people.
    """
    staged = session.store.sweep(older_than)
    with session.read_tx() as (connection, _):
        referenced = {row.key for row in session.index(connection).rows.values()}
    old = [
        entry
        for entry in session.store.entries()
        if entry.key not in referenced and entry.age >= older_than and KEY.fullmatch(entry.key)
    ]
    session.store.delete([entry.key for entry in old])
    return Collected(staged, len(old), sum(entry.size for entry in old))


def _is_there(session: Session, key: str) -> bool:
    try:
        return session.store.size(key) is not None
    except (OSError, ValueError):
        return False
