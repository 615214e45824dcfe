"""Ranks over Unix sockets: one sum, one noise, and a sentence for each that dies, lies or fails."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medvae import frames
from medvae.errors import AccessError, InputError, IntegrityError, MedvaeError
from medvae.privacy import DPTrainer, Mechanism, NoiseSource, PoissonSampler, parallel
from medvae.privacy.gaussian import gaussian_release
from medvae.privacy.link import Link
from medvae.privacy.ranks import ALONE, FirstRank, OtherRank, Ranks, share
from medvae.privacy.recentre import recentred_release

PATIENTS, SIZE = 7, 5
CLIP = 2.0
OPENED: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def pair(name: str = "worker process 2 of 2") -> tuple[Link, Link, socket.socket]:
    ours, theirs = socket.socketpair()
    OPENED.extend((ours, theirs))
    return Link(ours, name), Link(theirs, "the first process"), theirs


def together(count: int, work: Callable[[Ranks], Any], patients: int = PATIENTS) -> list[Any]:
    """What `work` gives at each of `count` ranks, each in a thread of its own."""
    pairs = [pair() for _ in range(count - 1)]
    found: list[Any] = [None] * count

    def other(rank: int) -> None:
        found[rank] = work(OtherRank(pairs[rank - 1][1], rank, count, patients))

    threads = [threading.Thread(target=other, args=(rank,)) for rank in range(1, count)]
    for one in threads:
        one.start()
    found[0] = work(FirstRank([mine for mine, _, _ in pairs], patients))
    for one in threads:
        one.join(30)
    return found


def vectors(ranks: Ranks) -> list[np.ndarray]:
    everybody = np.random.default_rng(1).normal(size=(PATIENTS, SIZE)) * 3
    everybody[2] = np.nan
    return [everybody[index] for index in share(ranks, range(PATIENTS))]


def one_shot(ranks: Ranks) -> np.ndarray:
    # Only the first rank's noise counts: that of the others is another.
    key = bytes([ranks.rank]) * 32
    return gaussian_release(
        vectors(ranks),
        clip=CLIP,
        mechanism=Mechanism("x", 1.0, 1, 1.0),
        divisor=PATIENTS,
        noise=NoiseSource(key),
        dimension=SIZE,
        ranks=ranks,
    )


def recentred(ranks: Ranks) -> np.ndarray:
    return recentred_release(
        vectors(ranks),
        clip=CLIP,
        centre=Mechanism("x.centre", 1.0, 1, 1.0),
        rest=Mechanism("x", 1.0, 1, 1.0),
        divisor=PATIENTS,
        noise=NoiseSource(bytes([ranks.rank]) * 32),
        dimension=SIZE,
        ranks=ranks,
    )


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("work", [one_shot, recentred])
def test_any_number_of_ranks_releases_the_same_bits(work, count) -> None:
    alone = work(ALONE)
    assert np.abs(alone).max() > 0
    for found in together(count, work):
        assert found.tobytes() == alone.tobytes()


def tuned(ranks: Ranks, key: bytes = bytes(32)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    model = nn.Linear(4, 3)
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.randn(one.shape, generator=generator))
    trainer = DPTrainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        mechanism=Mechanism("x", 0.6, 3, 1.0),
        clip=0.1,
        divisor=4.0,
        noise=NoiseSource(key),
    )
    sampler = PoissonSampler(bytes(32), PATIENTS, 0.6, "x")

    def loss(m: nn.Module, index: int) -> torch.Tensor:
        return m(torch.full((1, 4), float(index)).sin()).square().mean()

    with parallel.using(ranks):
        for step in range(3):
            trainer.step(step, iter(trainer.mine(sampler.batch(step))), loss)
    return [one.detach() for one in model.parameters()]


@pytest.mark.parametrize("count", [2, 3])
def test_dp_sgd_moves_the_weights_of_all_ranks_by_the_same_bits(count) -> None:
    alone = tuned(ALONE)
    for found in together(count, tuned):
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_ranks_with_keys_of_their_own_are_refused() -> None:
    def work(ranks: Ranks) -> str:
        with pytest.raises(MedvaeError) as caught:
            tuned(ranks, bytes([ranks.rank]) * 32)
        return str(caught.value)

    assert all("do not share one key" in found for found in together(2, work))


def lying(head: dict[str, Any], values: np.ndarray) -> str:
    """What the first rank says of a frame in the place of another rank's sum."""
    mine, _, theirs = pair()
    frames.send(theirs, head, values.astype("<i8").tobytes())
    with pytest.raises(IntegrityError) as caught:
        one_shot(FirstRank([mine], PATIENTS))
    return str(caught.value)


def test_a_rank_that_lies_releases_nothing() -> None:
    zeros, sum_of = np.zeros(SIZE), {"sum": "x 0", "patients": 3}
    assert "is not that of this run" in lying(sum_of | {"sum": "y 0"}, zeros)
    assert "is not that of this run" in lying(sum_of, np.zeros(SIZE - 1))
    assert "is not that of this run" in lying(sum_of | {"patients": None}, zeros)
    assert "no number of patients" in lying(sum_of | {"patients": -1}, zeros)
    assert "no number of patients" in lying(sum_of | {"patients": 1.5}, zeros)
    assert "beyond its clips" in lying(sum_of, np.full(SIZE, 2**40))
    assert "something else" in lying({"other": 1}, np.zeros(0))


