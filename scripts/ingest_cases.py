"""How each odd case beside the real scans comes out of ingest: a table, and how many of each kind.

The cases, what is right of them and how they are judged are those of
`tests/ingest/test_ingest_shared_cases.py`.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from medvae.errors import UsageError

TESTS = Path(__file__).resolve().parents[1] / "tests/ingest"


def summary() -> dict[str, Any]:
    """Run all and print them.

    Returns:
        rows: of each way of giving a folder its outcome, and why where it is not the right one.
        counts: how many ways of each outcome, and folders.

    Raises:
        UsageError: the cases are not there.
    """
    sys.path.insert(0, str(TESTS))
    import shared_cases

    root = shared_cases.folder()
    if root is None:
        raise UsageError("no cases/ingest lies beside the folder that MEDVAE_REAL_DATA names")
    listed, rows = shared_cases.cases(), []
    with tempfile.TemporaryDirectory() as out:
        for number, case in enumerate(listed):
            seen = shared_cases.run(case, root, Path(out), number)
            outcome, why = shared_cases.judged(case, seen)
            rows.append({"case": case.name, "outcome": outcome, "why": why})
            print(f"{case.name:50} {outcome:15} {why}", flush=True)
    counted = Counter(row["outcome"] for row in rows)
    counts = {outcome: counted[outcome] for outcome in shared_cases.OUTCOMES}
    print(f"\n{len({case.folder for case in listed})} folders, given in {len(rows)} ways")
    for outcome, count in counts.items():
        print(f"  {outcome:15} {count:4}")
    return {"rows": rows, "counts": counts | {"folders": len({c.folder for c in listed})}}


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """None may be wrong without a word, end in a defect, or be refused with a false sentence."""
    wanted = ("silent wrong", "crash", "refused falsely")
    counts = results["counts"]
    return [
        {"name": name, "value": counts[name], "target": "<= 0", "met": counts[name] == 0}
        for name in wanted
    ]
