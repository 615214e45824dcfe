"""medvae generate"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.flags import arguments
from medvae.options.generate import GenerateOptions

AFTER = "budget"


@flags(GenerateOptions)
def run(options: GenerateOptions) -> None:
    """Draw synthetic volumes from a model. Costs no privacy."""
    with progress() as bar:
        result = settings.session().generate(**arguments(options, bar))
    show(result, [f"{plural(result.n, 'volume')} in {options.out} (seed {result.seed})."])
