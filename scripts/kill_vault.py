"""Kill -9 a vault at work, 1,000 times, and check after each that nothing was lost.

    .venv/bin/python scripts/kill_vault.py [KILLS] [SEED]

Ingest, checkpoints, rotation, reseal, erasure and journals, in random order; the kill comes
at a random moment within half a second. Prints a line every 50 kills; fails at the first
thing that was committed and does not read back, or that is there by half.
"""

from __future__ import annotations

import collections
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "vault"))
sys.path.insert(0, str(Path(__file__).parent.parent))

import crash_checks


def main(kills: int, first: int) -> None:
    """Run; raises AssertionError at the first loss."""
    started = time.monotonic()
    interrupted: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        crash_checks.prepare(root)
        expected = crash_checks.Expected()
        for turn in range(kills):
            lines = crash_checks.kill_once(root, first + turn, longest=0.5)
            crash_checks.check(root, expected, lines)
            interrupted[lines[-1].get("try_", "between or rotate or reseal")] += 1
            if (turn + 1) % 50 == 0:
                took = time.monotonic() - started
                print(f"{turn + 1} kills, nothing lost, {took:.0f} s; {dict(interrupted)}")
                sys.stdout.flush()


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 1,
    )
