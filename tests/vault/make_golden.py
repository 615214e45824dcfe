"""Makes the golden files of the current format: python make_golden.py FOLDER.

Run once for a format version, from synthetic bytes and a test identity; the files are then
kept for ever, and every later medvae must open them. Never run it over an existing folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medvae.vault import Vault, identity

PASSPHRASE = "golden words for a test"
SIZES = (0, 1, 16383, 16384, 16385)
EVENTS = ("ingest", "train", "release create")


def data(size: int) -> bytes:
    """Synthetic contents."""
    return bytes(at * 7 % 251 for at in range(size))


def main(folder: Path) -> None:
    """Write a vault, its identity (with and without passphrase) and recovery file."""
    folder.mkdir()
    vault = Vault(folder / "vault")
    plain = folder / "identity.json"
    tenant = vault.create_tenant(
        "golden", identity=plain, recovery=folder / "recovery.json", epsilon_limit=7.5
    )
    for size in SIZES:
        tenant.put("volume", data(size), name=f"bytes-{size}")
    tenant.put("model", b"old", name="model")
    tenant.put("model", b"new", name="model", replace=True)
    ledger = tenant.journal("ledger")
    for mark in range(3):
        ledger.append(f"debit {mark}".encode())
    for event in EVENTS:
        tenant.record(event, dataset="golden@1")
    lines = [tenant.anchor(), ledger.head(), tenant.pseudonym("patient"), tenant.digest(b"x", "y")]
    lines += [tenant.derive("noise", b"run").hex(), tenant.sign(b"release").hex()]
    (folder / "expected.txt").write_text("\n".join(lines) + "\n")
    (folder / "public.pem").write_bytes(tenant.public_key())
    tenant.close()
    sealed = identity.encode(identity.load(plain), PASSPHRASE, "identity", identity.CHEAPEST)
    (folder / "sealed.json").write_bytes(sealed)
    for leftover in (folder / "vault" / "golden").glob("catalogue.db-*"):
        leftover.unlink()
    for empty in ("tmp", "quarantine"):  # version control keeps no empty folder
        (folder / "vault" / "golden" / empty / ".keep").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
