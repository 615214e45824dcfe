"""Attacks on a vault, a release and the parser, made on the spot: what is found, what is silent.

Each attack is tried n times on a fresh copy of one vault with two tenants. One trial ends as
`found` (an error of exit code 4 or 5, or damage that `verify` reports), as `no effect` (every
answer is the truth), as `silent` (an answer is not, and nothing says so) or as `defect` (an
exception that is none of ours). An attack is held when none is silent and none a defect.
"""

from __future__ import annotations

import collections
import json
import platform
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "ingest")]

from attacks_outside import outside  # noqa: E402

from medvae.errors import MedvaeError  # noqa: E402
from medvae.vault import Vault, new_identity  # noqa: E402

FOUND = (4, 5, 7)
STATEMENTS = {
    "a row deleted": "DELETE FROM objects WHERE id = (SELECT id FROM objects LIMIT 1)",
    "a row under another id": "UPDATE objects SET id = zeroblob(16) WHERE id = "
    "(SELECT id FROM objects LIMIT 1)",
    "a journal deleted": "DELETE FROM journal WHERE name = (SELECT name FROM journal LIMIT 1)",
    "the epoch changed": "UPDATE meta SET value = value + 1",
}
Attack = Callable[[Path, random.Random], None]


@dataclass
class Scene:
    """A vault with the tenants a and b, and older copies of tenant a."""

    root: Path
    older: list[Path] = field(default_factory=list)
    anchor: str = ""

    @classmethod
    def make(cls, root: Path) -> Scene:
        """Two tenants with objects, names, a ledger and a trail; a grows after each copy."""
        scene = cls(root)
        for name in ("b", "a"):
            place = {"identity": root / "keys" / name, "recovery": root / "safe" / name}
            tenant = Vault(root / "vault").create_tenant(name, **place)
            for turn in range(3):
                for number in range(4):
                    data = f"{name} {turn} {number}".encode() * 200
                    label = f"d{turn}" if number == 0 else None
                    kind = "dataset" if label else "volume"
                    tenant.put(kind, data, **({"name": label} if label else {}))
                tenant.journal("ledger").append(b"debit %d" % turn)
                tenant.close()
                if name == "a" and turn < 2:  # the newest state is no older copy
                    scene.older.append(root / f"older{turn}")
                    shutil.copytree(root / "vault" / "a", scene.older[-1])
                tenant = Vault(root / "vault").open(name, identity=place["identity"])
                tenant.rotate()
            scene.anchor = tenant.anchor()
            tenant.close()
        new_identity(root / "keys" / "intruder")
        return scene

    def truth(self, vault: Path, *, anchor: str = "") -> tuple[Any, bool]:
        """Every answer about tenant a, and whether `verify` is clean. Raises MedvaeError."""
        tenant = Vault(vault).open("a", identity=self.root / "keys" / "a")
        try:
            if anchor:
                tenant.check_anchor(anchor)
            answers = {
                kind: [tenant.get(kind, one) for one in sorted(tenant.ids(kind))]
                for kind in ("dataset", "volume")
            }
            ledger = list(tenant.journal("ledger").entries())
            names = {name: tenant.get_named("dataset", name) for name in tenant.names("dataset")}
            recipients = [one.fingerprint for one in tenant.recipients()]
            clean = not tenant.verify(read_data=True).damaged and tenant.verify_log().valid
            return (answers, ledger, names, recipients), clean
        finally:
            tenant.close()

    def trial(self, attack: Attack, chance: random.Random, *, anchor: bool = False) -> str:
        """One attack on a fresh copy: found, no effect, silent, or defect."""
        copy = self.root / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.root / "vault", copy)
        attack(copy, chance)
        try:
            seen, clean = self.truth(copy, anchor=self.anchor if anchor else "")
        except MedvaeError as error:
            return "found" if error.exit_code in FOUND else "defect"
        except Exception as error:  # noqa: BLE001  a defect is what is counted
            print(f"defect: {type(error).__name__}: {error}", file=sys.stderr)
            return "defect"
        if not clean:
            return "found"
        return "no effect" if seen == self.expected else "silent"

    def prepare(self) -> None:
        """Remember the truth. Fails where the vault is not sound to begin with."""
        self.expected, clean = self.truth(self.root / "vault")
        assert clean


def files(vault: Path, part: str) -> list[Path]:
    """Files of tenant a: "catalogue", "keyring" or "objects"."""
    pattern = {"catalogue": "catalogue.db", "keyring": "keyring.json", "objects": "objects/**/*"}
    return sorted(path for path in (vault / "a").glob(pattern[part]) if path.is_file())


