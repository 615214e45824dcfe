# ruff: noqa: F811  fixtures of another file are arguments here
"""`medvae train --listen` and `medvae work`: real processes and real TLS on one machine's loopback.

The vault that the worker is given holds sealed objects alone, at another path than the first's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import medvae
from medvae.api import handshakes, invitations
from medvae.errors import MedvaeError
from tests.cli.conftest import Clinic
from tests.cli.joiners import flood
from tests.cli.recorded import Recorder
from tests.cli.test_workers import (  # noqa: F401  fixtures among them
    ROOT,
    TRAIN,
    alone,
    begun,
    children,
    command,
    copied,
    finished,
    outcome,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux"),
]
LISTEN = ("--resume", "--workers", "2", "--listen", "127.0.0.1:0", "--wait", "3")


def first(place: Path, *words: str) -> subprocess.Popen[str]:
    return command(place, *TRAIN, *LISTEN, "--invitation", str(place / "in"), *words)


def invited(place: Path, process: subprocess.Popen[str]) -> Path:
    """The invitation, as soon as it is there."""
    until = time.monotonic() + 120
    while not (place / "in").exists() and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return place / "in"


def objects_alone(place: Path, elsewhere: Path) -> Path:
    """A vault as a second machine may see it: sealed objects, no catalogue and no key ring."""
    folder = elsewhere / "other" / "clinic"
    folder.mkdir(mode=0o700, parents=True)
    shutil.copytree(place / "vault" / "clinic" / "objects", folder / "objects")
    return folder.parent


def worker(invitation: Path, vault: Path, *words: str, patch: str = "") -> subprocess.Popen[str]:
    """`medvae work`; patch: Python that its processes run before they follow."""
    line = ["work", "--invitation", str(invitation), "--vault", str(vault), "--json", *words]
    program = [sys.executable, "-m", "medvae", *line]
    if patch:
        follower = f"{patch}\nfrom medvae.api import follower\nfollower.main()"
        launched = (sys.executable, "-P", "-c", follower)
        code = (
            "from medvae.api import processes\nfrom medvae.cli.main import main\n"
            f"processes.FOLLOWER = {launched!r}\nmain({line!r})"
        )
        program = [sys.executable, "-c", code]
    return subprocess.Popen(
        program,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def debits(place: Path) -> int:
    tenant = medvae.open(place / "vault", identity=place / "key").tenant
    count = len(tenant.journal("ledger").entries())
    tenant.close()
    return count


# What a worker's own process hands to its Unix socket, and is handed, before TLS is laid around it.
TAPPED = """
from medvae import frames
send, receive = frames.send, frames.receive
def keep(head, body):
    with open(%r, "ab") as file:
        file.write(frames.json.dumps(head).encode() + bytes(body))
def sent(sock, head, body=b""):
    keep(head, body)
    send(sock, head, body)
def received(*given):
    head, body = receive(*given)
    keep(head, body)
    return head, body
frames.send, frames.receive = sent, received
"""
WORDS = [b'"sum"', b'"patients"', b'"take"', b'"unwrapped"', b'"sealed"', b"SQLite format 3"]


def pieces(data: bytes) -> list[bytes]:
    """Parts of 16 bytes of what was handed over, all through it, that are no filling."""
    step = max(len(data) // 2000, 1)
    cut = [data[at : at + 16] for at in range(0, len(data) - 16, step)]
    return [piece for piece in cut if len(set(piece)) > 8]


def test_another_machine_makes_the_same_model_and_nothing_readable_travels(
    begun, alone, tmp_path
) -> None:
    place = copied(begun, tmp_path / "v")
    vault = objects_alone(place, tmp_path)
    leading = first(place)
    path = invited(place, leading)
    assert path.stat().st_mode & 0o777 == 0o600
    found = json.loads(path.read_text())
    with Recorder((found["host"], found["port"])) as between:
        through, tap = place / "through", tmp_path / "tap"
        through.write_text(json.dumps(found | {"port": between.port}))
        through.chmod(0o600)
        # There is a place for one of them, and the training goes on without the others.
        working = worker(through, vault, "--processes", "3", patch=TAPPED % str(tap))
        code, out, err = finished(leading)
        assert code == 0, err
        done, said, told = finished(working)
    assert done == 0, told
    assert [json.loads(said)[key] for key in ("processes", "refused")] == [1, 2]
    assert "2 processes of 3 cannot take part" in told
    assert json.loads(out)["model"] == "own"
    assert "worker process 2 of 2 (127.0.0.1) has joined; all are here" in err
    assert not path.exists()
    assert outcome(place) == (alone, 1)
    handed = tap.read_bytes()
    looked_for = WORDS + pieces(handed)
    # All of it was handed over, so that it would be seen if it travelled as it is.
    assert len(between.seen) > 0.5 * len(handed)
    assert len(looked_for) > 500
    assert all(piece in handed for piece in looked_for)
    assert [piece for piece in looked_for if piece in between.seen] == []
    # Nothing was written on the other machine.
    assert sorted(one.name for one in (vault / "clinic").iterdir()) == ["objects"]


@pytest.mark.parametrize("whom", ["process", "work", "first"])
def test_a_kill_costs_nothing_twice(begun, alone, tmp_path, whom) -> None:
    place = copied(begun, tmp_path / "v")
    leading = first(place)
    working = worker(invited(place, leading), place / "vault")
    until = time.monotonic() + 120
    while not debits(place) and time.monotonic() < until:
        assert leading.poll() is None, leading.communicate()
        time.sleep(0.2)
    (process,) = children(working.pid)
    pid = {"process": process, "work": working.pid, "first": leading.pid}[whom]
    os.kill(pid, signal.SIGKILL)
    code, out, err = finished(leading)
    done, said, told = finished(working)
    if whom == "first":
        assert done == 5
        # Whether its own process or the relay beside it sees it first is a matter of the moment.
        said_so = ("ended before it was done", "the first process of this training has ended")
        assert any(words in json.loads(said)["error"] for words in said_so)
        (place / "in").unlink(missing_ok=True)
    else:
        assert code == 5, err
        assert "worker process 2 of 2 (127.0.0.1) has ended" in json.loads(out)["error"]
        assert "--resume" in err
        assert not (place / "in").exists()
    if whom == "process":
        assert "killed by signal 9" in err
        assert done == 5
        assert "killed by signal 9" in json.loads(said)["error"], told
    until = time.monotonic() + 30
    while Path(f"/proc/{process}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{process}").exists()
    code, _, err = finished(command(place, *TRAIN, "--resume"))
    assert code == 0, err
    assert outcome(place) == (alone, 1)


SUMS = """
from medvae.privacy.ranks import OtherRank
honest = OtherRank.collect
def collect(self, what, sums, patients=None, reach=0.0):
    return honest(self, what, sums if patients is None else sums + (1 << 50), patients, reach)
