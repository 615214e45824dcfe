"""A canary that is put into a vault is in no file outside of memory, in no encoding."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import zlib
from pathlib import Path

JOURNEY = """
import sys
from pathlib import Path
from medvae.errors import MedvaeError
from medvae.vault import Vault

root, canary = Path(sys.argv[1]), sys.stdin.readline().strip()
raw = canary.encode()
vault = Vault(root / "vault")
keys = dict(identity=root / "home/id", passphrase=canary)
tenant = vault.create_tenant("clinic", recovery=root / "home/recovery", **keys)
volume = tenant.put("volume", raw * 10_000)
with tenant.transaction():
    tenant.put("dataset", raw, name=canary + "@1")
    tenant.put("checkpoint", raw * 50_000, name=canary)
tenant.put("checkpoint", raw * 50_001, name=canary, replace=True)
try:
    with tenant.transaction():
        tenant.put("volume", raw * 9)
        raise RuntimeError
except RuntimeError:
    pass
tenant.journal(canary).append(raw)
tenant.record("ingest", dataset=canary)
tenant.pseudonym(canary), tenant.digest(raw, "x")
tenant.rotate(), tenant.reseal()
path = next((tenant.root / "objects").glob(f"*/{volume}-*"))
path.write_bytes(path.read_bytes()[:-1])
try:
    tenant.get("volume", volume)
except MedvaeError as error:
    print(error)
tenant.repair(), tenant.verify(read_data=True), vault.scrub("clinic")
for wrong in (None, "wrong"):
    try:
        vault.open("clinic", identity=root / "home/id", passphrase=wrong)
    except MedvaeError as error:
        print(error)
assert vault.open("clinic", **keys).get_named("dataset", canary + "@1") == raw
vault.recover("clinic", recovery=root / "home/recovery", **keys)
import os
os.kill(os.getpid(), 9)
"""


def encodings(canary: bytes) -> list[bytes]:
    """The canary as it is, and as it would look in other clothes."""
    wide = canary.decode().encode("utf-16-le")
    inner = [base64.b64encode(canary[cut:]).rstrip(b"=")[:-2] for cut in range(3)]
    return [canary, canary[::-1], canary.hex().encode(), wide, canary[:16], *inner]


def test_the_canary_is_nowhere(tmp_path: Path) -> None:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    canary = base64.b32encode(os.urandom(30)).decode().lower()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "SQLITE_TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.run(
            [sys.executable, "-c", JOURNEY, str(tmp_path)],
            input=canary.encode() + b"\n",
            stdout=log,
            stderr=log,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
    assert worker.returncode == -9, (tmp_path / "log").read_text()
    wanted = encodings(canary.encode())
    seen = 0
    for path in tmp_path.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            seen += len(raw)
            for one in wanted:
                assert one not in raw, f"{one!r} in {path}"
            # Ciphertext does not compress: nothing repeated is left in what is large.
            if "objects" in path.parts and len(raw) > 10_000:
                assert len(zlib.compress(raw)) > 0.99 * len(raw)
    assert seen > 2_500_000
