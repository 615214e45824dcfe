"""Memory that training frees is used again, instead of being faulted in anew."""

from __future__ import annotations

import ctypes
import mmap
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from medvae.privacy import DPTrainer, Mechanism, NoiseSource

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(12 << 20)  # 48 MiB: glibc never keeps that by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

model = torch.nn.Linear(2, 2)
faults()
before = faults()
DPTrainer(
    model,
    torch.optim.SGD(model.parameters(), lr=1.0),
    mechanism=Mechanism("a", 1.0, 1, 1.0),
    clip=1.0,
    divisor=1.0,
    noise=NoiseSource(bytes(32)),
)
print(before, min(faults() for _ in range(4)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_trainer_keeps_what_it_frees() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    before, after = map(int, run.stdout.split())
    assert before > 10_000
    assert after < 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from medvae.privacy.memory import keep_freed_memory

    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert keep_freed_memory() is False


def test_as_many_at_once_as_half_of_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from medvae.privacy import memory

    monkeypatch.setattr(memory, "available", lambda: 8000 * 1024)
    assert memory.affordable(16, 1000 * 1024) == 4
    assert memory.affordable(3, 1000 * 1024) == 3
    assert memory.affordable(16, 9000 * 1024) == 1
    assert memory.affordable(16, 0) == 16


def test_memory_in_use_is_told() -> None:
    from medvae.privacy.memory import resident

    # Not from the C library, which may have kept as much from something freed before.
    with mmap.mmap(-1, 64 << 20) as block:
        before = resident()
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert resident() - before > len(block) // 2
