"""medvae listen"""

from __future__ import annotations

from dataclasses import replace

from medvae.cli.flags import flags
from medvae.cli.output import note
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.verbs.pull import show_received
from medvae.options.archives import ListenOptions
from medvae.options.flags import arguments

AFTER = "pull"


@flags(ListenOptions)
def run(options: ListenOptions) -> None:
    """Receive what archives and scanners send by DIMSE, and ingest it, all or none.

    Ctrl-C ends listening: studies that have come whole are ingested, others are left out. Nothing
    of a patient is written to a disk.
    """
    options = replace(
        options, ready=lambda address: note(f"Listening as {address}; Ctrl-C ends it.")
    )
    with progress() as bar:
        result = settings.session().listen(**arguments(options, bar))
    show_received(options.dataset, result, result.received)
