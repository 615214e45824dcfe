"""The vault that `scripts/bench attacks` attacks, its truth, and how one trial ends."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvae.errors import MedvaeError
from medvae.vault import Vault, new_identity
from medvae.vault.catalogue import Catalogue

FOUND = (4, 5, 7)
Attack = Callable[[Path, random.Random], None]


@dataclass
class Scene:
    """A vault with the tenants a and b, older copies of tenant a, and the vault of a killed writer.

    vault: what is copied for each trial. killed: a copy of it whose writer was killed.
    """

    root: Path
    older: list[Path] = field(default_factory=list)
    anchor: str = ""
    killed: Path = Path()

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
        scene.killed = scene._kill()
        return scene

    def _kill(self) -> Path:
        """A copy of the vault in which a writer is killed after it has stored a volume.

        The volume is in the write-ahead log alone, as where a reader keeps it from being emptied.
        """
        copy = self.root / "killed"
        shutil.copytree(self.root / "vault", copy)
        child = os.fork()
        if child == 0:
            Catalogue.checkpoint = lambda catalogue: False  # type: ignore[method-assign]
            tenant = Vault(copy).open("a", identity=self.root / "keys" / "a")
            with tenant.writer(1):
                tenant.put("volume", b"of a writer that is killed")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (copy / "a" / "catalogue.db-wal").stat().st_size > 0
        return copy

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

    def write(self, vault: Path) -> None:
        """Store something of a kind that `truth` does not ask for. Raises MedvaeError."""
        tenant = Vault(vault).open("a", identity=self.root / "keys" / "a")
        try:
            tenant.put("model", b"written after the attack" * 500)
        finally:
            tenant.close()

    def trial(
        self,
        attack: Attack,
        chance: random.Random,
        *,
        anchor: bool = False,
        write: bool = False,
        killed: bool = False,
    ) -> str:
        """One attack on a fresh copy: found, no effect, silent, or defect.

        write: the tenant is written to after the attack, before it is asked. killed: on the vault
        of a killed writer.
        """
        copy = self.root / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.killed if killed else self.root / "vault", copy)
        attack(copy, chance)
        try:
            if write:
                self.write(copy)
            seen, clean = self.truth(copy, anchor=self.anchor if anchor else "")
        except MedvaeError as error:
            return "found" if error.exit_code in FOUND else "defect"
        except Exception as error:  # noqa: BLE001  a defect is what is counted
            print(f"defect: {type(error).__name__}: {error}", file=sys.stderr)
            return "defect"
        if not clean:
            return "found"
        return "no effect" if seen == (self.after_kill if killed else self.expected) else "silent"

    def prepare(self) -> None:
        """Remember the truth. Fails where a vault is not sound to begin with."""
        self.expected, clean = self.truth(self.root / "vault")
        copy = self.root / "copy"
        shutil.copytree(self.killed, copy)
        self.after_kill, clean_too = self.truth(copy)
        assert clean
        assert clean_too
        assert self.after_kill != self.expected
        shutil.rmtree(copy)


def files(vault: Path, part: str) -> list[Path]:
    """Files of tenant a: "catalogue", "log", "keyring" or "objects"."""
    pattern = {
        "catalogue": "catalogue.db",
        "log": "catalogue.db-wal",
        "keyring": "keyring.json",
        "objects": "objects/**/*",
    }
    return sorted(path for path in (vault / "a").glob(pattern[part]) if path.is_file())
