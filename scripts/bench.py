"""Run one benchmark, print its table and targets, write its JSON.

A benchmark NAME is the module scripts/bench_NAME.py with `main(quick) -> dict` holding
`machine`, `results` and `targets: [{name, value, target, met}]`. One that has options of its own
adds them by `add_arguments(parser)` and is given them by name.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def show(outcome: dict[str, Any]) -> None:
    """Print the targets as a table; the benchmark itself prints its results."""
    if not outcome["targets"]:
        return
    width = max(len(target["name"]) for target in outcome["targets"])
    print(f"\n{'target':{width}}  {'seen':>12}  {'wanted':>12}")
    for target in outcome["targets"]:
        value = target["value"]
        seen = "not run" if value is None else f"{value:.4g}"
        verdict = "met" if target["met"] else "MISSED" if value is not None else "-"
        print(f"{target['name']:{width}}  {seen:>12}  {target['target']!s:>12}  {verdict}")


def run() -> int:
    """Parse the arguments and run; the exit code says that it ran, not that targets were met."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="a smaller run of the same path")
    parser.add_argument("--json", type=Path, help="write the outcome here")
    sys.path.insert(0, str(HERE))
    name = next((word for word in sys.argv[1:] if word in NAMES), None)
    chosen = importlib.import_module(f"bench_{name}") if name else None
    if hasattr(chosen, "add_arguments"):
        chosen.add_arguments(parser)
    args = parser.parse_args()
    options = {k: v for k, v in vars(args).items() if k not in ("name", "json")}
    outcome = importlib.import_module(f"bench_{args.name}").main(**options)
    show(outcome)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(outcome, indent=2, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run())
