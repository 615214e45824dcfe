"""What `plan`, `pretrain` and `train` are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from medvae.options.flags import PathLike, flag
from medvae.progress import SILENT, Progress

_CONFIG = flag("Name of a preset (medvae config list), or a YAML file.", "-c", "--config", read=str)
_DATASET = flag("Data set, as name or name@version.", "-d", "--dataset")
_EPSILON = flag("Target epsilon, instead of privacy.epsilon.")
_OVERRIDES = flag("Set a configuration key: section.key=value. Repeatable.", "--set")
_SMALL_COHORT = flag("Accept fewer than 20 patients.", "--small-cohort")


@dataclass(frozen=True)
class PlanOptions:
    """`medvae plan`; `small_cohort`: fewer than 20 patients may do."""

    config: PathLike = field(metadata=_CONFIG)
    dataset: str = field(metadata=_DATASET)
    _: KW_ONLY
    epsilon: float | None = field(default=None, metadata=_EPSILON)
    overrides: Sequence[str] = field(default=(), metadata=_OVERRIDES)
    small_cohort: bool = field(default=False, metadata=_SMALL_COHORT)


@dataclass(frozen=True)
class PretrainOptions:
    """`medvae pretrain`."""

    config: PathLike = field(metadata=_CONFIG)
    name: str = field(metadata=flag("Name of the new model."))
    _: KW_ONLY
    overrides: Sequence[str] = field(default=(), metadata=_OVERRIDES)
    progress: Progress = SILENT


@dataclass(frozen=True)
class TrainOptions:
    """`medvae train`; `workers`: processes that share the patients.

    Attributes:
        listen: HOST:PORT at which all but this one join from other machines (`medvae.api.work()`).
        invitation: the new file by which they do.
        wait: minutes for which they are waited for.
    """

    config: PathLike = field(metadata=_CONFIG)
    dataset: str = field(metadata=_DATASET)
    name: str = field(metadata=flag("Name of the run and of the new model."))
    _: KW_ONLY
    epsilon: float | None = field(default=None, metadata=_EPSILON)
    init: str | None = field(
        default=None,
        metadata=flag(
            "Start from this model of medvae pretrain, or go on from this private model with "
            "the patients of another data set."
        ),
    )
    resume: bool = field(
        default=False,
        metadata=flag("Resume the run of this name; spends nothing more.", "--resume"),
    )
    overrides: Sequence[str] = field(default=(), metadata=_OVERRIDES)
    small_cohort: bool = field(default=False, metadata=_SMALL_COHORT)
    workers: int | None = field(
        default=None,
        metadata=flag(
            "Processes that share the patients; the same model for any number (default 1)."
        ),
    )
    listen: str | None = field(
        default=None,
        metadata=flag(
            "HOST:PORT at which all other processes join from other machines by TLS (medvae work); "
            "--workers counts them all, this one included. Needs --invitation."
        ),
    )
    invitation: PathLike | None = field(
        default=None,
        metadata=flag(
            "New file, mode 0600, by which they join; removed when all have, and at the end."
        ),
    )
    wait: float = field(
        default=10.0, metadata=flag("Minutes to wait for all to join (default 10).")
    )
    progress: Progress = SILENT
