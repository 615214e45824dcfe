"""medvae send"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.errors import AccessError
from medvae.options.archives import SendOptions
from medvae.options.flags import arguments

AFTER = "audit"

MOST_SHOWN = 5


@flags(SendOptions)
def run(options: SendOptions) -> int:
    """Send a release's DICOM files to an image archive (PACS); needs no vault.

    The release is verified first (exit code 4 where it is not as it was signed). Files that the
    archive does not take are listed, with exit code 5; to send again does no harm.
    """
    from medvae.api import send_release

    with progress() as bar:
        result = send_release(**arguments(options, bar))
    lines = [f"{plural(result.sent, 'file')} of {options.folder} are stored in {result.peer}."]
    lines += [f"  not sent {unsent.file}: {unsent.reason}" for unsent in result.failed[:MOST_SHOWN]]
    if len(result.failed) > MOST_SHOWN:
        lines.append(f"  and {len(result.failed) - MOST_SHOWN} more (see --json)")
    show(result, lines)
    return AccessError.exit_code if result.failed else 0
