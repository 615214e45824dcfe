"""Kills and refused system calls: each call of a verb that changes a file, faulted by strace.

The verb runs once in peace, and its changing calls are listed. Then, on a fresh copy of the vault
each time, one of them is answered with an error, or the process is killed there (SIGKILL). A trial
ends as `found` (killed, or one sentence with exit code 5), as `no effect` (exit code 0), as `lost`
(what was stored is not there, or the same command repeated does not finish it) or as `defect` (a
traceback, another exit code, damage said where there is none).
"""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medvae.errors import MedvaeError
from medvae.vault import Vault

Count = collections.Counter[str]
STRACE = shutil.which("strace")
CALLS = (
    "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "mkdir", "rmdir",
    "unlinkat", "link", "fchmod",
)  # fmt: skip
# Calls whose errors POSIX does not have: a kernel never answers so.
NEVER = {("EINTR", call) for call in ("rename", "unlink", "mkdir", "rmdir", "unlinkat", "link")}
WAIT = 120
# The run that a faulted training makes.
RUN = "faulted"


@dataclass(frozen=True)
class Verb:
    """A command, and what may be said where it is repeated after it had finished.

    again: exit codes of the repeated command that are right beside 0.
    resumed: options of a repeated command that goes on with what was begun; tried first, and
        exit code 7 says that nothing was.
    """

    name: str
    words: tuple[str, ...]
    again: tuple[int, ...] = ()
    resumed: tuple[str, ...] = ()

    def repeats(self) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
        """Commands to try in turn until one may finish, with the exit codes that are right."""
        if self.resumed:
            yield (*self.words, *self.resumed), (0,)
        yield self.words, (0, *self.again)


@dataclass(frozen=True)
class Ground:
    """A vault made by the command line.

    Tenant a has the data sets d and e of two scans each, a model and a colleague's key; tenant b
    is there to be erased.
    """

    root: Path

    @classmethod
    def make(cls, root: Path) -> Ground:
        ground = cls(root)
        base, scans = root / "base", root / "scans"
        for folder in (base, scans):
            folder.mkdir(parents=True, mode=0o700)
        chance = np.random.default_rng(0)
        for number in range(4):
            image = nib.Nifti1Image(chance.normal(500, 99, (6, 6, 6)).astype("f4"), np.eye(4))
            part = "first" if number < 2 else "second"
            (scans / part).mkdir(exist_ok=True)
            nib.save(image, scans / part / f"p{number}.nii.gz")
        for words in (
            ("tenant", "create", "a", "--recovery-out", "spare-a"),
            ("tenant", "create", "b", "--recovery-out", "spare-b"),
            ("ingest", str(scans / "first"), "-d", "d", *DECLARED),
            ("ingest", str(scans / "second"), "-d", "e", *DECLARED),
            ("keys", "new", "first"),
            ("keys", "new", "second"),
            ("keys", "add", "first.pub"),
            (*TRAIN, "-d", "d", "--name", "drawn"),
        ):
            done = ground.run(base, words)
            assert done.returncode == 0, done.stderr
        return ground

    def colleague(self) -> str:
        """Fingerprint of the colleague's key."""
        said = self.run(self.root / "base", ("keys", "list", "--json")).stdout
        rows = json.loads(said)["recipients"]
        return next(str(row["fingerprint"]) for row in rows if row["label"] == "colleague")

    def run(
        self, place: Path, words: tuple[str, ...], *before: str
    ) -> subprocess.CompletedProcess[str]:
        """One command in the folder `place`; `before` goes in front of it."""
        command = [*before, sys.executable, "-m", "medvae", "-q", *words]
        environment = {
            **os.environ,
            "MEDVAE_VAULT": "vault", "MEDVAE_TENANT": "a", "MEDVAE_IDENTITY": "key",
            "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        return subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False,
            timeout=WAIT,
        )  # fmt: skip

    def copy(self) -> Path:
        """A fresh copy of the vault and its keys."""
        place = self.root / "copy"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.root / "base", place)
        return place


DECLARED = ("--modality", "mri", "--files-are-patients")
TRAIN = ("train", "-c", "quick", "--small-cohort", "--epsilon", "2")


def verbs(ground: Ground) -> tuple[Verb, ...]:
    """Those that write to a vault and take no minute."""
    more = str(ground.root / "scans")
    recover = ("--identity", "found", "keys", "recover", "--recovery", "spare-a")
    train = (*TRAIN, "-d", "e", "--name", RUN)
    return (
        Verb("keys rotate", ("keys", "rotate")),
        Verb("keys add", ("keys", "add", "second.pub"), (2,)),
        Verb("keys remove", ("keys", "remove", ground.colleague()), (7,)),
        Verb("keys recover", recover, (2,)),
        Verb("train", train, (), ("--resume",)),
        Verb("release create", ("release", "create", "drawn", "-n", "2", "-o", "out"), (2,)),
        Verb("tenant create", ("tenant", "create", "c", "--recovery-out", "spare-c"), (2,)),
        Verb("tenant erase", ("tenant", "erase", "b", "--yes"), (7,)),
        Verb("ingest", ("ingest", more, "-d", "f", *DECLARED)),
        Verb("dataset delete", ("dataset", "delete", "e", "--yes"), (7,)),
        Verb("dataset export", ("dataset", "export", "d", "-o", "out"), (2,)),
    )


