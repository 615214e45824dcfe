"""Journals, the audit trail, its checkpoints and its export."""

from __future__ import annotations

import json
import multiprocessing
import re
import sqlite3
from pathlib import Path

import pytest

from medvae.errors import IntegrityError, UsageError
from medvae.vault import Tenant, audit


def raw(tenant: Tenant) -> sqlite3.Connection:
    return sqlite3.connect(tenant.root / "catalogue.db", isolation_level=None, timeout=30)


def test_records_are_kept_in_order(place, tenant: Tenant) -> None:
    ledger, other = tenant.journal("ledger"), tenant.journal("other")
    assert [ledger.append(bytes([mark])) for mark in range(4)] == [0, 1, 2, 3]
    assert other.append(b"x") == 0
    assert ledger.entries() == [b"\0", b"\1", b"\2", b"\3"]
    tenant.rotate()
    tenant.reseal()
    assert place.open("clinic").journal("ledger").entries() == ledger.entries()
    assert tenant.journal("new").entries() == []


TAMPERING = [
    "UPDATE journal SET sealed = zeroblob(60) WHERE number = 1",
    "UPDATE journal SET link = zeroblob(32) WHERE number = 1",
    "UPDATE journal SET link = zeroblob(32) WHERE number = 3",
    "DELETE FROM journal WHERE number = 1",
    "DELETE FROM journal WHERE number = 0",
    "UPDATE journal SET number = number + 10 WHERE number = 3",
    "UPDATE journal SET sealed = (SELECT sealed FROM journal WHERE number = 2) WHERE number = 1",
]


@pytest.mark.parametrize("statement", TAMPERING)
def test_tampering_is_found(tenant: Tenant, statement: str) -> None:
    ledger = tenant.journal("ledger")
    for mark in range(4):
        ledger.append(bytes([mark]))
    with raw(tenant) as connection:
        name = connection.execute(
            "SELECT name FROM journal GROUP BY name HAVING COUNT(*) = 4"
        ).fetchone()[0]
        connection.execute(statement + " AND name = ?", (name,))
    with pytest.raises(IntegrityError, match="journal ledger: record"):
        ledger.entries()
    assert tenant.verify().damaged


def test_a_tail_cut_off_is_found_by_reading_verify_and_an_anchor(tenant: Tenant) -> None:
    ledger = tenant.journal("ledger")
    for mark in range(4):
        ledger.append(bytes([mark]))
    anchor = ledger.head()
    ledger.check(anchor)
    with raw(tenant) as connection:
        connection.execute("DELETE FROM journal WHERE number = 3")
    with pytest.raises(IntegrityError, match="rows of the catalogue"):
        ledger.entries()
    with pytest.raises(IntegrityError, match="rolled back: it has 3 records, the anchor 4"):
        ledger.check(anchor)
    assert any("rows of the catalogue" in one.reason for one in tenant.verify().damaged)


def test_heads_that_are_none(tenant: Tenant) -> None:
    zeros = ":" + "0" * 64
    for text in ("", "1", "x:00", "1:00", "-1" + zeros, "\u00b2" + zeros, "9" * 5000 + zeros):
        with pytest.raises(UsageError):
            tenant.journal("ledger").check(text)


def test_the_audit_journal_is_kept_for_the_vault(tenant: Tenant) -> None:
    with pytest.raises(UsageError, match=r"Tenant\.record"):
        tenant.journal("audit")


def append_many(root: str, identity: str, mark: int) -> None:
    from medvae.vault import Vault

    ledger = Vault(Path(root)).open("clinic", identity=Path(identity)).journal("ledger")
    for turn in range(20):
        ledger.append(f"{mark}-{turn}".encode())


def test_many_processes_append_at_once(place) -> None:
    tenant = place.create("clinic")
    context = multiprocessing.get_context("spawn")
    args = [(str(place.root / "vault"), str(place.identity("clinic")), mark) for mark in range(3)]
    workers = [context.Process(target=append_many, args=one) for one in args]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    records = [record.decode() for record in tenant.journal("ledger").entries()]
    assert sorted(records) == sorted(f"{mark}-{turn}" for mark in range(3) for turn in range(20))
    for mark in range(3):
        mine = [record for record in records if record.startswith(f"{mark}-")]
        assert mine == [f"{mark}-{turn}" for turn in range(20)]
    assert tenant.verify().damaged == []


def test_events_carry_dicom_codes(tenant: Tenant) -> None:
    tenant.record("ingest", dataset="liver", volumes=3)
    tenant.record("release create", outcome="refused", reason="gate")
    tenant.record("dataset delete")
    tenant.record("demo")
    events = tenant.events()[-4:]
    assert [(one["code"], one["meaning"]) for one in events] == [
        ("110107", "Import"),
        ("110106", "Export"),
        ("110105", "DICOM Study Deleted"),
        ("110100", "Application Activity"),
    ]
    assert events[0]["details"] == {"dataset": "liver", "volumes": 3}
    assert events[1]["outcome"] == "refused"
    with pytest.raises(UsageError, match="outcome"):
        tenant.record("ingest", outcome="fine")


