"""medvae evaluate"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvae.cli.flags import flags
from medvae.cli.output import note, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.evaluate import EvaluateOptions
from medvae.options.flags import arguments

if TYPE_CHECKING:
    from medvae.api.results import EvaluateResult

AFTER = "reconstruct"


def _sites(result: EvaluateResult) -> list[str]:
    """A line a site: whether its draws are nearer to its own patients than those of all sites."""
    figure = result.metrics.get("site_frechet")
    if figure is None:
        return []
    sites: dict[str, Any] = dict(figure.record["sites"])  # type: ignore[arg-type]
    return [
        f"site {name}: {site['own']:.4g} from its own patients, draws of all sites "
        f"{site['pooled']:.4g}"
        + ("" if site["nearer"] else "; its draws are not nearer than those of all sites")
        for name, site in sites.items()
    ]


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
    lines += _sites(result)
    show(result, [*lines, *(f"not measured: {reason}" for reason in result.not_measured)])
