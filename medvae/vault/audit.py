"""The audit log of a tenant: a journal of events, with signed checkpoints.

Events carry the codes of DICOM PS3.15 A.5 (audit trail message format profile; the codes
are those of PS3.16 CID 400 and 401) beside the name that medvae gives them. Every
`CHECKPOINT` events, and whenever asked, a checkpoint is appended: the Ed25519 signature of
the chain so far, which can be shown to somebody outside.
"""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from medvae.errors import IntegrityError
from medvae.vault import format, journal, tally
from medvae.vault.heads import Change
from medvae.vault.keyring import Keyring
from medvae.vault.keys import Keys
from medvae.vault.scan import Scan, scan, tail
from medvae.vault.session import Session

NAME: Final = "audit"
CHECKPOINT: Final = 64
_MOST_REFUSALS: Final = 1000

# medvae's events -> (PS3.16 CID 400 code, meaning). What is not here is application activity.
_ACTIVITY: Final = ("110100", "Application Activity")
_SECURITY: Final = ("110113", "Security Alert")
CODES: Final[dict[str, tuple[str, str]]] = {
    "ingest": ("110107", "Import"),
    "import": ("110107", "Import"),
    "export": ("110106", "Export"),
    "release": ("110106", "Export"),
    "access": ("110103", "DICOM Instances Accessed"),
    "train": ("110103", "DICOM Instances Accessed"),
    "evaluate": ("110103", "DICOM Instances Accessed"),
    "dataset": ("110105", "DICOM Study Deleted"),
    "subject": ("110110", "Patient Record"),
    "query": ("110112", "Query"),
    "log": ("110101", "Audit Log Used"),
    "open": ("110114", "User Authentication"),
    "tenant": _SECURITY,
    "keys": _SECURITY,
    "verify": _SECURITY,
    "repair": _SECURITY,
    "refused": _SECURITY,
}
# PS3.15 A.5.2: EventOutcomeIndicator.
OUTCOMES: Final = {"success": "0", "minor": "4", "failure": "8", "major": "12", "refused": "8"}


@dataclass(frozen=True)
class LogReport:
    """What `log verify` found. head is "COUNT:HEX", to be kept elsewhere as an anchor."""

    valid: bool
    events: int
    checkpoints: int
    head: str
    problem: str | None = None


def code(event: str) -> tuple[str, str]:
    """The DICOM code and meaning of an event, by the first word of its name."""
    word = event.replace("-", " ").replace("_", " ").replace(".", " ").split(" ")[0]
    if event.startswith("dataset") and not event.endswith(("delete", "erase")):
        return CODES["query"]
    return CODES.get(word, _ACTIVITY)


def describe(event: str, outcome: str, details: dict[str, Any]) -> dict[str, Any]:
    """The event as it is stored."""
    number, meaning = code(event)
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "code": number,
        "meaning": meaning,
        "outcome": outcome,
        "user": _user(),
        "process": os.getpid(),
        "details": details,
    }


def record(session: Session, event: str, outcome: str, details: dict[str, Any]) -> None:
    """Append an event, durably."""
    raw = _encode(describe(event, outcome, details))
    with session.write_tx() as (connection, keys, change):
        _append(connection, keys, change, raw)
    session.count_if_idle()


def note_refusal(connection: sqlite3.Connection, event: str, details: dict[str, Any]) -> None:
    """Keep a refusal that happened without keys until somebody with keys comes.

    Not sealed and not chained: it holds no more than time, account and reason. At most
    1,000 are kept, so that knocking on the door cannot fill the disk.
    """
    (count,) = connection.execute("SELECT COUNT(*) FROM refusals").fetchone()
    if count < _MOST_REFUSALS:
        stored = describe(event, "refused", details)
        connection.execute("INSERT INTO refusals VALUES(?, ?)", (stored["time"], _encode(stored)))


def absorb_refusals(session: Session) -> None:
    """Move what `note_refusal` kept into the journal."""
    with session.read_tx() as (connection, _):
        (count,) = connection.execute("SELECT COUNT(*) FROM refusals").fetchone()
    if not count:
        return
    with session.write_tx() as (connection, keys, change):
        query = "SELECT time, event FROM refusals LIMIT ?"
        for record in connection.execute(query, (_MOST_REFUSALS,)).fetchall():
            _append(connection, keys, change, _encode(_refusal(*record)))
        connection.execute("DELETE FROM refusals")


