"""A private run, resumable: [atlas -> VAE on its samples] -> DP-SGD -> latent prior.

Or the cosine model alone.

Formal guarantee: the artifact is a function of the outputs of the plan's mechanisms, of
public constants and of the key's noise; it is as private as their composition, which the
plan accounts for. No loss, count or statistic of a patient is reported during the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.scan import Scan
from medvae.atlas import Atlas
from medvae.atlas import fit as fit_atlas
from medvae.config import RunConfig
from medvae.errors import UsageError
from medvae.grid import Gridded
from medvae.model import VAE, Artifact, LatentPrior
from medvae.model.artifact import FORMAT, model_facts
from medvae.privacy import NoiseSource, Plan, parallel
from medvae.privacy.arguments import resolve_precision
from medvae.privacy.ranks import ALONE, Ranks
from medvae.progress import SILENT, Progress
from medvae.threads import one_thread
from medvae.train import anatomy as anatomy_stage
from medvae.train import continuing, prior_fit
from medvae.train import cosines as cosine_stage
from medvae.train import finetune as dp
from medvae.train import sites as site_stage
from medvae.train.codes import Codes
from medvae.train.loop import Schedule, train_freely
from medvae.train.public import start, wants_bf16
from medvae.train.release import PlannedRelease
from medvae.train.stages import Stages
from medvae.train.state import CheckpointStore, NullCheckpointStore

# The name stands in checkpoints and must not change.
_SAMPLES_STAGE = "curriculum"


class Patients(Protocol):
    """The cohort, decrypted in memory only."""

    subjects: list[str]

    def __len__(self) -> int: ...

    def volumes(self, index: int) -> list[Gridded]: ...

    def scans(self, index: int) -> list[Scan]: ...


def train(
    cfg: RunConfig,
    plan: Plan,
    patients: Patients,
    *,
    key: bytes,
    init: Artifact | None = None,
    anatomy: CohortAnatomy | None = None,
    checkpoint: CheckpointStore | None = None,
    device: str = "cpu",
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
    threads: int | None = None,
) -> Artifact:
    """Run the plan. An interrupted run, continued with the same arguments, gives the same result.

    So does a run by several processes: statistics of the anatomy model and of cosines are summed
    over the ranks' patients, and so are gradients on a CPU; all else is the first rank's.

    Args:
        cfg: what the plan was made from.
        plan: already debited.
        patients: as many as the plan says.
        key: 32 bytes, bound to plan and data set; all private randomness comes from it.
        init: a public model to start from, or the private one that the plan names; None: the
            shipped one, or fresh weights.
        anatomy: the library's entry that the configuration names, ready for the cohort.
        checkpoint: where the state is kept after each stage and every few steps.
        device: "cpu" or "cuda"; of the first rank, the others compute on a CPU.
        progress: gets stages and steps.
        ranks: the processes that share the patients; each calls this with the same arguments and
            a `checkpoint` that loads the same state.
        threads: patients of this process that the anatomy model measures at a time, each on its
            own grid; None: by the cores. The result is the same for any.

    Raises:
        UsageError: the number of patients is not the plan's, `init` is another network, or
            `anatomy` is not what the configuration names.
        IntegrityError: `init` was trained on patients, and is not the model of the plan.
    """
    if len(patients) != plan.patients:
        raise UsageError(
            f"the plan is for {plan.patients} patients and the data set has {len(patients)}; "
            "make a plan for this data set"
        )
    if (anatomy.digest if anatomy else "") != cfg.anatomy.digest:
        raise UsageError("the anatomy entry is not the one that the configuration names")
    continuing.check_bound(plan, init)
    stages = Stages.resume(checkpoint or NullCheckpointStore(), ranks)
    noise = NoiseSource(key, _binding(cfg, device))
    if cfg.cosines.share > 0:
        with one_thread():
            cosines = cosine_stage.released(cfg, plan, patients, noise, stages, progress)
        facts = _facts(cfg, plan, cosine_stage.facts(cosines))
        return Artifact(cosine_stage.tensors(cosines), facts)
    # Everything that enters a private sum is added in one order on every machine.
    with one_thread():
        model = _initial(cfg, init).to(device if ranks.rank == 0 else "cpu")
        people = None
        if anatomy is not None:
            earlier = continuing.continued(anatomy, init, plan.patients)
            people = anatomy_stage.released(
                anatomy, plan, patients, noise, stages, progress, earlier, threads
            )
            patches = partial(anatomy_stage.patches, people, cfg)
            train_on_samples(model, patches, cfg, stages, progress)
        atlas = _atlas(cfg, plan, patients, noise, stages, progress)
        if atlas is not None:
            images = partial(_images, atlas, cfg)
            train_on_samples(model, images, cfg, stages, progress)
    _finetune(model, patients, cfg, plan, key, noise, stages, device, progress)
    prior = _prior(model, atlas, patients, cfg, plan, noise, stages, progress)
    artifact = _artifact(cfg, plan, model, prior, atlas, people)
    ancestors = continuing.ancestry(init, plan.constants.get("continues", {}).get("name", ""))
    if ancestors:
        both = continuing.composed(plan, ancestors)
        artifact.facts |= {"continues": ancestors, "epsilon": both}
    return artifact


def _binding(cfg: RunConfig, device: str) -> str:
    """Everything that may change the last bits of a sum; noise is bound to it.

    Otherwise two copies of a sealed run, continued on two machines, would share their noise and
    differ by the rounding of the patients' data alone.
    """
    kind = torch.device(device)
    return f"{kind.type} {resolve_precision(cfg.compute.precision, kind)} {cfg.compute.chunk}"


def _initial(cfg: RunConfig, init: Artifact | None) -> VAE:
    from medvae.model.artifact import load_weights

    if init is None:
        return start(cfg)
    model = start(
        cfg.model_copy(update={"pretrain": cfg.pretrain.model_copy(update={"init": None})})
    )
    if init.facts["model"]["config"] != cfg.model.model_dump(mode="json"):
        raise UsageError("--init is another network than the configuration's section model")
    load_weights(model, init.weights())
    return model


def _atlas(
    cfg: RunConfig,
    plan: Plan,
    patients: Patients,
    noise: NoiseSource,
    stages: Stages,
    progress: Progress,
) -> Atlas | None:
    if cfg.atlas.share == 0:
        return None

    def measured() -> dict[str, torch.Tensor]:
        atlas = fit_atlas(patients, PlannedRelease(plan, noise), cfg, progress=progress)
        return {k: torch.from_numpy(v.copy()) for k, v in atlas.to_tensors().items()}

    # Read from the stored tensors: a resumed run must use the same rounded numbers.
    done = stages.once("atlas", measured)
    return Atlas.from_tensors({k: v.numpy() for k, v in done.items()})


def _images(atlas: Atlas, cfg: RunConfig) -> list[npt.NDArray[np.float32]]:
    return [image for image, _ in atlas.pairs(cfg.atlas.samples, cfg.seed)]


def train_on_samples(
    model: VAE,
    draw: Callable[[], Sequence[npt.NDArray[np.float32]]],
    cfg: RunConfig,
    stages: Stages,
    progress: Progress,
) -> None:
    """Train the VAE on samples of the released atlas or anatomy: post-processing, of any length."""

    def trained() -> dict[str, torch.Tensor]:
        images = draw()
        samples = torch.from_numpy(np.stack(images))[:, None] if images else None
        steps = cfg.atlas.steps if images else 0
        size = cfg.pretrain.batch

        def batches(step: int) -> torch.Tensor:
            assert samples is not None
            numbers = [(step * size + i) % len(samples) for i in range(size)]
            return samples[numbers].to(next(model.parameters()).device)

        rate = cfg.pretrain.learning_rate / 4.0
        schedule = Schedule(steps, rate, cfg.seed, bf16=wants_bf16(cfg))
        train_freely(
            model,
            batches,
            schedule,
            stage="VAE on drawn volumes",
            progress=progress,
            store=stages.store(_SAMPLES_STAGE),
        )
        return model.state_dict()

    model.load_state_dict(stages.once(_SAMPLES_STAGE, trained))


def _finetune(
    model: VAE,
    patients: Patients,
    cfg: RunConfig,
    plan: Plan,
    key: bytes,
    noise: NoiseSource,
    stages: Stages,
    device: str,
    progress: Progress,
) -> None:
    if dp.STAGE not in {mechanism.name for mechanism in plan.mechanisms}:
        model.requires_grad_(False)
        return

    def tuned() -> dict[str, torch.Tensor]:
        dp.finetune(
            model,
            patients.volumes,
            cfg,
            plan.mechanism(dp.STAGE),
            patients=plan.patients,
            key=key,
            noise=noise,
            store=stages.store(dp.STAGE),
            progress=progress,
        )
        return model.state_dict()

    done = stages.result(dp.STAGE)
    if done is None and torch.device(device).type == "cpu":
        # Gradients of several ranks add up exactly on one kind of device.
        with parallel.using(stages.ranks):
            done = stages.finish(dp.STAGE, tuned())
    model.load_state_dict(stages.once(dp.STAGE, tuned) if done is None else done)
    model.requires_grad_(False)


def _prior(
    model: VAE,
    atlas: Atlas | None,
    patients: Patients,
    cfg: RunConfig,
    plan: Plan,
    noise: NoiseSource,
    stages: Stages,
    progress: Progress,
) -> LatentPrior | None:
    mechanisms = {
        mechanism.name: mechanism
        for mechanism in plan.mechanisms
        if mechanism.name in prior_fit.NAMES
    }
    if not mechanisms:
        return None
    codes = Codes(model, atlas, patients.volumes, cfg)

    def fitted() -> dict[str, torch.Tensor]:
        with one_thread():
            prior = prior_fit.fit_prior(
                codes,
                plan.patients,
                codes.shape,
                codes.public(),
                cfg.prior,
                mechanisms,
                noise,
                progress,
            )
        return prior.to_tensors()

    return LatentPrior.from_tensors(stages.once("prior", fitted), codes.shape)


def _artifact(
    cfg: RunConfig,
    plan: Plan,
    model: VAE,
    prior: LatentPrior | None,
    atlas: Atlas | None,
    anatomy: AnatomyModel | None,
) -> Artifact:
    tensors = {f"model.{k}": v.cpu() for k, v in model.state_dict().items()}
    if prior is not None:
        tensors |= {f"prior.{k}": v for k, v in prior.to_tensors().items()}
    if atlas is not None:
        arrays = atlas.to_tensors()
        tensors |= {f"atlas.{k}": torch.from_numpy(v.copy()) for k, v in arrays.items()}
    if anatomy is not None:
        tensors |= anatomy_stage.tensors(anatomy)
    facts = _facts(cfg, plan, model_facts(cfg.model, model))
    if anatomy is not None:
        facts["anatomy"] = anatomy_stage.provenance(anatomy.cohort)
        site_facts = site_stage.facts(anatomy, plan)
        if site_facts is not None:
            facts["sites"] = site_facts
    return Artifact(tensors, facts)


def _facts(cfg: RunConfig, plan: Plan, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": "private",
        "private": True,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "config": cfg.public(),
        "model": model,
        "plan": plan.to_json(),
        "stages": list(_names(mechanism.name for mechanism in plan.mechanisms)),
    }


def _names(names: Iterable[str]) -> list[str]:
    """Stages in order, each once: the part of a mechanism's name before the dot or dash."""
    return list(dict.fromkeys(name.replace("-", ".").partition(".")[0] for name in names))
