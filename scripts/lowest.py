"""The lowest version of each dependency that pyproject.toml states, as requirements for pip."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^\]]*\])?>=(?P<lowest>[0-9.]+)")
TEST_TOOLS = ("pytest>", "hypothesis>", "SimpleITK>")


def lowest(pyproject: Path, constraints: Path) -> list[str]:
    """A line a dependency, and of the test tools; torch as it is installed everywhere.

    Raises:
        ValueError: a dependency states no lowest version.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    torch = next(
        line for line in constraints.read_text().splitlines() if line.startswith("torch==")
    )
    tools = [one for one in project["optional-dependencies"]["test"] if one.startswith(TEST_TOOLS)]
    lines = []
    for text in [*project["dependencies"], *tools]:
        stated = STATED.fullmatch(text)
        if stated is None:
            raise ValueError(f"{text} states no lowest version, as name>=1.2")
        lines.append(
            torch if stated["name"] == "torch" else f"{stated['name']}=={stated['lowest']}"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(lowest(ROOT / "pyproject.toml", ROOT / "constraints.txt")))
    sys.exit(0)
