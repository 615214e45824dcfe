"""What a run asks of its budget: the mechanisms of each stage and their shares."""

from __future__ import annotations

from medvae.atlas import mechanisms as atlas_mechanisms
from medvae.atlas.budget import KNOWN_MEAN
from medvae.config import RunConfig
from medvae.errors import UsageError
from medvae.privacy import recentre
from medvae.train import anatomy as anatomy_stage
from medvae.train import cosines as cosine_stage
from medvae.train import finetune as dp
from medvae.train import prior_fit
from medvae.train.public import dims_of

# Name, share of the budget, sample rate, steps.
Request = tuple[str, float, float, int]


def stage_requests(cfg: RunConfig, patients: int) -> list[Request]:
    """Mechanisms of a run: (name, share of the budget, sample rate, steps); the shares sum to 1.

    Public: depends on the configuration and the number of patients alone. The share of a stage
    without steps or rank goes to the others.

    Raises:
        UsageError: an atlas of one slice, or nothing that anything could be drawn from.
    """
    if cfg.cosines.share > 0:
        return cosine_stage.requests(cfg)
    requests: list[Request] = []
    for name, part in anatomy_stage.mechanisms(cfg) if cfg.anatomy.share > 0 else ():
        requests += anatomy_stage.requests(name, cfg.anatomy.share * part, cfg, patients)
    if dims_of(cfg) == 3:
        for name, part in atlas_mechanisms(cfg, cfg.data.labels > 0, patients):
            requests += _statistic(name, cfg.atlas.share * part, cfg, patients)
    elif cfg.atlas.share > 0:
        raise UsageError("an atlas needs volumes: set atlas.share to 0 for a grid of one slice")
    tune = cfg.finetune
    if tune.steps > 0:
        requests.append((dp.STAGE, tune.share, tune.sample_rate, tune.steps))
    for name, part in prior_fit.split(cfg).items():
        requests.append((name, cfg.prior.share * part, 1.0, 1))
    requests = [request for request in requests if request[1] > 0]
    sampled = cfg.atlas.share + cfg.anatomy.share > 0
    if not any(name in prior_fit.NAMES for name, *_ in requests) and not sampled:
        raise UsageError(
            "nothing to draw from: give anatomy.share, atlas.share or prior.share some budget"
        )
    total = sum(request[1] for request in requests)
    return [(name, share / total, rate, steps) for name, share, rate, steps in requests]


def _statistic(name: str, share: float, cfg: RunConfig, patients: int) -> list[Request]:
    """One statistic of the atlas; recentred, unless its mean is known beforehand."""
    parts = [(name, share)]
    if name not in KNOWN_MEAN:
        parts = recentre.requests(name, share, cfg.privacy.epsilon, patients)
    return [(mechanism, part, 1.0, 1) for mechanism, part in parts]
