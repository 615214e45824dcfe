"""medvae audit"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from medvae.cli.output import note, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.words import Volumes
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.api.results import AuditResult, EngineAudit, EngineFinding, Finding

AFTER = "evaluate"


def run(
    model: Annotated[str | None, typer.Argument(help="Name of a model.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Data set with patients that the model never saw.")
    ] = None,
    engine: Annotated[
        bool, typer.Option("--engine", help="Attack the private mechanisms instead of a model.")
    ] = False,
    n: Volumes = 32,
) -> int:
    """Attack a model with its own patients, or the private mechanisms with canaries."""
    if engine == (model is not None):
        raise UsageError("name a model, or say --engine to attack the engine itself")
    with progress() as bar:
        if model is None:
            from medvae.api import audit_engine

            result: AuditResult | EngineAudit = audit_engine(progress=bar)
        else:
            result = settings.session().audit(model, against=against, n=n, progress=bar)
            note("An audit that finds nothing proves nothing: the guarantee is epsilon.")
    show(result, _lines(result))
    return 0


def _lines(result: AuditResult | EngineAudit) -> list[str]:
    """One line a finding; of an engine's bounds the figures, aligned, of the rest the sentence."""
    attacks = getattr(result, "attacks", {"run": (), "not_run": ()})
    # "passed" is said of nothing where an attack was left out.
    good = "no success" if attacks["not_run"] else "passed"
    rows = [
        (good if finding.passed else "FAILED", finding.name, _sentence(finding))
        for finding in result.findings
    ]
    lines = [*_attacks(attacks), *table(("", "", ""), rows)]
    lines += [f"not run: {reason}" for reason in getattr(result, "not_run", ())]
    lines += [f"not attacked: {reason}" for reason in getattr(result, "not_attacked", ())]
    if not result.passed:
        return [*lines, "An attack succeeded." if result.findings else "No attack could be run."]
    skipped = f" Not run: {', '.join(attacks['not_run'])}." if attacks["not_run"] else ""
    return [*lines, f"No attack that was run succeeded.{skipped}"]


def _attacks(attacks: Mapping[str, Sequence[str]]) -> list[str]:
    """The first line: how many attacks were run, which, and which were not."""
    ran, left = attacks["run"], attacks["not_run"]
    if not ran and not left:
        return []
    if not left:
        return [f"All {len(ran)} attacks were run: {', '.join(ran)}."]
    return [
        f"{len(ran)} of {len(ran) + len(left)} attacks were run ({', '.join(ran) or 'none'}); "
        f"not run: {', '.join(left)}."
    ]


def _sentence(finding: Finding | EngineFinding) -> str:
    claimed, bound = getattr(finding, "claimed", None), getattr(finding, "epsilon_at_least", None)
    if claimed is None or bound is None:
        return finding.sentence
    return f"epsilon at least {bound:5.2f} of {claimed:5.2f} claimed"
