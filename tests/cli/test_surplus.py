"""Which processes of `medvae work` are let in, and which are too many: real TLS on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from medvae.api import invitations, joining, relay, working
from medvae.api.invitations import Invitation
from medvae.api.joining import Asked
from medvae.options.work import WorkOptions
from tests.cli.joiners import Heard, invitation, quiet


class Working(threading.Thread):
    """`medvae work` up to where its processes would be started."""

    def __init__(self, found: Invitation, processes: int, wait: float) -> None:
        super().__init__(daemon=True)
        self.heard, self.let_in, self.seconds = Heard(), 0, 0.0
        self._found, self._wait = found, wait
        self._options = WorkOptions(Path("in"), processes=processes, progress=self.heard)
        self.start()

    def run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        began = time.monotonic()
        context = invitations.client_context(self._found)
        all_in = await working._all_let_in(
            working._connected(self._found), context, self._found, self._options, began + self._wait
        )
        self.let_in, self.seconds = len(all_in), time.monotonic() - began
        for far in all_in:
            await quiet(far)
            await far.close()


def stalling(monkeypatch: pytest.MonkeyPatch, those: range) -> list[None]:
    """A first process that says nothing to these connections; those that came are counted."""
    came: list[None] = []
    honest = joining.Joining._greeted

    async def greeted(self: joining.Joining, far: relay.Far, host: str) -> bool:
        came.append(None)
        if len(came) not in those:
            return await honest(self, far, host)
        await asyncio.sleep(3 * relay.HELLO_SECONDS)
        await far.close()
        return False

    monkeypatch.setattr(joining.Joining, "_greeted", greeted)
    return came


def test_a_slow_answer_is_no_lack_of_places_and_those_who_are_in_stay_in(
    tmp_path, monkeypatch
) -> None:
    """Tried again for longer than a machine may be silent."""
    for name, seconds in (("HELLO_SECONDS", 0.4), ("SILENCE", 1.5), ("BEAT_SECONDS", 0.2)):
        monkeypatch.setattr(relay, name, seconds)
    came = stalling(monkeypatch, range(2, 5))
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 2, Heard()) as others:
        working_ = Working(invitation(path), 2, 60.0)
        links = others.links(0.5)
        assert len(came) == 5
        for link in links:
            link.check()
            link.close()
        working_.join(20)
    assert working_.let_in == 2
    assert working_.seconds > 1.5
    assert working_.heard.said == []


def test_without_a_wait_a_slow_answer_is_not_waited_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(relay, "HELLO_SECONDS", 0.4)
    stalling(monkeypatch, range(2, 10))
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 2, Heard()):
        working_ = Working(invitation(path), 2, 0.0)
        until = time.monotonic() + 20
        while not working_.let_in and time.monotonic() < until:
            time.sleep(0.05)
    working_.join(20)
    assert working_.let_in == 1
    assert working_.heard.said[0].startswith("1 process of 2 cannot take part")


def test_surplus_is_given_up_at_once_where_all_places_are_taken(tmp_path) -> None:
    path = tmp_path / "in"
    with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()) as others:
        working_ = Working(invitation(path), 3, 60.0)
        (link,) = others.links(0.5)
        until = time.monotonic() + 20
        while not working_.let_in and time.monotonic() < until:
            time.sleep(0.05)
        link.close()
        working_.join(20)
    assert working_.let_in == 1
    assert working_.seconds < 10
    assert working_.heard.said[0].startswith("2 processes of 3 cannot take part")
