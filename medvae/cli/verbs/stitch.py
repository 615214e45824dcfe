"""medvae stitch"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import note, show
from medvae.cli.progress import progress
from medvae.options.flags import arguments
from medvae.options.stitch import StitchOptions

AFTER = "generate"


@flags(StitchOptions)
def run(options: StitchOptions) -> None:
    """Make one volume or picture of overlapping parts; needs no vault."""
    from medvae.api import stitch

    with progress() as bar:
        result = stitch(**arguments(options, bar))
    note("The output shows the person that the parts show: it is not synthetic.")
    lines = [f"{result.output}: {' x '.join(map(str, result.shape))}"]
    for part in result.transforms:
        if part.start != "first":
            lines.append(
                f"{part.source}: placed from the {part.start}, correlation {part.correlation:.3f}, "
                f"gain {part.gain:.3f}"
            )
        lines += [f"  resampled: {reason}" for reason in part.resampled]
    show(result, lines)
