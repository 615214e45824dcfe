"""medvae generate"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import note, plural, show
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
    if not result.spacing_known:
        note(
            "Note: nobody declared a voxel size before the training (data.spacing): the files say "
            "1 mm, whatever that of the scans is"
        )
    show(result, [f"{plural(result.n, 'volume')} in {options.out} (seed {result.seed})."])
