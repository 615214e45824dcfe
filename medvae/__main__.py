"""`python -m medvae` is `medvae`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C while its modules are still being loaded is one line, too."""
    try:
        from medvae.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        print("medvae: interrupted before anything was begun", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
