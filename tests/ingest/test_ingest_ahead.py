"""Jobs that go on ahead: their order, how many at a time, and an end before the last one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from ingest_makers import save, series, write

from medvae.ingest import Ingested, read, wire
from medvae.ingest.ahead import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_answers_come_in_the_order_of_the_jobs_whichever_ends_first(threads: int) -> None:
    ended = [threading.Event() for _ in range(20)]

    def job(number: int) -> int:
        # Of two that go on at a time the second one ends first.
        if threads > 1 and number % 2 == 0:
            assert ended[number + 1].wait(10)
        ended[number].set()
        return number

    jobs = (partial(job, number) for number in range(20))
    assert list(in_order(jobs, threads, pytest.fail)) == list(range(20))


def test_jobs_are_made_no_further_ahead_than_there_are_threads() -> None:
    made: list[int] = []

    def jobs() -> Iterator[Callable[[], int]]:
        for number in range(10):
            made.append(number)
            yield partial(int, number)

    for answer in in_order(jobs(), 2, pytest.fail):
        assert len(made) <= answer + 3


@pytest.mark.parametrize("how", ["the consumer stops", "a job fails"])
def test_an_early_end_interrupts_what_goes_on(how: str) -> None:
    going, halted = threading.Event(), threading.Event()

    def long() -> int:
        going.set()
        assert halted.wait(10)
        return 1

    def first() -> int:
        if how == "a job fails":
            raise ValueError(how)
        return 0

    answers = in_order([first, long, long], 1, halted.set)
    if how == "a job fails":
        with pytest.raises(ValueError, match=how):
            list(answers)
    else:
        assert next(answers) == 0
        assert going.wait(10)
        answers.close()  # type: ignore[attr-defined]
    assert halted.is_set()


def test_dicom_is_the_same_for_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Series whose headers are read in several batches, damaged files and other ones among them."""
    for number in range(4):
        folder = write(tmp_path / f"{number}", series(9 + number, patient=f"P{number}"))
        save(folder / "0005x", b"no image")
        save(folder / "0007x", (folder / sorted(folder.iterdir())[3].name).read_bytes()[:300])
    monkeypatch.setattr(wire, "BATCH", 4)

    def found(workers: int) -> list[tuple[object, ...]]:
        notes: list[str] = []
        results = [
            (one.source, one.subject, one.study, bytes(one.volume.to_bytes()))
            if isinstance(one, Ingested)
            else (one.source, one.reason)
            for one in read([tmp_path], key=bytes(32), workers=workers, notes=notes.append)
        ]
        return [*results, *((note,) for note in notes)]

    alone = found(1)
    assert sum(len(one) == 4 for one in alone) == 4
    assert sum(len(one) == 2 for one in alone) == 8
    assert found(3) == alone
