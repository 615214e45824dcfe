"""Fuzzing of every parser of ingest: changed inputs into the jobs of the reading process.

Each execution is made from the seed number and its own number alone, so that one that matters can
be made again (`--only NUMBER`). Jobs run in child processes under a limit of memory and of time.
What is counted:

    taken       a volume (or a list of names)
    refused     a sentence
    unforeseen  an exception that no reader expects; the reading process makes a sentence of it
    memory      more than the limit was asked for; a sentence, too
    crash, hang the process ended, or an execution took longer than the limit
    leak        a word of the input's free text came out, or a volume that its reader refuses
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import mmap
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pages
from fuzz_seeds import CANARY, Seed, seeds

from medvae.errors import InputError, IntegrityError
from medvae.ingest.facts import allowed
from medvae.ingest.inputs import opened
from medvae.ingest.records import Limits
from medvae.ingest.slices import Known, slice_of
from medvae.ingest.worker import JOBS
from medvae.volume import Volume

CHUNK = 2000
SECONDS_EACH = 20
MEMORY = 2 << 30
LIMITS = Limits(voxels=1 << 22, file_bytes=1 << 26, members=10_000)
SALT = "00" * 32
OUTCOMES = ("taken", "refused", "unforeseen", "memory", "crash", "hang", "leak")
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 348, 540, 32767, 65535, 2**31 - 1, 2**31)
WORDS = (
    b"0", b"-1", b"nan", b"inf", b"1e309", b"99999999999999", b"none", b"(", b")", b"%", b"..",
    b"\n", b"\0", b"LIST", b"LOCAL", b"True", b"gzip", b"raw", b"big", b"\xff\xff\xff\xff",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of its own."""
    parser.add_argument("--executions", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=600, help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run one execution, and show what happens")
    parser.add_argument("--format", default="", help="only seeds whose names begin so")


def main(
    quick: bool,
    executions: int = 200_000,
    seconds: float = 600,
    seed: int = 1,
    only: int | None = None,
    format: str = "",
) -> dict[str, Any]:
    """Run; see the module's text for what is counted."""
    warnings.simplefilter("ignore")
    chosen = [one for one in seeds() if one.name.startswith(format)]
    for one in chosen:
        outcome, detail = run(one, one.files)
        if outcome != "taken":
            raise AssertionError(
                f"the seed {one.name} is not taken as it is, but {outcome}: {detail}"
            )
    if only is not None:
        one, files = changed(chosen, seed, only)
        print(one.name, run(one, files))
        return {"machine": {}, "results": {}, "targets": []}
    if quick:
        executions = min(executions, 20 * len(chosen))
    begin = time.monotonic()
    counts, why, done = Counter[tuple[str, str]](), Counter[str](), 0
    examples: dict[str, int] = {}
    while done < executions and time.monotonic() - begin < seconds:
        count = min(CHUNK, executions - done)
        for number, name, outcome, detail in chunk(chosen, seed, done, count):
            counts[name.partition("-")[0], outcome] += 1
            if outcome not in ("taken", "refused"):
                key = f"{outcome} {name.partition('-')[0]}: {detail}"
                why[key] += 1
                examples.setdefault(key, number)
            done = number + 1
    took = time.monotonic() - begin
    results = {
        "executions": done,
        "seconds": round(took, 1),
        "formats": table(counts),
        "unforeseen": {key: {"count": n, "first": examples[key]} for key, n in why.most_common()},
    }
    report(results)
    machine = {"system": pages.system(), "python": platform.python_version(), "seed": seed}
    return {"machine": machine, "results": results, "targets": targets(counts)}


def table(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Format -> outcome -> how many."""
    formats = sorted({name for name, _ in counts})
    return {name: {one: counts[name, one] for one in OUTCOMES} for name in formats}


def report(results: dict[str, Any]) -> None:
    """The table, and what was not foreseen."""
    print(f"{results['executions']} executions in {results['seconds']} s")
    print(f"{'format':12}" + "".join(f"{one:>12}" for one in OUTCOMES))
    for name, row in results["formats"].items():
        print(f"{name:12}" + "".join(f"{row[one]:12}" for one in OUTCOMES))
    for key, one in results["unforeseen"].items():
        print(f"  {one['count']:6} {key} (--only {one['first']})")


def targets(counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """Nothing ends the process, nothing leaks."""
    found = {one: sum(n for (_, o), n in counts.items() if o == one) for one in OUTCOMES}
    return [
        {
            "name": f"executions that end in {one}",
            "value": found[one],
            "target": 0,
            "met": not found[one],
        }
        for one in ("crash", "hang", "leak")
    ]


def changed(seeds: list[Seed], seed: int, number: int) -> tuple[Seed, list[bytes]]:
    """The input of one execution."""
    draw = random.Random(f"{seed}:{number}")  # noqa: S311  not for secrets
    one = draw.choice(seeds)
    files = list(one.files)
    at = draw.randrange(len(files))
    data = bytearray(files[at])
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        data = _change(data, draw, files)
    files[at] = bytes(data)
    return one, files


def _change(data: bytearray, draw: random.Random, others: list[bytes]) -> bytearray:
    """One change, of the header more often than of what follows."""
    if not data:
        return bytearray(draw.randbytes(4))
    within = len(data) if draw.random() < 0.4 else min(len(data), 600)
    at = draw.randrange(within)
    way = draw.randrange(8)
    if way == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif way == 1:
        size = draw.choice((1, 2, 4, 8))
        order = draw.choice(("little", "big"))
        value = draw.choice(NUMBERS) * draw.choice((1, 1, -1)) % (1 << 8 * size)
        data[at : at + size] = value.to_bytes(size, order)
    elif way == 2:
        data[at : at + draw.choice((1, 4, 16))] = draw.choice(WORDS)
    elif way == 3:
        del data[at : at + draw.choice((1, 2, 16, 200))]
    elif way == 4:
        data[at:at] = data[max(0, at - draw.choice((2, 8, 64))) : at] * draw.choice((1, 2, 50))
    elif way == 5:
        del data[draw.randrange(len(data)) :]
    elif way == 6:
        other = draw.choice(others)
        begin = draw.randrange(len(other))
        data[at : at + 32] = other[begin : begin + 32]
    else:
        data[at : at + 4] = draw.randbytes(4)
    return data


def chunk(seeds: list[Seed], seed: int, first: int, count: int) -> list[tuple[int, str, str, str]]:
    """Outcomes of some executions, in a child process; a crash of it is one of them."""
    shared = mmap.mmap(-1, 8)
    with tempfile.TemporaryFile("w+") as out:
        child = os.fork()
        if not child:
            _child(seeds, seed, range(first, first + count), shared, out)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        found = [tuple(json.loads(line)) for line in out]
    if status:
        last = int.from_bytes(shared[:8], "little")
        name = changed(seeds, seed, last)[0].name
        code = os.waitstatus_to_exitcode(status)
        kind = "hang" if code == -signal.SIGALRM else "crash"
        found.append((last, name, kind, f"ended with {code}"))
    return found  # type: ignore[return-value]


def _child(seeds: list[Seed], seed: int, numbers: range, shared: mmap.mmap, out: Any) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    quiet = os.open("/dev/null", os.O_WRONLY)
    os.dup2(quiet, 2)
    for number in numbers:
        shared[:8] = number.to_bytes(8, "little")
        one, files = changed(seeds, seed, number)
        # Not caught: a hang inside of a library would not come back to Python.
        signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
        outcome, detail = run(one, files)
        signal.setitimer(signal.ITIMER_REAL, 0)
        out.write(json.dumps([number, one.name, outcome, detail]) + "\n")
        out.flush()
    os._exit(0)


def run(seed: Seed, files: Any) -> tuple[str, str]:
    """What a job makes of files, and of what kind an exception is."""
    try:
        detail = READERS[seed.job](seed, list(files))
    except InputError as error:
        return "refused", str(error)
    except MemoryError:
        return "memory", ""
    except Exception as error:  # noqa: BLE001  what is looked for
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        line = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
        return "unforeseen", f"{type(error).__name__} at {line}"
    return ("leak", detail) if detail else ("taken", "")


def _job(name: str) -> Callable[..., tuple[dict[str, Any], bytes]]:
    module, function = JOBS[name]
    found: Callable[..., tuple[dict[str, Any], bytes]] = getattr(
        importlib.import_module(module), function
    )
    return found


def _volume(seed: Seed, files: list[bytes]) -> str:
    is_mask = seed.job == "mask"
    image = list(seed.names[:1] if is_mask else seed.names)
    job = {
        "modality": "mri", "mask_optional": False, "meta": {}, "orientation": "LAS",
        "image": image, "masks": [[seed.names[1]]] if is_mask else [],
    }  # fmt: skip
    return _checked(*_job("nifti")(job, map(io.BytesIO, files), LIMITS))


def _picture(seed: Seed, files: list[bytes]) -> str:
    job = {"modality": "photo", "meta": {}, "image": list(seed.names)}
    return _checked(*_job("picture")(job, map(io.BytesIO, files), LIMITS))


def _series(seed: Seed, files: list[bytes]) -> str:
    told, _ = _job("headers")({"salt": SALT}, map(io.BytesIO, files), LIMITS)
    slices, known = [], Known()
    for summary in told["ok"]:
        if summary.get("refused") or summary.get("foreign") or summary.get("skip"):
            raise InputError("refused in the first pass")
        slices.append(slice_of(None, summary, known))  # type: ignore[arg-type]
    images = [s for s in slices if not s.marks]
    marks = [s for s in slices if s.marks]
    if not images:
        raise InputError("nothing but marks")
    order = [*(n for n, s in enumerate(slices) if not s.marks)]
    order += [n for n, s in enumerate(slices) if s.marks]
    job = {
        "salt": SALT, "keys": [s.key for s in images], "images": len(images), "meta": {},
        "mark_keys": [s.key for s in marks], "scheme": None, "keep_demographics": True,
    }  # fmt: skip
    ordered = (io.BytesIO(files[n]) for n in order)
    return _checked(*_job("series")(job, ordered, LIMITS))


def _members(seed: Seed, files: list[bytes]) -> str:
    with tempfile.TemporaryFile() as file:
        file.write(files[0])
        file.seek(0)
        archive = opened(file, LIMITS)
        for name in list(archive.names())[:5]:
            archive.unpack(name, LIMITS)
    return ""


def _checked(answer: dict[str, Any], data: bytes) -> str:
    """What is wrong with an answer, or empty."""
    try:
        volume = Volume.from_bytes(data)
    except IntegrityError:
        return "a volume that its reader refuses"
    if not allowed(volume.meta, {}):
        return "facts that are not of the kinds that are kept"
    if CANARY.encode() in bytes(data) or CANARY in json.dumps(answer):
        return "a word of free text"
    return ""


READERS: dict[str, Callable[[Seed, list[bytes]], str]] = {
    "nifti": _volume,
    "mask": _volume,
    "picture": _picture,
    "series": _series,
    "members": _members,
}

if __name__ == "__main__":
    sys.exit("run scripts/bench fuzz")
