"""medvae send"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.cli.verbs.pull import Address, Aet, Ca, ClientCert, ClientKey, Plaintext, Timeout
from medvae.errors import AccessError

AFTER = "audit"

MOST_SHOWN = 5


def run(
    folder: Annotated[Path, typer.Argument(help="Folder of a release in DICOM.")],
    peer: Address,
    public_key: Annotated[
        Path | None, typer.Option(help="File of the signer's key that the release must be of.")
    ] = None,
    ca: Ca = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    plaintext: Plaintext = False,
    timeout: Timeout = 60.0,
    aet: Aet = "MEDVAE",
) -> int:
    """Send a release's DICOM files to an image archive (PACS); needs no vault.

    The release is verified first (exit code 4 where it is not as it was signed). Files that the
    archive does not take are listed, with exit code 5; to send again does no harm.
    """
    from medvae.api import Link, send_release

    with progress() as bar:
        result = send_release(
            folder,
            peer,
            public_key=public_key,
            link=Link(ca, client_cert, client_key, plaintext, timeout, aet),
            progress=bar,
        )
    lines = [f"{plural(result.sent, 'file')} of {folder} are stored in {result.peer}."]
    lines += [f"  not sent {unsent.file}: {unsent.reason}" for unsent in result.failed[:MOST_SHOWN]]
    if len(result.failed) > MOST_SHOWN:
        lines.append(f"  and {len(result.failed) - MOST_SHOWN} more (see --json)")
    show(result, lines)
    return AccessError.exit_code if result.failed else 0
