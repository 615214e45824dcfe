"""Attacks on a vault, a release and the parser, made on the spot: what is found, what is silent.

Each attack is tried n times on a fresh copy of one vault with two tenants. One trial ends as
`found` (an error of exit code 4 or 5, or damage that `verify` reports), as `no effect` (every
answer is the truth), as `silent` (an answer is not, and nothing says so), as `lost` (what was
stored is not there) or as `defect` (a traceback, or an exception that is none of ours). An attack
is held when its trials end as expected and none is silent, lost or a defect.
"""

from __future__ import annotations

import argparse
import collections
import json
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "ingest")]

import attacks_catalogue  # noqa: E402
from attacks_catalogue import changed, cut, flip  # noqa: E402
from attacks_crowd import crowd  # noqa: E402
from attacks_faults import faults  # noqa: E402
from attacks_outside import outside  # noqa: E402
from attacks_scene import Attack, Scene, files  # noqa: E402
from pages import system, table, write  # noqa: E402

Row = tuple[str, str, "collections.Counter[str]"]
PARTS = ("vault", "outside", "faults", "crowd")
# What whoever writes to the disk can put back so that nothing in the vault tells it from the truth.
ROLLBACKS = {
    "older catalogue and key ring": ("catalogue.db", "keyring.json"),
    "the whole tenant rolled back": (),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks/attacks.md")


def grow(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(1 + chance.randrange(100))


def older(scene: Scene, *names: str) -> Attack:
    """Parts of tenant a put back from an older copy; "" is the whole tenant."""

    def attack(vault: Path, chance: random.Random) -> None:
        copy = chance.choice(scene.older)
        for name in names or (".",):
            there = vault / "a" / name
            for left in [there, *there.parent.glob(f"{there.name}-*")]:
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            source = copy / name
            shutil.copytree(source, there) if source.is_dir() else shutil.copy2(source, there)

    return attack


def swap_objects(vault: Path, chance: random.Random) -> None:
    one, two = chance.sample(files(vault, "objects"), 2)
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def special(vault: Path, chance: random.Random) -> None:
    """Something that is no file in the place of one."""
    path = chance.choice([*files(vault, "objects"), *files(vault, "keyring")])
    path.unlink()
    chance.choice([path.mkdir, lambda: path.symlink_to("/dev/zero"), lambda: None])()


def of_b(vault: Path, chance: random.Random) -> None:
    """A file of tenant b in the place of one of tenant a."""
    part = chance.choice(["catalogue", "keyring", "objects"])
    there = chance.choice(files(vault, part))
    other = vault / "b" / there.relative_to(vault / "a")
    if not other.is_file():
        other = chance.choice([p for p in (vault / "b" / "objects").rglob("*") if p.is_file()])
    shutil.copy(other, there)


def slipped_in(scene: Scene) -> Attack:
    """An intruder's key in the list of recipients, or a number of the key ring raised."""

    def attack(vault: Path, chance: random.Random) -> None:
        path = vault / "a" / "keyring.json"
        ring = json.loads(path.read_text())
        intruder = json.loads((scene.root / "keys" / "intruder").read_text())
        if chance.random() < 0.5:
            ring["recipients"][0]["public"] = intruder["public"]
        else:
            ring["recipients"].append({**ring["recipients"][0], "public": intruder["public"]})
        path.write_text(json.dumps(ring))

    return attack


def attacks(scene: Scene) -> Iterator[tuple[str, Attack, str]]:
    """Name, attack, and what is expected: "found", or "silent" where SECURITY.md says so."""
    for part in ("catalogue", "keyring", "objects"):
        yield f"a bit of {part} flipped", changed(part, flip), "found"
        yield f"{part} cut short", changed(part, cut), "found"
    yield "an object made longer", changed("objects", grow), "found"
    yield "sealed objects swapped", swap_objects, "found"
    yield "a folder or link in the place of a file", special, "found"
    yield "a file of another tenant", of_b, "found"
    yield "a recipient slipped in", slipped_in(scene), "found"
    yield "an older catalogue", older(scene, "catalogue.db"), "found"
    yield "an older key ring", older(scene, "keyring.json"), "found"
    yield "older objects", older(scene, "objects"), "found"
    yield "older catalogue and objects", older(scene, "catalogue.db", "objects"), "found"
    yield "older key ring and objects", older(scene, "keyring.json", "objects"), "found"
    for title, names in ROLLBACKS.items():
        yield title, older(scene, *names), "silent"


def vault(root: Path, turns: int) -> Iterator[Row]:
    """What is changed beside the vault's back."""
    scene = Scene.make(root)
    scene.prepare()

    def tried(title: str, attack: Attack, expected: str, **how: bool) -> Row:
        chance = random.Random(title)  # noqa: S311  a repeatable choice
        seen = collections.Counter(scene.trial(attack, chance, **how) for _ in range(turns))
        return title, expected, seen

    for title, attack, how in attacks_catalogue.attacks(scene):
        yield tried(title, attack, "found", **how)
    for title, attack, expected in attacks(scene):
        yield tried(title, attack, expected)
    for title, names in ROLLBACKS.items():
        yield tried(f"{title}, with an anchor", older(scene, *names), "found", anchor=True)


def rows(root: Path, quick: bool, only: str | None) -> Iterator[Row]:
    """Every attack as it is done."""
    if only in (None, "vault"):
        yield from vault(root, 10 if quick else 200)
    if only in (None, "outside"):
        yield from ((title, "found", seen) for title, seen in outside(root, quick))
    if only in (None, "faults"):
        for title, seen in faults(root / "faults", quick):
            yield title, "no effect" if "EINTR" in title else "found", seen
    if only in (None, "crowd"):
        yield from crowd(root / "crowd", quick)


def main(quick: bool, only: str | None = None, docs: bool = False) -> dict[str, Any]:
    """Run; with `quick` ten trials an attack in place of 200."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-attacks-") as name:
        results = [row(*one) for one in rows(Path(name), quick, only)]
    print(shown(results))
    outcome = {
        "machine": machine() | {"seconds": round(time.monotonic() - started, 1)},
        "results": results,
        "targets": targets(results),
    }
    if docs:
        write("attacks", made(outcome))
    return outcome


def shown(results: list[dict[str, Any]]) -> str:
    """One line an attack: n, what is expected, what was seen, whether it is held."""
    lines = []
    for one in results:
        seen = ", ".join(f"{count} {name}" for name, count in one["seen"].items())
        held = "yes" if one["held"] else "NO"
        lines.append((one["attack"], one["n"], one["expected"], seen, held))
    return table(("attack", "n", "expected", "seen", "held"), lines)


def made(outcome: dict[str, Any]) -> str:
    """What the page shows of a run."""
    machine, results = outcome["machine"], outcome["results"]
    return (
        f"{shown(results)}\n\n{sum(one['n'] for one in results):,} trials, seen on "
        f"{machine['system']}, Python {machine['python']}, commit {machine['commit']}, in "
        f"{machine['seconds']:.0f} s."
    )


def row(title: str, expected: str, counts: collections.Counter[str]) -> dict[str, Any]:
    """One line of the outcome: an attack that should be found is held when all were.

    expected: "found" (at least once, and nothing passed for the truth), "silent" (it happened), or
    "no effect" (at least once, and else found).
    """
    bad = counts["defect"] + counts["lost"] + (counts["silent"] if expected != "silent" else 0)
    happened = counts[expected] > 0
    return {
        "attack": title,
        "expected": expected,
        "n": counts.total(),
        "seen": dict(sorted(counts.items())),
        "held": bad == 0 and happened,
    }


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nothing silent that must be found, nothing lost, no defect, every attack held."""
    must = [one for one in results if one["expected"] != "silent"]
    silent = sum(one["seen"].get("silent", 0) for one in must)
    lost = sum(one["seen"].get("lost", 0) for one in results)
    defects = sum(one["seen"].get("defect", 0) for one in results)
    missed = sum(not one["held"] for one in results)
    counted = {"silent": silent, "lost": lost, "defects": defects, "not held": missed}
    return [
        {"name": name, "value": value, "target": "0", "met": value == 0}
        for name, value in counted.items()
    ]


def machine() -> dict[str, Any]:
    """Where it ran."""
    version = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {"system": system(), "python": platform.python_version(), "commit": version}
