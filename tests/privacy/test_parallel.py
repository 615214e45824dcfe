"""Several gloo ranks give the weights of one process; a rank's failure reaches the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("parallel_worker.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def run_ranks(ranks: int) -> list[dict]:
    """What every rank printed; gloo on the loopback, one process a rank."""
    port = str(free_port())
    processes = []
    for rank in range(ranks):
        environment = os.environ | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "OMP_NUM_THREADS": "1",
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, str(WORKER)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    results = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        results.append(json.loads(out.strip().splitlines()[-1]))
    return results


def weights(ranks: int, which: str) -> torch.Tensor:
    """The final weights, after checking that they are equal on all ranks to the last bit."""
    words = [result[which] for result in run_ranks(ranks)]
    assert all(one == words[0] for one in words), "ranks drifted apart"
    return torch.tensor([float.fromhex(word) for word in words[0]])


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("which", ["full", "sparse"])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int, which: str) -> None:
    assert torch.equal(weights(ranks, which), weights(1, which))


def test_a_rank_that_fails_does_not_leave_the_others_waiting() -> None:
    messages = [result["failure"] for result in run_ranks(2)]
    assert "failed on another rank" in messages[0]
    assert "broken patient" in messages[1]


def test_ranks_with_keys_of_their_own_are_refused() -> None:
    # Careless: every rank adds its own noise to the one sum, and two of them halve it.
    messages = [result["own keys"] for result in run_ranks(2)]
    assert all("do not share one key" in message for message in messages)
    assert "own keys" not in run_ranks(1)[0]
