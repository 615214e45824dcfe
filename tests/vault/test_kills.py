"""SIGKILL at every step of creation, recovery and rotation: the same command finishes it.

A copy of the test's process does the work and kills itself just before the n-th operation that
changes a file, for every n.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from medvae.errors import MedvaeError

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree")


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Whether `work`, in a copy of this process, got as far as its step of that number."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, words: tuple[object, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(words[2], int) and words[2] & 3
            if writes or event in CHANGING or event == "sqlite3.connect":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            commits(hook)
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def commits(hook: Callable[[str, tuple[object, ...]], None]) -> None:
    """Have each commit of a database be a step too."""
    real = sqlite3.connect

    def connect(*words: object, **more: object) -> sqlite3.Connection:
        connection = real(*words, **more)  # type: ignore[call-overload]
        connection.set_trace_callback(
            lambda text: hook("os.rename", ()) if text.startswith("COMMIT") else None
        )
        return connection  # type: ignore[no-any-return]

    sqlite3.connect = connect  # type: ignore[assignment]


def leftovers(place) -> list[str]:
    """Files and folders of anything that was begun."""
    found = [*place.root.glob("vault/.*"), *place.root.glob("vault/*/.*"), *place.root.glob("*/.*")]
    return sorted({str(path) for path in found})


def test_a_tenant_is_made_whole_by_the_same_command_after_any_kill(place) -> None:
    steps = 0
    for step in count():
        name = f"t{step}"
        if not killed_at(step, lambda name=name: place.create(name)):
            break
        steps += 1
        if not (place.root / "vault" / name).exists():
            place.create(name).close()
        tenant = place.open(name)
        assert tenant.verify(read_data=True).damaged == []
        tenant.close()
        place.vault.open(name, identity=place.recovery(name)).close()
        assert leftovers(place) == []
    assert steps > 10


def test_a_recovery_is_finished_with_one_new_key_after_any_kill(place) -> None:
    steps = 0
    for step in count():
        name = f"t{step}"
        tenant = place.create(name)
        object_id = tenant.put("volume", b"data")
        old = tenant.recipients()
        tenant.close()
        new = place.root / "keys" / f"{name}.new"
        work = {"recovery": place.recovery(name), "identity": new}
        if not killed_at(step, lambda name=name, work=work: place.vault.recover(name, **work)):
            break
        steps += 1
        tenant = place.open(name)  # the old one still opens
        assert tenant.get("volume", object_id) == b"data"
        tenant.close()
        done = new.exists()
        if not done:
            place.vault.recover(name, **work)
        tenant = place.vault.open(name, identity=new)
        assert tenant.get("volume", object_id) == b"data"
        assert len(tenant.recipients()) == len(old) + 1
        tenant.put("volume", b"more")
        tenant.close()
        assert leftovers(place) == []
    assert steps > 5


def test_a_recovery_begun_with_another_passphrase_leaves_no_key_that_nobody_holds(place) -> None:
    steps = 0
    for step in count(0, 2):
        name = f"t{step}"
        tenant = place.create(name)
        old = tenant.recipients()
        tenant.close()
        new = place.root / "keys" / f"{name}.new"
        work = {"recovery": place.recovery(name), "identity": new}
        first = work | {"passphrase": "one two three four"}
        if not killed_at(step, lambda name=name, first=first: place.vault.recover(name, **first)):
            break
        steps += 1
        if new.exists():
            continue
        place.vault.recover(name, **work)
        tenant = place.vault.open(name, identity=new)
        assert len(tenant.recipients()) == len(old) + 1
        tenant.close()
        assert leftovers(place) == []
    assert steps > 3


def test_a_rotation_leaves_one_epoch_after_any_kill(place) -> None:
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"data")
    tenant.close()

    def rotate() -> None:
        opened = place.open("clinic")
        opened.rotate()

    steps = 0
    for step in count():
        if not killed_at(step, rotate):
            break
        steps += 1
        tenant = place.open("clinic")
        assert tenant.get("volume", object_id) == b"data"
        tenant.rotate()
        assert tenant.verify(read_data=True).damaged == []
        tenant.close()
        assert leftovers(place) == []
    assert steps > 3


def test_a_foreign_recovery_file_is_never_replaced(place) -> None:
    recovery = place.recovery("clinic")
    recovery.parent.mkdir(mode=0o700)
    recovery.write_bytes(b"of another vault")
    with pytest.raises(MedvaeError, match="exists already"):
        place.create("clinic")
    assert recovery.read_bytes() == b"of another vault"
    assert not [path for path in Path(place.root / "vault").iterdir() if path.name[0] != "."]