def faults(root: Path, quick: bool) -> Iterator[tuple[str, Count]]:
    """Name of each attack, and how its trials ended; nothing where strace is missing."""
    if STRACE is None or not _may_trace():
        print("strace is missing or not permitted: no kills and faults tried", file=sys.stderr)
        return
    ground = Ground.make(root)
    steps = [(verb, *one) for verb in verbs(ground) for one in calls(ground, verb)]
    for fault, title in TITLES.items():
        # Some interrupted calls are repeated by themselves, some refused: enough to see both.
        few = 3 if fault == "EINTR" else 1
        yield title, tried(ground, fault, steps, few if quick else 60)


def tried(ground: Ground, fault: str, steps: list[tuple[Verb, str, int]], most: int) -> Count:
    """How that many faults, at steps chosen by chance among those that can have it, ended."""
    chance = random.Random(fault)  # noqa: S311  a repeatable choice
    able = [step for step in steps if (fault, step[1]) not in NEVER]
    chance.shuffle(able)
    # As many of each verb, whatever the number of its calls.
    turn: Count = collections.Counter()
    order = {id(step): turns(turn, step[0].name) for step in able}
    able.sort(key=lambda step: order[id(step)])
    seen: Count = collections.Counter()
    for verb, call, number in able[:most]:
        outcome = trial(ground, verb, fault, call, number)
        seen[outcome] += 1
        if outcome in ("lost", "defect"):
            print(f"{outcome}: {verb.name}, {fault} at {call} {number}", file=sys.stderr)
    return seen


def turns(counted: Count, name: str) -> int:
    """How often this name has been counted, with this time."""
    counted[name] += 1
    return counted[name]


TITLES = {
    "KILL": "killed at a call that changes a file",
    "EIO": "a call that changes a file answered with EIO",
    "ENOSPC": "a call that changes a file answered with ENOSPC",
    "EINTR": "a call that changes a file interrupted (EINTR)",
}


def _may_trace() -> bool:
    done = subprocess.run([str(STRACE), "-o", os.devnull, "true"], check=False, capture_output=True)
    return done.returncode == 0


def calls(ground: Ground, verb: Verb) -> list[tuple[str, int]]:
    """Each changing call of the main thread of a verb: its name, and its number among its kind."""
    place = ground.copy()
    with tempfile.NamedTemporaryFile("r") as log:
        before = (str(STRACE), "-qq", "-o", log.name, "-e", "trace=" + ",".join(CALLS))
        done = ground.run(place, verb.words, *before)
        assert done.returncode == 0, done.stderr
        found = [line.partition("(")[0] for line in log if "(" in line]
    counts: Count = collections.Counter()
    steps = []
    for name in found:
        counts[name] += 1
        steps.append((name, counts[name]))
    return steps


def trial(ground: Ground, verb: Verb, fault: str, call: str, number: int) -> str:
    """One fault at one call: see the module."""
    place = ground.copy()
    action = "signal=KILL" if fault == "KILL" else f"error={fault}"
    inject = f"inject={call}:{action}:when={number}"
    before = (str(STRACE), "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject)
    done = ground.run(place, verb.words, *before)
    if fault == "KILL" and done.returncode == -signal.SIGKILL:
        outcome = "found"
    elif done.returncode == 0:
        outcome = "no effect"
    elif done.returncode == 5 and "Traceback" not in done.stderr:
        outcome = "found"
    else:
        print(done.stderr[-500:], file=sys.stderr)
        return "defect"
    if fault == "KILL":
        # What was begun by -o is the user's to remove.
        shutil.rmtree(place / "out", ignore_errors=True)
    return outcome if kept(ground, place, verb) else "lost"


def kept(ground: Ground, place: Path, verb: Verb) -> bool:
    """Whether tenant a holds what it held, whole, and the command repeated finishes its work."""
    try:
        tenant = Vault(place / "vault").open("a", identity=place / "key")
        try:
            sound = not tenant.verify(read_data=True).damaged and tenant.verify_log().valid
            held = set(tenant.names("dataset"))
        finally:
            tenant.close()
    except MedvaeError as error:
        print(error, file=sys.stderr)
        return False
    return sound and "d@1" in held and finished(ground, place, verb) and not leftovers(place)


def finished(ground: Ground, place: Path, verb: Verb) -> bool:
    """Whether the command repeated does its work, and a training was charged once."""
    for words, right in verb.repeats():
        again = ground.run(place, words)
        if again.returncode in right:
            break
    else:
        print(again.stderr[-500:], file=sys.stderr)
        return False
    if not verb.resumed:
        return True
    events = json.loads(ground.run(place, ("budget", "--json")).stdout)["events"]
    return sum(event["run"].startswith(f"{RUN}#") for event in events) == 1


def leftovers(place: Path) -> list[Path]:
    """Files of work that was begun, after it was finished."""
    return [*place.glob(".*"), *(place / "vault").glob(".*"), *(place / "vault").glob("*/.*")]
