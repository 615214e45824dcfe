"""medvae pretrain"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.flags import arguments
from medvae.options.train import PretrainOptions

AFTER = "plan"


@flags(PretrainOptions)
def run(options: PretrainOptions) -> None:
    """Train the public stage on procedural volumes. No patient is involved."""
    with progress() as bar:
        result = settings.session().pretrain(**arguments(options, bar))
    show(result, [f"Model {options.name}: {result.parameters:,} parameters, public."])
