"""medvae evaluate"""

from __future__ import annotations

from medvae.cli.flags import flags
from medvae.cli.output import note, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.evaluate import EvaluateOptions
from medvae.options.flags import arguments


@flags(EvaluateOptions)
def run(options: EvaluateOptions) -> None:
    """Measure fidelity, diversity and downstream use of synthetic volumes against real ones."""
    with progress() as bar:
        result = settings.session().evaluate(**arguments(options, bar))
    note("Figures on private patients: they stay in the tenant.")
    others = list(result.baselines.values())
    rows = [
        (
            name,
            metric.value,
            *(None if (same := other.get(name)) is None else same.value for other in others),
            metric.real,
            metric.extractor or "",
        )
        for name, metric in result.metrics.items()
    ]
    lines = table(("figure", "synthetic", *result.baselines, "real half", "features"), rows)
    show(result, [*lines, *(f"not measured: {reason}" for reason in result.not_measured)])