def _refusal(time: object, raw: object) -> dict[str, Any]:
    """A refusal as it goes into the log.

    Anybody who can write to the disk can write into that table, so nothing is taken over
    but short texts, in a place of their own, and the event says that it was not sealed.
    """
    try:
        stored = format.from_json(raw) if isinstance(raw, str | bytes) else {}
        reason = stored["details"]["reason"]
        user = stored["user"]
    except (ValueError, KeyError, TypeError):
        reason, user = "unreadable", "unknown"
    event = describe("open", "refused", {"reason": str(reason)[:300], "user": str(user)[:64]})
    return {**event, "noted": str(time)[:40], "unsealed": True}


def events(session: Session) -> list[dict[str, Any]]:
    """Every event, oldest first, with its number; checkpoints left out.

    Raises:
        IntegrityError: the chain is broken, or cut off at its end.
    """
    ring = session.stored_ring()
    with session.read_tx() as (connection, keys):
        snapshot = scan(connection, keys)
        parsed = [stored for stored, _, _ in _parsed(snapshot, keys)]
        _prove(snapshot, connection, ring)
    return [stored for stored in parsed if "checkpoint" not in stored]


def checkpoint(session: Session) -> None:
    """Sign the chain as it is."""
    with session.write_tx() as (connection, keys, change):
        _checkpoint(connection, keys, change)


def verify(session: Session) -> LogReport:
    """Check the chain and every signature; what is wrong is reported, not raised."""
    count, checkpoints = 0, 0
    ring = session.stored_ring()
    with session.read_tx() as (connection, keys):
        public = keys.signer().public_key()
        total, link = tail(connection, journal.index(keys, NAME))
        head = f"{total}:{link.hex()}"
        try:
            session.check_sound()
            snapshot = scan(connection, keys)
            for stored, number, previous in _parsed(snapshot, keys):
                if "checkpoint" in stored:
                    signature = bytes.fromhex(stored["checkpoint"])
                    public.verify(signature, _signed(keys, number, previous))
                    checkpoints += 1
                else:
                    count += 1
            _prove(snapshot, connection, ring)
        except IntegrityError as error:
            return LogReport(False, count, checkpoints, head, str(error))
        except (InvalidSignature, ValueError):
            problem = f"checkpoint {checkpoints} is not signed by this tenant"
            return LogReport(False, count, checkpoints, head, problem)
    return LogReport(True, count, checkpoints, head)


def _prove(snapshot: Scan, connection: sqlite3.Connection, ring: Keyring) -> None:
    """Nothing is missing, at the end of the audit log neither."""
    snapshot.prove()
    snapshot.prove_journals(connection)
    tally.check_all(ring, snapshot)


def _append(connection: sqlite3.Connection, keys: Keys, change: Change, raw: bytes) -> None:
    number = journal.append(connection, keys, change, NAME, raw)
    if (number + 2) % CHECKPOINT == 0:
        _checkpoint(connection, keys, change)


def _checkpoint(connection: sqlite3.Connection, keys: Keys, change: Change) -> None:
    number, previous = change.tail(journal.index(keys, NAME))
    signature = keys.signer().sign(_signed(keys, number, previous))
    raw = _encode({"checkpoint": signature.hex()})
    journal.append(connection, keys, change, NAME, raw)


def _signed(keys: Keys, number: int, previous: bytes) -> bytes:
    return format.context("checkpoint", keys.tenant_id, number, previous)


def _parsed(snapshot: Scan, keys: Keys) -> Iterator[tuple[dict[str, Any], int, bytes]]:
    """Each record with its number and the link before it."""
    previous = bytes(32)
    records = snapshot.journals.get(journal.index(keys, NAME), [])
    for number, (raw, link) in enumerate(journal.opened(records, keys, NAME)):
        yield {"number": number, **json.loads(raw)}, number, previous
        previous = link


def _encode(stored: dict[str, Any]) -> bytes:
    return json.dumps(stored, sort_keys=True, default=str).encode()


def _user() -> str:
    # Not getpass.getuser: that trusts the environment.
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
