"""medvae train"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import duration, note, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.flags import arguments
from medvae.options.train import TrainOptions

AFTER = "pretrain"


@flags(TrainOptions)
def run(options: TrainOptions) -> None:
    """Train under patient-level differential privacy. The whole plan is debited first."""
    from medvae.api import follow_training

    if follow_training():
        # Another rank of torchrun than the first: that one says what there is to say.
        return
    with progress() as bar:
        result = settings.session().train(**arguments(options, bar))
    for remark in result.notes:
        note(f"Note: {remark}")
    guarantee = f"epsilon {result.epsilon:.4g}, delta {result.delta:.3g} for each {result.unit}"
    took = duration(result.seconds)
    lines = [f"Model {options.name}: {guarantee}; {result.steps} private steps in {took}."]
    if result.continues:
        lines.append(
            f"It goes on from {result.continues}; a {result.unit} of both has lost what both "
            "compose to (medvae budget)."
        )
    show(result, lines)
