"""medvae doctor"""

from __future__ import annotations

from medvae.cli.output import show, table
from medvae.cli.settings import settings
from medvae.errors import MedvaeError

AFTER = None


def run() -> int:
    """Check the machine, its accelerator, versions, the cryptography and the accountant."""
    from medvae.api import examine

    result = examine(settings.device)
    rows = [("ok" if check.ok else "BAD", check.name, check.detail) for check in result.checks]
    show(result, table(("", "", ""), rows))
    return 0 if result.ok else MedvaeError.exit_code
