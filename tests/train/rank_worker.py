"""A second rank of a run on made-up patients: FD of its socket, and which of `RUNS` it is."""

from __future__ import annotations

import socket
import sys

from medvae.config import RunConfig
from medvae.privacy.link import Link
from medvae.privacy.ranks import OtherRank
from medvae.train import train
from tests.train.test_run import KEY, Cohort, configuration, plan_of

PATIENTS = 5
NOTHING = {"share": 0.0}
RUNS: dict[str, RunConfig] = {
    "network": configuration(
        atlas={"share": 0.4, "samples": 2, "steps": 1},
        finetune={"share": 0.3, "steps": 3, "sample_rate": 0.5},
        prior={"share": 0.3},
        data={"labels": 0},
    ),
    "cosines": configuration(
        cosines={"share": 1.0}, atlas=NOTHING, finetune=NOTHING, prior=NOTHING, data={"labels": 0}
    ),
}


class Counted(Cohort):
    """A cohort that knows which patients were looked at."""

    def __init__(self) -> None:
        super().__init__(PATIENTS, (16, 16, 16))
        self.seen: set[int] = set()

    def volumes(self, index):
        self.seen.add(index)
        return super().volumes(index)


def main(descriptor: int, name: str) -> None:
    link = Link(socket.socket(fileno=descriptor), "the first rank")
    cfg, cohort = RUNS[name], Counted()
    ranks = OtherRank(link, 1, 2, PATIENTS)
    train(cfg, plan_of(cfg, PATIENTS), cohort, key=KEY, ranks=ranks)
    link.send({"seen": sorted(cohort.seen)})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