@pytest.mark.parametrize("count", [2, 4])
def test_patients_who_are_missing_or_counted_twice_are_refused(count) -> None:
    # The first rank has all 7 patients: with 2 or 4 of another rank they are too many.
    mine, _, theirs = pair()
    frames.send(theirs, {"sum": "x 0", "patients": count}, np.zeros(SIZE, "<i8").tobytes())
    first = FirstRank([mine], PATIENTS)
    with pytest.raises(IntegrityError, match=f"of {7 + count} patients and not of 7"):
        first.collect("x 0", np.zeros(SIZE, np.int64), 7, 1.0)


def test_a_rank_that_is_gone_is_named() -> None:
    mine, other, _ = pair()
    mine.check()
    other.close()
    with pytest.raises(AccessError, match=r"worker process 2 of 2 has ended.*--resume"):
        mine.check()
    with pytest.raises(AccessError, match="has ended"):
        one_shot(FirstRank([mine], PATIENTS))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (InputError("the file a is empty"), InputError, "the file a is empty"),
        (MemoryError(), AccessError, "ran out of memory"),
        (ZeroDivisionError("by zero"), MedvaeError, "failed: ZeroDivisionError: by zero"),
    ],
)
def test_a_failure_crosses_by_its_kind_and_sentence(error, kind, said) -> None:
    mine, other, _ = pair()
    other.fail(error)
    other.close()
    with pytest.raises(kind, match=said) as caught:
        mine.check()
    assert type(caught.value) is kind


def test_a_failure_that_waits_behind_a_sum_is_told() -> None:
    mine, other, _ = pair()
    OtherRank(other, 1, 2, PATIENTS).collect("x 0", np.zeros(SIZE, np.int64), 3, 1.0)
    mine.check()
    other.fail(InputError("the file a is empty"))
    other.close()
    with pytest.raises(InputError, match="the file a is empty"):
        mine.check()


def test_ranks_are_connected_by_unix_sockets_alone() -> None:
    with socket.socket(socket.AF_INET) as sock, pytest.raises(MedvaeError, match="Unix sockets"):
        Link(sock, "worker process 2 of 2")


@pytest.fixture
def stopped(
    monkeypatch,
) -> Iterator[tuple[Link, subprocess.Popen[bytes], list[str], socket.socket]]:
    """The link to a process that was stopped, and what is told of it; seconds are tenths."""
    monkeypatch.setattr("medvae.privacy.link.NOTIFY", 0.2)
    monkeypatch.setattr("medvae.privacy.link.GIVE_UP", 1.0)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.send_signal(signal.SIGSTOP)
    ours, theirs = socket.socketpair()
    OPENED.extend((ours, theirs))
    said: list[str] = []
    yield Link(ours, "worker process 2 of 2", None, process.pid, said.append), process, said, theirs
    process.kill()
    process.communicate()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_stands_still_is_told_of_and_given_up(stopped) -> None:
    link, process, said, _ = stopped
    first, began = FirstRank([link], PATIENTS), time.monotonic()
    with pytest.raises(AccessError, match="it was stopped, or waits for storage") as refused:
        first.collect("m", np.zeros(SIZE, np.int64), 3, CLIP)
    assert 1.0 < time.monotonic() - began < 5.0
    assert "--resume" in str(refused.value)
    (told,) = said
    assert f"worker process 2 of 2 (process {process.pid}) has used no processor time" in told


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_takes_nothing_is_given_up(stopped) -> None:
    link, _, _, _ = stopped
    with pytest.raises(AccessError, match="has done nothing for"):
        # More than a socket holds.
        FirstRank([link], PATIENTS).same(bytes(1 << 24))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_works_is_waited_for_however_slow_it_is(monkeypatch) -> None:
    monkeypatch.setattr("medvae.privacy.link.NOTIFY", 0.2)
    monkeypatch.setattr("medvae.privacy.link.GIVE_UP", 0.6)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    ours, theirs = socket.socketpair()
    OPENED.extend((ours, theirs))
    link = Link(ours, "worker", None, busy.pid, pytest.fail)
    threading.Timer(2.0, lambda: frames.send(theirs, {"step": "done"})).start()
    try:
        assert link.receive("step")[0] == {"step": "done"}
    finally:
        busy.kill()
        busy.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_stopped_process_that_goes_on_in_time_costs_nothing(stopped) -> None:
    link, process, said, theirs = stopped

    def go_on() -> None:
        process.send_signal(signal.SIGCONT)
        frames.send(theirs, {"step": "done"})

    threading.Timer(0.6, go_on).start()
    assert link.receive("step")[0] == {"step": "done"}
    assert len(said) == 1
    # No limit of time is left on the socket.
    assert link._sock.gettimeout() is None


@pytest.mark.parametrize("size", [8 * SIZE - 3, 8 * (SIZE - 1), 0])
def test_a_sum_of_another_length_is_refused(size) -> None:
    mine, theirs, _ = pair()
    theirs.send({"sum": "x", "patients": 1}, bytes(size))
    with pytest.raises(IntegrityError, match="the sum x from another process is not that"):
        FirstRank([mine], PATIENTS).collect("x", np.zeros(SIZE, np.int64), PATIENTS - 1, 1.0)


@pytest.mark.parametrize("code", [[4], {}, "4", True, None, 99])
def test_a_failure_that_none_of_ours_sends_is_told_as_plain_text(code) -> None:
    mine, theirs, _ = pair()
    theirs.send({"error": "\x1b]0;title\x07\u202e" + "x" * 5000, "code": code, "kind": "known"})
    with pytest.raises(MedvaeError, match="worker process 2 of 2 failed") as caught:
        mine.receive("sum")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2100
