"""medvae repair"""

from __future__ import annotations

from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import IntegrityError


def run() -> int:
    """Move damaged files aside and say what is lost. Overwrites nothing."""
    with progress() as bar:
        result = settings.session().repair(progress=bar)
    lost = result.lost
    lines = [f"{plural(result.objects, 'object')} read, {len(lost)} lost."]
    lines += [f"  {one.object}: {one.reason}" for one in lost]
    lines += [f"  moved aside: {path}" for path in result.quarantined.values()]
    if lost:
        lines.append("Restore the lost objects from a backup, or delete what holds them.")
    show(result, lines)
    return IntegrityError.exit_code if lost else 0
