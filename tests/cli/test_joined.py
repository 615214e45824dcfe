"""What a process that has joined may ask for, and when it may join: real TLS on loopback."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time

import pytest

from medvae import frames
from medvae.api import crew, joining, relay, working
from medvae.api.joining import Asked
from medvae.errors import InputError, IntegrityError, NotFoundError
from medvae.privacy.link import Link
from medvae.privacy.turns import SharedCount
from medvae.vault import Vault
from medvae.vault.certificates import issue
from tests.cli.joiners import HOUR, Heard, invitation, joined, of, quiet

NOTHING = {"step": "unwrap", "sealed": "00", "bound": "00", "public": "00"}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"step": "unwrap"}], "in a way that none of this version does"),
        ([NOTHING | {"bound": "zz"}], "in a way that none of this version does"),
        ([NOTHING | {"public": [0]}], "in a way that none of this version does"),
        ([{"step": ["ready"]}], "in a way that none of this version does"),
        ([{"step": "ready"}], "has another plan, data set or checkpoint"),
        ([NOTHING] * 100, "asked for 64 keys and opened nothing"),
    ],
)
def test_who_asks_for_keys_otherwise_is_refused(tmp_path, steps, said) -> None:
    tenant = Vault(tmp_path / "vault").create_tenant(
        "clinic", identity=tmp_path / "key", recovery=tmp_path / "spare"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other = Link(theirs, "the first process")
        for step in steps:
            other.send(step)
        with pytest.raises(IntegrityError, match=said):
            crew._unwrap_until_ready(tenant, Link(ours, "worker process 2 of 2"), "state")
    tenant.close()


def test_no_turn_is_taken_of_a_count_that_is_closed(tmp_path) -> None:
    """Its descriptor may be that of another file by then, which would be written to."""
    sent = threading.Event()

    async def after(far: relay.Far) -> None:
        while (await far.receive())[0] != relay.END:
            pass
        await far.send(relay.TURN, struct.pack("<Q", 0))
        sent.set()
        await quiet(far)

    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (link,) = joined(others, invitation(path), after)
        count = SharedCount.fresh()
        link.give(count)
        number = count.descriptor
        link.close()
        count.close()
        victim = tmp_path / "victim"
        victim.write_bytes(b"something else")
        fd = os.open(victim, os.O_RDWR)
        assert fd == number or os.dup2(fd, number) == number
        assert sent.wait(20)
    for one in {fd, number}:
        os.close(one)
    assert victim.read_bytes() == b"something else"


def test_a_failure_of_another_machine_names_it(tmp_path) -> None:
    async def after(far: relay.Far) -> None:
        head = json.dumps({"error": "there is no vault /x", "code": 7, "kind": "known"}).encode()
        await far.send(relay.DATA, frames.LENGTHS.pack(len(head), 0) + head)
        await quiet(far)

    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (link,) = joined(others, invitation(path), after)
        with pytest.raises(
            NotFoundError, match=r"^worker process 2 of 2 \(127.0.0.1\): there is no"
        ):
            link.receive("code")
        link.close()


def test_what_comes_after_the_end_is_dropped_without_a_word(tmp_path, caplog) -> None:
    async def after(far: relay.Far) -> None:
        while (await far.receive())[0] != relay.END:
            pass
        for _ in range(100):
            await far.send(relay.DATA, bytes(relay.MOST))

    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        (link,) = joined(others, invitation(path), after)
        link.close()
    assert caplog.messages == []


def test_an_invitation_that_is_being_written_is_waited_for(tmp_path) -> None:
    good = json.dumps({"medvae": "invitation", "format": 1} | vars(of(issue(HOUR), "h", 1)))
    path = tmp_path / "in"
    path.touch(0o600)
    path.write_text(good[:500])

    def written() -> None:
        time.sleep(1)
        path.write_text(good)

    thread = threading.Thread(target=written)
    thread.start()
    # It is read, for the vault is looked for after it.
    with pytest.raises(NotFoundError, match="there is no vault"):
        working.work(path, vault=tmp_path / "nowhere", wait=1.0)
    thread.join()
    path.write_text(good[:500])
    with pytest.raises(InputError, match="is no invitation"):
        working.work(path, vault=tmp_path / "nowhere")
