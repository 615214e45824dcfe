"""medvae work"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import duration, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.flags import arguments
from medvae.options.work import WorkOptions

AFTER = "train"


@flags(WorkOptions)
def run(options: WorkOptions) -> None:
    """Measure patients for a training that another machine leads, until its end. Writes nothing."""
    from medvae.api import work

    with progress() as bar:
        result = work(**(arguments(options, bar) | {"vault": settings.vault_path}))
    many = "1 process" if result.processes == 1 else f"{result.processes} processes"
    refused = f" ({result.refused} more found no place)" if result.refused else ""
    took = duration(result.seconds)
    show(
        result,
        [f"The training at {result.address} is done; {many} took part{refused}, for {took}."],
    )
