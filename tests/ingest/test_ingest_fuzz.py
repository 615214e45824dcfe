"""`scripts/bench fuzz`: it takes every seed, sees faults, and finds none in a short run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import bench_fuzz


def test_a_short_run_ends_no_process_and_leaks_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    found = bench_fuzz.main(quick=True, seed=7)
    formats = found["results"]["formats"]
    assert found["results"]["executions"] >= 400
    assert all(target["met"] for target in found["targets"])
    assert {"nifti", "nrrd", "metaimage", "mgh", "analyze", "dicom", "png", "zip", "tar"} <= set(
        formats
    )
    # Changes must leave some inputs readable, or nothing behind a header is reached.
    for name, row in formats.items():
        assert row["refused"], name
    assert sum(row["taken"] for row in formats.values()) > 50
    assert not any(row["unforeseen"] for name, row in formats.items() if name != "dicom")


def test_the_fuzzer_sees_crashes_hangs_leaks_and_exceptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    def hang(*_: Any) -> str:
        while True:
            pass

    def unforeseen(*_: Any) -> str:
        return str([][1])

    chosen = [one for one in bench_fuzz.seeds() if one.name == "mgh-plain"]
    monkeypatch.setattr(bench_fuzz, "SECONDS_EACH", 0.5)
    for reader, expected in ((crash, "crash"), (hang, "hang"), (unforeseen, "unforeseen")):
        monkeypatch.setitem(bench_fuzz.READERS, "nifti", reader)
        found = bench_fuzz.chunk(chosen, 1, 10, 1)
        assert [(number, outcome) for number, _, outcome, _ in found] == [(10, expected)]
    monkeypatch.setitem(bench_fuzz.READERS, "nifti", lambda *_: "a word of free text")
    assert bench_fuzz.chunk(chosen, 1, 10, 1)[0][2] == "leak"