OtherRank.collect = collect
"""
CODE = "from medvae.api import agreement; agreement.code = lambda: '0' * 64"
PLAN = "from medvae.api import agreement; agreement.state_of = lambda *_: '0' * 64"
CPU = "from medvae.api import agreement; agreement.processor = lambda: 'riscv64 DEFAULT'"


@pytest.mark.parametrize(
    ("patch", "code", "said", "debited"),
    [
        (CODE, 4, "another version of medvae", 0),
        (PLAN, 4, "another plan, data set or checkpoint", 0),
        (CPU, 2, "a processor of another kind ('riscv64 DEFAULT'", 0),
        (SUMS, 4, "beyond its clips", 1),
    ],
)
def test_a_worker_that_does_not_fit_is_refused(begun, tmp_path, patch, code, said, debited) -> None:
    place = copied(begun, tmp_path / "v")
    leading = first(place)
    working = worker(invited(place, leading), place / "vault", patch=patch)
    refused, out, err = finished(leading)
    assert refused == code, err
    assert said in json.loads(out)["error"]
    assert finished(working)[0] == 5
    assert debits(place) == debited
    assert not (place / "in").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--listen", "127.0.0.1:0"),
        ("--invitation", "in"),
        ("--listen", "127.0.0.1:0", "--invitation", "in"),
        ("--listen", "127.0.0.1:0", "--invitation", "in", "--workers", "1"),
        ("--listen", "127.0.0.1:0", "--invitation", "in", "--workers", "2", "--wait", "0"),
        ("--listen", "127.0.0.1:0", "--invitation", "in", "--workers", "2", "--wait", "nan"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(begun, tmp_path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    refused = Clinic(copied(begun, tmp_path / "v"))(
        *TRAIN, "--resume", *words, ok=False, small=False
    )
    assert refused.code == 2
    assert "--" in refused.err
    assert not (tmp_path / "in").exists()


def test_an_interrupt_while_others_are_awaited_leaves_nothing(begun, tmp_path) -> None:
    place = copied(begun, tmp_path / "v")
    leading = first(place)
    invited(place, leading)
    time.sleep(1)
    leading.send_signal(signal.SIGINT)
    code, _, err = finished(leading)
    assert code == 130, err
    assert not (place / "in").exists()
    assert debits(place) == 0


def test_who_does_not_come_is_not_waited_for_longer_than_said(begun, tmp_path) -> None:
    place = copied(begun, tmp_path / "v")
    code, out, err = finished(first(place, "--wait", "0.02"))
    assert code == 5, err
    assert "0 of 1 other process joined within 0.02 minutes" in json.loads(out)["error"]
    assert not (place / "in").exists()
    assert debits(place) == 0


def is_fresh(path: Path) -> bool:
    with contextlib.suppress(MedvaeError):
        return bool(invitations.load(path))
    return False


def test_neither_a_crowd_nor_what_a_killed_process_left_ends_a_training(
    begun, alone, tmp_path
) -> None:
    place = copied(begun, tmp_path / "v")
    vault = objects_alone(place, tmp_path)
    killed = first(place)
    invited(place, killed)
    killed.kill()
    killed.communicate()
    refused, said, _ = finished(worker(place / "in", vault))
    assert refused == 7
    assert "is stale, for the first process of its training was killed" in json.loads(said)["error"]
    leading = first(place)
    until = time.monotonic() + 120
    while not is_fresh(place / "in") and time.monotonic() < until:
        assert leading.poll() is None, leading.communicate()
        time.sleep(0.1)
    with flood(invitations.load(place / "in"), 2 * handshakes.MOST):
        time.sleep(2)
        working = worker(place / "in", vault, "--processes", "2")
        code, _, err = finished(leading)
        done, said, told = finished(working)
    assert (code, done) == (0, 0), err + told
    assert f"{place / 'in'} was left by a training whose first process was killed" in err
    assert json.loads(said)["refused"] == 1
    assert not (place / "in").exists()
    assert outcome(place) == (alone, 1)