def changed(part: str, change: Callable[[bytearray, random.Random], None]) -> Attack:
    """An attack on the bytes of one file."""

    def attack(vault: Path, chance: random.Random) -> None:
        path = chance.choice(files(vault, part))
        data = bytearray(path.read_bytes())
        change(data, chance)
        path.write_bytes(data)

    return attack


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def grow(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(1 + chance.randrange(100))


def swap_pages(data: bytearray, chance: random.Random) -> None:
    size = int.from_bytes(data[16:18], "big") or 4096
    one, two = (size * chance.randrange(len(data) // size) for _ in range(2))
    data[one : one + size], data[two : two + size] = (
        data[two : two + size],
        data[one : one + size],
    )


def swap_cells(data: bytearray, chance: random.Random) -> None:
    """Two cell pointers of one leaf page: every row stays, in another order."""
    size = int.from_bytes(data[16:18], "big") or 4096
    pages = [at for at in range(size, len(data), size) if data[at] in (10, 13)]
    at = chance.choice(pages)
    count = int.from_bytes(data[at + 3 : at + 5], "big")
    if count > 1:
        one, two = (at + 8 + 2 * chance.randrange(count) for _ in range(2))
        data[one : one + 2], data[two : two + 2] = data[two : two + 2], data[one : one + 2]


def sql(*statements: str) -> Attack:
    """Statements on the catalogue; one that SQLite refuses changes nothing."""

    def attack(vault: Path, chance: random.Random) -> None:
        connection = sqlite3.connect(vault / "a" / "catalogue.db")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        except sqlite3.Error:
            connection.rollback()
        finally:
            connection.close()

    return attack


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
    yield "pages of the catalogue swapped", changed("catalogue", swap_pages), "found"
    yield "rows hidden by the order of a page", changed("catalogue", swap_cells), "found"
    for title, statement in STATEMENTS.items():
        yield title, sql(statement), "found"
    yield "sealed objects swapped", swap_objects, "found"
    yield "a folder or link in the place of a file", special, "found"
    yield "a file of another tenant", of_b, "found"
    yield "a recipient slipped in", slipped_in(scene), "found"
    yield "an older catalogue", older(scene, "catalogue.db"), "found"
    yield "an older key ring", older(scene, "keyring.json"), "found"
    yield "older objects", older(scene, "objects"), "found"
    yield "the whole tenant rolled back", older(scene), "silent"


def main(quick: bool) -> dict[str, Any]:
    """Run; with `quick` ten trials an attack in place of 200."""
    turns, started = 10 if quick else 200, time.monotonic()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-attacks-") as name:
        scene = Scene.make(Path(name))
        scene.prepare()
        for number, (title, attack, expected) in enumerate(attacks(scene)):
            chance = random.Random(number)  # noqa: S311  a repeatable choice
            seen = collections.Counter(scene.trial(attack, chance) for _ in range(turns))
            results.append(row(title, expected, seen))
        chance = random.Random(0)  # noqa: S311  a repeatable choice
        seen = collections.Counter(
            scene.trial(older(scene), chance, anchor=True) for _ in range(turns)
        )
        results.append(row("the whole tenant rolled back, with an anchor", "found", seen))
        for title, seen in outside(Path(name), quick):
            results.append(row(title, "found", seen))
    show(results)
    return {
        "machine": machine() | {"seconds": round(time.monotonic() - started, 1)},
        "results": results,
        "targets": targets(results),
    }


def row(title: str, expected: str, seen: collections.Counter[str]) -> dict[str, Any]:
    """One line of the outcome: an attack that should be found is held when all were."""
    bad = seen["defect"] + (seen["silent"] if expected == "found" else 0)
    happened = seen["found"] + seen["silent"] > 0
    return {
        "attack": title,
        "expected": expected,
        "n": seen.total(),
        "seen": dict(sorted(seen.items())),
        "held": bad == 0 and happened,
    }


def show(results: list[dict[str, Any]]) -> None:
    """The table, as Markdown."""
    print("| attack | n | expected | seen | held |\n|---|---|---|---|---|")
    for one in results:
        seen = ", ".join(f"{count} {name}" for name, count in one["seen"].items())
        held = "yes" if one["held"] else "NO"
        print(f"| {one['attack']} | {one['n']} | {one['expected']} | {seen} | {held} |")


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nothing silent that must be found, no defect, every attack held."""
    must = [one for one in results if one["expected"] == "found"]
    silent = sum(one["seen"].get("silent", 0) for one in must)
    defects = sum(one["seen"].get("defect", 0) for one in results)
    missed = sum(not one["held"] for one in results)
    return [
        {"name": name, "value": value, "target": "0", "met": value == 0}
        for name, value in (("silent", silent), ("defects", defects), ("not held", missed))
    ]


def machine() -> dict[str, Any]:
    """Where it ran."""
    version = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {"system": platform.platform(), "python": platform.python_version(), "commit": version}
