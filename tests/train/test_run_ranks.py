"""A run by two processes is bit for bit the run of one, whichever stages it has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from medvae.privacy.link import Link
from medvae.privacy.ranks import FirstRank
from medvae.train import train
from tests.train.rank_worker import PATIENTS, RUNS, Counted
from tests.train.test_run import KEY, plan_of, same

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(RUNS))
def test_two_processes_make_the_model_of_one(name: str) -> None:
    cfg = RUNS[name]
    plan = plan_of(cfg, PATIENTS)
    alone = train(cfg, plan, Counted(), key=KEY)
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.train.rank_worker", str(theirs.fileno()), name],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    theirs.close()
    link, cohort = Link(ours, "the other rank"), Counted()
    together = train(cfg, plan, cohort, key=KEY, ranks=FirstRank([link], PATIENTS))
    seen = set(link.receive("seen")[0]["seen"])
    assert process.wait(60) == 0
    assert same(alone, together)
    # What is split is not looked at twice; the atlas and the prior are the first rank's alone.
    if name == "cosines":
        assert (cohort.seen, seen) == ({0, 2, 4}, {1, 3})
    else:
        assert cohort.seen == set(range(PATIENTS))
        assert seen < cohort.seen
