"""A configuration settled for a data set: for a plan, and for a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvae.api import datasets
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.config import RunConfig
    from medvae.privacy import Plan
    from medvae.vault import Tenant


def resolve(cfg: RunConfig, manifest: dict[str, Any]) -> RunConfig:
    """The configuration with what the data set and its size decide, and the template's digest.

    Raises:
        UsageError: labels or classes are asked for that the data set does not have, or the
            public template cannot be used.
    """
    return _with_template(_declared(cfg, manifest).settled(len(datasets.subjects(manifest))))


def _declared(cfg: RunConfig, manifest: dict[str, Any]) -> RunConfig:
    declared = datasets.declared_labels(manifest)
    wanted = declared if cfg.data.labels < 0 else cfg.data.labels
    if wanted > declared:
        raise UsageError(
            f"data.labels is {wanted}, but data set {manifest['name']} has {declared} labels "
            "for all of its volumes; set data.labels to that, or ingest with --labels"
        )
    classes = datasets.declared_classes(manifest)
    kinds = classes if cfg.data.classes < 0 else cfg.data.classes
    if kinds and not classes:
        raise UsageError(
            f"data.classes is {kinds}, but the volumes of data set {manifest['name']} have no "
            "class; set data.classes to 0, or ingest with --class-column"
        )
    if 0 < kinds < classes:
        raise UsageError(
            f"data.classes is {kinds}, but data set {manifest['name']} has the classes 0 to "
            f"{classes - 1}; set data.classes to {classes}, or to 0 to learn none"
        )
    data = cfg.data.model_copy(update={"labels": wanted, "classes": kinds})
    return cfg.model_copy(update={"data": data})


def _with_template(cfg: RunConfig) -> RunConfig:
    """The configuration with the digest of its public template, which is good to be used.

    Raises:
        UsageError: it cannot be read, or is another than the digest that is there says.
    """
    from medvae.atlas import public

    seen = public.digest(cfg)
    if cfg.atlas.public_digest not in ("", seen):
        raise UsageError(
            f"the public template {cfg.atlas.public} or its labels are not the files that "
            "atlas.public_digest stands for; put them back, or begin another run"
        )
    if seen:
        public.known(cfg)
    return cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update={"public_digest": seen})})


def reopen(
    tenant: Tenant, run: dict[str, Any], cfg: RunConfig
) -> tuple[RunConfig, Plan, dict[str, Any]]:
    """The configuration, plan and manifest that the run was begun with.

    Compute knobs may differ; whatever is public and could change the result may not.

    Raises:
        UsageError: the configuration is another than the run's; names the first key.
    """
    from medvae.config import RunConfig
    from medvae.privacy import Plan

    manifest = datasets.load(tenant, run["dataset"])
    # What a run of an earlier version does not say is as the data set declares.
    begun = _declared(RunConfig.model_validate(run["config"]), manifest)
    plan = Plan.from_json(run["plan"])
    cfg = _declared(cfg, manifest)
    if "alone_below" in run["config"]["atlas"]:
        # Shares are for as many patients as were planned for, though some may be erased by now.
        cfg = cfg.settled(plan.patients)
    if cfg.prior.kind == "auto":
        # What auto stands for may be another today; the run's plan is made for what it was then.
        kind = {"kind": begun.prior.kind}
        cfg = cfg.model_copy(update={"prior": cfg.prior.model_copy(update=kind)})
    if run["state"] != "done" or _template_there(cfg):
        cfg = _with_template(cfg)
    elif not cfg.atlas.public_digest:
        # Of a finished run nothing is computed any more: its template may be gone.
        digest = {"public_digest": begun.atlas.public_digest}
        cfg = cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update=digest)})
    if begun.public() != cfg.public():
        key = _differing(begun, cfg)
        if key.endswith(".share") and begun.atlas.alone_below != cfg.atlas.alone_below:
            key = "atlas.alone_below"
        if key == "atlas.public_digest":
            raise UsageError(
                f"the public template or its labels are not the files that run {run['name']!r} was "
                "begun with; put them back, or choose another --name"
            )
        raise UsageError(
            f"run {run['name']!r} was begun with another {key}; "
            "resume with the same configuration or choose another --name"
        )
    return cfg, plan, manifest


def _template_there(cfg: RunConfig) -> bool:
    named = (cfg.atlas.public, cfg.atlas.public_labels)
    return all(Path(name).is_file() for name in named if name not in (None, "none", "mni152"))


def _differing(one: RunConfig, other: RunConfig) -> str:
    """The first key that two configurations differ in, as `--set` names it."""
    first, second = one.public(), other.public()
    for section, value in first.items():
        if value == second[section]:
            continue
        if not isinstance(value, dict):
            return str(section)
        return next(f"{section}.{key}" for key in value if value[key] != second[section][key])
    return "configuration"
