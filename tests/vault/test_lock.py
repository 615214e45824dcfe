"""One writer, many readers; a lock that outlives no holder."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading

import pytest

from medvae.errors import AccessError
from medvae.vault import Tenant, journal
from medvae.vault import tenant as tenants

HOLD = """
import sys
from pathlib import Path
from medvae.vault import Vault
with Vault(Path(sys.argv[1]) / "vault").open("clinic", identity=Path(sys.argv[2])).writer():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(place):
    """Another process that writes."""
    place.create("clinic").put("volume", b"data")
    # Closes both pipes at its end.
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place.root), str(place.identity("clinic"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_with_the_first_ones_process(
    place, holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "_WAIT_SECONDS", 0.1)
    tenant = place.open("clinic")
    with pytest.raises(AccessError, match=f"written by process {holder.pid}"), tenant.writer():
        pass
    with pytest.raises(AccessError, match=str(holder.pid)):
        tenant.put("volume", b"more")
    with pytest.raises(AccessError, match=str(holder.pid)):
        place.vault.erase("clinic")
    assert tenant.get("volume", tenant.ids("volume")[0]) == b"data"
    tenant.record("access")  # the trail takes events from readers too
    # A debit is counted in the key ring, which a rotation may be about to replace.
    monkeypatch.setattr(journal, "_WAIT_SECONDS", 0.1)
    with pytest.raises(AccessError, match=str(holder.pid)):
        tenant.journal("ledger").append(b"debit")
    assert tenant.journal("ledger").entries() == []


def test_a_dead_writers_lock_is_free_and_its_leftovers_go(place, holder) -> None:
    tenant = place.open("clinic")
    (tenant.root / "tmp" / "left-over").write_bytes(b"sealed")
    holder.kill()
    holder.wait()
    tenant.put("volume", b"more")
    assert list((tenant.root / "tmp").iterdir()) == []


def test_an_event_after_a_dead_writer_clears_up_as_well(place, holder) -> None:
    """Logging takes the lock, and the trace of the dead writer with it."""
    half = place.root / "vault" / "clinic" / ".keyring.json.0123456789abcdef.tmp"
    half.write_bytes(b"half a key ring")
    holder.kill()
    holder.wait()
    place.open("clinic").record("export", dataset="a@1")
    assert not half.exists()


def test_a_lock_whose_file_was_removed_is_taken_by_nobody(place, monkeypatch) -> None:
    """Opened, removed by somebody, then locked: the next writer would make another file."""
    tenant = place.create("clinic")
    path = tenant.root / "lock"
    real, removed = fcntl.flock, []

    def late(fd: int, operation: int) -> None:
        if not removed and path.exists() and os.path.samestat(os.fstat(fd), path.stat()):
            removed.append(True)
            path.unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with tenant.writer(5):
        assert removed
        with pytest.raises(AccessError), place.open("clinic").writer():
            pass


def test_the_lock_is_reentrant_and_excludes_another_handle(place) -> None:
    one = place.create("clinic")
    two = place.open("clinic")
    with one.writer(), one.writer():
        one.put("volume", b"x")
        with pytest.raises(AccessError), two.writer():
            pass
    with two.writer():
        two.put("volume", b"y")


def test_threads_share_a_handle(tenant: Tenant) -> None:
    failed = []

    def work(mark: int) -> None:
        try:
            for turn in range(10):
                object_id = tenant.put("volume", f"{mark}-{turn}".encode(), name=f"{mark}-{turn}")
                assert tenant.get("volume", object_id) == f"{mark}-{turn}".encode()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(tenant.names("volume")) == 40
    assert tenant.verify(read_data=True).damaged == []


def test_a_fork_reads_and_leaves_the_lock_to_its_parent(place) -> None:
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"data")
    with tenant.writer():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert tenant.get("volume", object_id) == b"data"
                tenant.record("access")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(AccessError), place.open("clinic").writer():
            pass
    assert tenant.events()[-1]["event"] == "access"


def test_verify_while_a_writer_works_reports_no_damage(place) -> None:
    writer = place.create("clinic")
    for mark in range(20):
        writer.put("volume", bytes([mark]) * 30_000, name=str(mark))
    reader = place.open("clinic")
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            for turn in range(25):
                name = str(turn % 20)
                writer.put("volume", b"new" * 9_000, name=name, replace=True)
                if turn % 6 == 0:
                    writer.delete("volume", writer.find("volume", str((turn + 9) % 20)) or "")
                    writer.put("volume", b"back", name=str((turn + 9) % 20), replace=True)
        except BaseException as error:
            failed.append(error)
        stop.set()

    thread = threading.Thread(target=work)
    thread.start()
    turns = 0
    while not stop.is_set() or turns < 3:
        assert reader.verify(read_data=turns % 2 == 0).damaged == []
        assert place.vault.scrub("clinic").damaged == []
        turns += 1
    thread.join()
    assert not failed


def test_readers_see_commits_while_a_writer_replaces(place) -> None:
    writer = place.create("clinic")
    writer.put("checkpoint", b"0" * 50_000, name="run")
    reader = place.open("clinic")
    stop = threading.Event()

    def replace() -> None:
        for turn in range(60):
            writer.put("checkpoint", str(turn % 10).encode() * 50_000, name="run", replace=True)
            if turn % 20 == 0:
                writer.rotate()
        stop.set()

    thread = threading.Thread(target=replace)
    thread.start()
    reads = 0
    while not stop.is_set():
        data = reader.get_named("checkpoint", "run")
        assert len(set(data)) == 1
        assert len(data) == 50_000
        reads += 1
    thread.join()
    assert reads > 5
