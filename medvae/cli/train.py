"""medvae train"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import duration, note, show
from medvae.cli.plan import Config, Dataset, Epsilon, Overrides, SmallCohort
from medvae.cli.progress import progress
from medvae.cli.settings import settings


def run(
    config: Config,
    dataset: Dataset,
    name: Annotated[str, typer.Option(help="Name of the run and of the new model.")],
    epsilon: Epsilon = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Start from this model of medvae pretrain, or go on from this private model with "
            "the patients of another data set."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run of this name; spends nothing more.")
    ] = False,
    set_: Overrides = None,
    small_cohort: SmallCohort = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that share the patients; the same model for any number (default 1)."
        ),
    ] = None,
) -> None:
    """Train under patient-level differential privacy. The whole plan is debited first."""
    from medvae.api import follow_training

    if follow_training():
        # Another rank of torchrun than the first: that one says what there is to say.
        return
    with progress() as bar:
        result = settings.session().train(
            config,
            dataset,
            name,
            epsilon=epsilon,
            init=init,
            resume=resume,
            overrides=set_ or [],
            small_cohort=small_cohort,
            workers=workers,
            progress=bar,
        )
    for remark in result.notes:
        note(f"Note: {remark}")
    guarantee = f"epsilon {result.epsilon:.4g}, delta {result.delta:.3g} for each {result.unit}"
    took = duration(result.seconds)
    lines = [f"Model {name}: {guarantee}; {result.steps} private steps in {took}."]
    if result.continues:
        lines.append(
            f"It goes on from {result.continues}; a {result.unit} of both has lost what both "
            "compose to (medvae budget)."
        )
    show(result, lines)
