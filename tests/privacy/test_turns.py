"""Turns that processes share: each number once, whoever is slow, and nothing stays locked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from medvae.errors import AccessError, IntegrityError
from medvae.privacy.link import Link
from medvae.privacy.ranks import FirstRank, OtherRank
from medvae.privacy.turns import SharedCount, Turns

COUNT = 400
# Takes all that it can get, so many seconds for each.
TAKER = """
import sys, time
from medvae.privacy.turns import SharedCount, Turns
shared = SharedCount(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
taken = []
for number in Turns(int(sys.argv[3]), lambda: shared.take(0)):
    taken.append(number)
    time.sleep(float(sys.argv[2]))
print(*taken)
"""


def taker(shared: SharedCount, seconds: float, count: int = COUNT) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKER, str(shared.descriptor), str(seconds), str(count)],
        pass_fds=[shared.descriptor],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_and_threads_take_each_number_once() -> None:
    with closing(SharedCount.fresh()) as shared:
        others = [taker(shared, 0.0005) for _ in range(2)]
        for process in others:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        turns, own = Turns(COUNT, lambda: shared.take(0)), list[int]()

        def takes() -> None:
            for number in turns:
                own.append(number)
                time.sleep(0.0005)

        threads = [threading.Thread(target=takes) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        theirs = [[int(one) for one in process.communicate()[0].split()] for process in others]
    assert sorted(own + theirs[0] + theirs[1]) == list(range(COUNT))
    assert own
    assert any(theirs)


def test_a_slow_process_is_left_few() -> None:
    with closing(SharedCount.fresh()) as shared:
        slow = taker(shared, 0.2, 40)
        assert slow.stdin is not None
        slow.stdin.write("go\n")
        slow.stdin.flush()
        own = []
        for number in Turns(40, lambda: shared.take(0)):
            own.append(number)
            time.sleep(0.01)
        theirs = [int(one) for one in slow.communicate()[0].split()]
    assert sorted(own + theirs) == list(range(40))
    assert len(own) > len(theirs)


def test_a_process_that_is_killed_leaves_the_count_to_the_others() -> None:
    with closing(SharedCount.fresh()) as shared:
        killed = taker(shared, 0.0, 1 << 30)
        assert killed.stdin is not None
        killed.stdin.write("go\n")
        killed.stdin.flush()
        while shared.take(1) < 200:
            time.sleep(0.001)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert shared.take(0) < shared.take(0)


def test_rounds_are_counted_apart_and_in_one_order_at_every_rank() -> None:
    ours, theirs = socket.socketpair()
    with closing(SharedCount.fresh()) as shared, ours, theirs:
        first = FirstRank([Link(ours, "second")], 3, shared)
        other = OtherRank(Link(theirs, "first"), 1, 2, 3, SharedCount(shared.descriptor))
        for _ in range(2):
            one, two = first.turns(3), other.turns(3)
            assert [next(one), next(two), next(one)] == [0, 1, 2]
            assert list(one) == list(two) == []


def test_without_a_count_turns_are_fixed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert list(FirstRank([Link(ours, "second")], 5).turns(5)) == [0, 2, 4]
        assert list(OtherRank(Link(theirs, "first"), 1, 2, 5).turns(5)) == [1, 3]


def test_a_descriptor_crosses_between_ranks_beside_frames() -> None:
    ours, theirs = socket.socketpair()
    first, other = Link(ours, "second"), Link(theirs, "first")
    with closing(SharedCount.fresh()) as shared, ours, theirs:
        other.send({"step": "ready"})
        assert first.receive("step")[0] == {"step": "ready"}
        first.give(shared)
        first.send({"go": True})
        with closing(SharedCount(other.given())) as given:
            assert given.descriptor != shared.descriptor
            assert [given.take(0), shared.take(0), given.take(0)] == [0, 1, 2]
        assert other.receive("go")[0] == {"go": True}


def test_another_end_that_gives_no_descriptor_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            Link(ours, "second").send({"go": True})
            with pytest.raises(IntegrityError, match=r"first sent no descriptor.*--resume"):
                Link(theirs, "first").given()
        ours.close()
        theirs.recv(1 << 16)
        with pytest.raises(AccessError, match="first has ended"):
            Link(theirs, "first").given()


def test_a_rank_that_forgets_a_turn_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with closing(SharedCount.fresh()) as shared, ours, theirs:
        first = FirstRank([Link(ours, "second")], 3, shared)
        other = OtherRank(Link(theirs, "first"), 1, 2, 3, SharedCount(shared.descriptor))
        turns = other.turns(3)
        next(turns)
        other.collect("x 0", np.zeros(2, np.int64), 0, 1.0)
        own = len(list(first.turns(3)))
        with pytest.raises(IntegrityError, match="is of 2 patients and not of 3"):
            first.collect("x 0", np.zeros(2, np.int64), own, 1.0)


def test_a_count_is_in_no_folder() -> None:
    with closing(SharedCount.fresh()) as shared:
        assert os.fstat(shared.descriptor).st_nlink == 0
