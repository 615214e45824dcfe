"""medvae pull"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.cli.flags import flags
from medvae.cli.output import note, plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.archives import PullOptions
from medvae.options.flags import arguments
from medvae.space import words

if TYPE_CHECKING:
    from medvae.api.results import IngestResult, Pulled

AFTER = "ingest"


@flags(PullOptions)
def run(options: PullOptions) -> None:
    """Read studies from an image archive (PACS) and ingest them, all or none.

    Nothing of a patient is written to a disk. Credentials are MEDVAE_PACS_USER and
    MEDVAE_PACS_PASSWORD, or MEDVAE_PACS_TOKEN.
    """
    with progress() as bar:
        result = settings.session().pull(**arguments(options, bar))
    show_received(options.dataset, result, result.pulled)


def show_received(dataset: str, result: IngestResult, got: Pulled) -> None:
    """What was received from an archive or a sender, and what became of it."""
    for remark in result.notes:
        note(f"Note: {remark}")
    lines = [
        f"Received {plural(got.instances, 'instance')} of {got.studies} "
        f"{'study' if got.studies == 1 else 'studies'} ({words(got.bytes)}).",
        f"{dataset}@{result.version}: {plural(result.volumes, 'volume')} of "
        f"{plural(result.subjects, result.unit or 'subject')} ({result.added} new).",
    ]
    show(result, [*lines, *(f"  refused {reason.line}" for reason in result.reasons)])
