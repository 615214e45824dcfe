"""The file by which other machines join a training: what it may be, and that it goes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medvae.api import doctor, invitations, joining, stale, work
from medvae.api.invitations import Invitation
from medvae.api.joining import Asked
from medvae.errors import AccessError, InputError, NotFoundError, UsageError
from medvae.vault.certificates import issue
from tests.cli.conftest import QUICK, Clinic
from tests.cli.joiners import HOUR, Heard, of


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_the_invitation_goes_whatever_ends_the_training(tmp_path, error) -> None:
    path = tmp_path / "in"

    def training() -> None:
        with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()):
            assert path.exists()
            raise error

    with pytest.raises(error):
        training()
    assert not path.exists()


def test_an_invitation_that_is_there_is_left_alone(tmp_path) -> None:
    path = tmp_path / "in"
    path.write_text("somebody's")
    with (
        pytest.raises(UsageError, match="is there already"),
        joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()),
    ):
        pass
    assert path.read_text() == "somebody's"


def test_what_is_no_invitation_is_refused(tmp_path) -> None:
    path = tmp_path / "in"
    with pytest.raises(NotFoundError, match="there is no invitation"):
        invitations.load(path)
    good = {"medvae": "invitation", "format": 1} | vars(of(issue(HOUR), "h", 1))
    for text in (
        "",
        "[]",
        "{}",
        json.dumps(good | {"port": "1"}),
        json.dumps(good | {"port": 65536}),
        json.dumps(good | {"format": 2}),
    ):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(InputError, match="is no invitation"):
            invitations.load(path)
    path.write_text(json.dumps(good))
    assert invitations.load(path).address == "h:1"
    path.chmod(0o640)
    with pytest.raises(AccessError, match="open to other accounts"):
        invitations.load(path)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(AccessError, match="cannot be read"):
        invitations.load(tmp_path / "link")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(InputError, match="no plain file"):
        invitations.load(tmp_path / "folder")
    with pytest.raises(InputError, match="no certificates"):
        invitations.client_context(Invitation(**(vars(of(issue(HOUR), "h", 1)) | {"key": "x"})))


KILLED = """
import os, signal, sys
from pathlib import Path
from medvae.api import invitations, stale
from medvae.api.invitations import Invitation
from medvae.vault import fileio

at, path = sys.argv[1], Path(sys.argv[2])
write_all = fileio.write_all
class Cut:
    writes = 0
def half(fd, data):
    Cut.writes += 1
    write_all(fd, data[: len(data) // 2] if (at, Cut.writes) == ("written", 1) else data)
    if (at, Cut.writes) in (("written", 1), ("shredded", 2)):
        os.kill(os.getpid(), signal.SIGKILL)
fileio.write_all = half
found = Invitation("h", 1, "local", "a", "s", "c", "k", stale.process())
if at == "noted":
    fileio.new_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with invitations.written(path, found):
    if at == "waiting":
        print("there", flush=True)
        sys.stdin.read()
if at == "removed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(at: str, path: Path) -> None:
    """A process that is killed while it writes an invitation, waits, or removes it."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, at, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        if at == "waiting":
            assert process.stdout.readline() == b"there\n"
            # While it runs the file is its own, and so is a copy.
            assert invitations.load(path).host == "h"
            assert invitations.notes_of_left() == []
            with (
                pytest.raises(UsageError, match="is there already"),
                invitations.written(path, of(issue(HOUR), "h", 2)),
            ):
                pass
            process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("at", ["noted", "written", "waiting", "shredded", "removed"])
def test_what_a_killed_training_leaves_is_said_and_replaced(tmp_path, at) -> None:
    path = tmp_path / "in"
    killed(at, path)
    assert path.exists() == (at in ("written", "waiting", "shredded"))
    said = invitations.notes_of_left()
    assert len(said) == path.exists()
    assert all(f"the invitation {path} is stale" in one for one in said)
    assert ("is stale" in doctor._invitations()) == path.exists()
    if at == "waiting":
        shutil.copy(path, tmp_path / "copy")
        for one in (path, tmp_path / "copy"):
            with pytest.raises(NotFoundError, match=f"{one} is stale, for the first process of"):
                work(one)
    heard, good = Heard(), of(issue(HOUR), "h", 2)
    with invitations.written(path, good, heard.notify):
        assert invitations.load(path) == good
        assert invitations.notes_of_left() == []
    assert len(heard.said) == len(said)
    assert not path.exists()
    assert invitations.notes_of_left() == []
    assert list(stale.folder().glob("*")) == []


def test_a_training_says_what_another_one_has_left(tmp_path, clinic: Clinic) -> None:
    path = tmp_path / "in"
    killed("waiting", path)
    refused = clinic("train", "-c", QUICK, "-d", "none", "--name", "m", ok=False)
    assert refused.code == 7
    assert f"Note: the invitation {path} is stale" in refused.err
    path.unlink()
    refused = clinic("train", "-c", QUICK, "-d", "none", "--name", "m", "--resume", ok=False)
    assert "is stale" not in refused.err


def test_an_invitation_that_cannot_be_looked_at_stops_nothing_and_stays_noted(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "in"
    killed("waiting", path)
    boot, namespace, pid, start = stale.process().split(" ")
    gone = f"{boot} {namespace} {pid} {int(start) - 1}"
    # As of a folder that is closed to the account, or of storage that is gone: no name is so long.
    unseen, removed = tmp_path / ("x" * 300), tmp_path / "removed"
    for name, where in (("0", unseen), ("1", removed)):
        note = {"path": str(where), "process": gone}
        (stale.folder() / f"{name}.json").write_text(json.dumps(note))
    assert stale.left() == [path]
    assert (stale.folder() / "0.json").exists()
    assert not (stale.folder() / "1.json").exists()
    assert len(invitations.notes_of_left()) == 1


def test_a_number_that_another_process_was_given_is_not_taken_for_the_first() -> None:
    boot, namespace, pid, start = stale.process().split(" ")
    assert not stale.has_ended(stale.process())
    assert stale.has_ended(f"{boot} {namespace} {pid} {int(start) - 1}")
    # Of other machines and containers, and of what is no process, nothing is known.
    for other in (f"x {namespace} {pid} 1", f"{boot} pid:[1] {pid} 1", "", "a b c d"):
        assert not stale.has_ended(other)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name == "medvae machines"]