def test_the_trail_verifies_and_checkpoints_are_signed(tenant: Tenant) -> None:
    for turn in range(2 * audit.CHECKPOINT):
        tenant.record("access", turn=turn)
    report = tenant.verify_log()
    assert (report.valid, report.problem) == (True, None)
    assert report.events == 2 * audit.CHECKPOINT + 2
    assert report.checkpoints == 2
    assert len(tenant.events()) == report.events


def test_a_checkpoint_of_another_key_is_found(tenant: Tenant) -> None:
    """Somebody with the sealing keys, but without the signature key, rewrites the trail."""
    from medvae.vault import journal

    with tenant._session.write_tx() as (connection, keys, change):
        record = json.dumps({"checkpoint": "00" * 64}).encode()
        journal.append(connection, keys, change, audit.NAME, record)
    report = tenant.verify_log()
    assert not report.valid
    assert "not signed" in str(report.problem)


@pytest.mark.parametrize("statement", TAMPERING)
def test_a_changed_trail_is_not_valid(tenant: Tenant, statement: str) -> None:
    for turn in range(4):
        tenant.record("access", turn=turn)
    with raw(tenant) as connection:
        connection.execute(statement)
    report = tenant.verify_log()
    assert not report.valid
    assert "journal audit: record" in str(report.problem)
    with pytest.raises(IntegrityError):
        tenant.events()


def test_a_trail_with_its_tail_cut_off_is_not_valid(tenant: Tenant) -> None:
    for turn in range(4):
        tenant.record("access", turn=turn)
    with raw(tenant) as connection:
        connection.execute("DELETE FROM journal WHERE number = 5")
    # No verb answers from a trail that is not proven whole.
    with pytest.raises(IntegrityError, match="rows of the catalogue"):
        tenant.events()
    report = tenant.verify_log()
    assert not report.valid
    assert "rows of the catalogue" in str(report.problem)


def test_refusals_cannot_fill_the_disk(place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.create("clinic")
    place.create("other")
    monkeypatch.setattr(audit, "_MOST_REFUSALS", 3)
    for _ in range(6):
        with pytest.raises(Exception, match="not among"):
            place.vault.open("clinic", identity=place.identity("other"))
    refused = [one for one in place.open("clinic").events() if one["outcome"] == "refused"]
    assert len(refused) == 3
    assert all(one["unsealed"] for one in refused)


def test_what_somebody_writes_among_the_refusals_is_no_event_of_ours(place) -> None:
    """The table is not sealed: nothing in it may pass for a checkpoint or for another event."""
    tenant = place.create("clinic")
    tenant.close()
    forged = [
        json.dumps({"checkpoint": "00" * 64}),
        json.dumps({"event": "keys rotate", "outcome": "success", "number": 0, "details": {}}),
        "[" * 100_000,
        "no json",
        b"\xff",
        7,
    ]
    with raw(tenant) as connection:
        for text in forged:
            connection.execute("INSERT INTO refusals VALUES('2026', ?)", (text,))
    again = place.open("clinic")
    taken = [one for one in again.events() if one.get("unsealed")]
    assert len(taken) == len(forged)
    assert {(one["event"], one["outcome"]) for one in taken} == {("open", "refused")}
    assert again.verify_log().valid
    assert len(list(again.export_log("syslog"))) == len(again.events())


def test_the_user_is_not_taken_from_the_environment(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "dr-somebody-else")
    tenant.record("access")
    assert tenant.events()[-1]["user"] != "dr-somebody-else"


def test_export_as_json_lines(tenant: Tenant) -> None:
    tenant.record("ingest", dataset="li\nver")
    lines = list(tenant.export_log())
    assert all("\n" not in line for line in lines)
    assert json.loads(lines[-1])["details"] == {"dataset": "li\nver"}
    assert json.loads(lines[-1])["tenant"] == "clinic"


SYSLOG = re.compile(
    r"<(\d{1,3})>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z [!-~]{1,255} medvae \d+ \d{6} "
    r'\[medvae@32473( [a-z]+="(?:[^"\\\]]|\\["\\\]])*")+\]'
)


def test_export_as_syslog(tenant: Tenant) -> None:
    tenant.record("ingest", outcome="failure", text='quote " bracket ] slash \\ line\nend')
    lines = list(tenant.export_log("syslog"))
    assert all(SYSLOG.fullmatch(line) for line in lines)
    assert lines[-1].startswith("<108>1 ")
    with pytest.raises(UsageError, match="syslog"):
        tenant.export_log("xml")
