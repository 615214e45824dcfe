"""A configuration resolved for a data set: for a plan, and for a run that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import anatomy_choice, datasets, declaration
from medvae.api.records import Contents, Manifest, RunRecord, section
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.config import DataConfig, RunConfig
    from medvae.privacy import Plan
    from medvae.vault import Tenant


def resolve(tenant: Tenant, cfg: RunConfig, manifest: Manifest) -> RunConfig:
    """The configuration with what the data set and its size decide, and digests of public files.

    Raises:
        UsageError: labels, classes or the unit of privacy are not declared or not as configured,
            or the public template or the anatomy entry cannot be used.
    """
    settled = anatomy_choice.choose(tenant, _declared(cfg, manifest))
    settled = _check_channels(_check_sites(settled), manifest["name"])
    return _with_template(settled.resolved(len(datasets.subjects(manifest))))


def _declared(cfg: RunConfig, manifest: Manifest) -> RunConfig:
    """The configuration with what its data set declares: label scheme, classes, unit."""
    declared = manifest.get("declared", declaration.UNDECLARED)
    scheme = _scheme(cfg.data, declared["label_scheme"], manifest)
    facts = {
        "label_scheme": scheme,
        "labels": len(scheme),
        "classes": _classes(cfg.data, declared["classes"], manifest),
        "sites": _sites(cfg.data, declared.get("sites"), manifest),
        "channels": _channels(cfg, manifest),
        "modalities": _modalities(cfg.data, manifest),
    }
    _check_crop(cfg.data, scheme, manifest)
    unit = {"unit": _unit(cfg.privacy.unit, manifest)}
    data = cfg.data.model_copy(update=facts)
    try:
        data.check_windows()
    except ValueError as error:
        raise UsageError(f"{error} (data set {manifest['name']})") from error
    return cfg.model_copy(
        update={
            "data": data,
            "privacy": cfg.privacy.model_copy(update=unit),
        }
    )


def _check_crop(data: DataConfig, scheme: dict[str, str], manifest: Manifest) -> None:
    """Refuse to crop to labels that a volume has not, before anything is spent."""
    numbers = {int(number) for number in scheme}
    without = sum(
        numbers.isdisjoint(declaration.label_values(entry)) for entry in manifest["volumes"]
    )
    if data.crop == "labels" and without:
        raise UsageError(
            f"data.crop is labels, but {without} of the {len(manifest['volumes'])} volumes of data "
            f"set {manifest['name']} show none of them: leave these out, or set data.crop to body"
        )


def _scheme(
    data: DataConfig, declared: dict[str, str] | None, manifest: Manifest
) -> dict[str, str]:
    """Number in the masks -> name of the labels to learn: as configured, else as declared."""
    from medvae.config import MAX_LABELS, label_scheme

    scheme = declared if data.label_scheme is None else data.label_scheme
    if data.labels == 0:
        return {}
    if scheme is None:
        if data.labels > 0:
            return {str(number): f"label {number}" for number in data.label_numbers}
        if any(entry["mask"] for entry in manifest["volumes"]):
            name = manifest["name"]
            raise UsageError(
                f"data set {name} has masks, but nobody has declared what their labels are; run "
                f"medvae dataset declare {name} --label-scheme 1=name,2=name, or set data.labels "
                "to 0 to learn none"
            )
        return {}
    if data.labels > len(scheme):
        raise UsageError(
            f"data.labels is {data.labels}, but data set {manifest['name']} declares "
            f"{len(scheme)} labels; leave data.labels out, or declare more (medvae dataset declare)"
        )
    count = len(scheme) if data.labels < 0 else data.labels
    if count > MAX_LABELS:
        raise UsageError(
            f"data set {manifest['name']} declares {count} labels, and a model learns at most "
            f"{MAX_LABELS}; name those to learn in data.label_scheme, or set data.labels to 0"
        )
    # JSON with sorted keys, as manifests are stored, has 10 before 2.
    return dict(list(label_scheme(scheme).items())[:count])


def _channels(cfg: RunConfig, manifest: Manifest) -> tuple[str, ...]:
    """The channels that every volume of the data set has."""
    wanted, name = cfg.data.channels, manifest["name"]
    if {entry["modality"] for entry in manifest["volumes"]} != {cfg.data.modality}:
        return wanted  # Another configuration is needed, and the cohort refuses this one.
    orders = {tuple(entry.get("channels", ())) for entry in manifest["volumes"]}
    if len(orders) > 1:
        several = " and ".join(", ".join(names) or "none" for names in sorted(orders))
        raise UsageError(
            f"the volumes of data set {name} have different channels ({several}); ingest those of "
            "one kind as a data set of their own"
        )
    (channels,) = orders
    if wanted not in ((), channels):
        raise UsageError(
            f"data.channels is {', '.join(wanted)}, but the volumes of data set {name} have "
            f"{', '.join(channels) or 'none'}; leave data.channels out"
        )
    return channels


def _check_channels(cfg: RunConfig, name: str) -> RunConfig:
    """Refuse channels where nothing draws them together, and to train a network on patients'."""
    if cfg.data.channels and cfg.cosines.share < 1 and not cfg.anatomy.used:
        raise UsageError(
            f"data set {name} has the channels {', '.join(cfg.data.channels)}, which the cosine "
            "model draws together, or an anatomy: use -c contrasts, or name in anatomy.library an "
            "entry of the public library (medvae anatomy list) that has label maps of the region, "
            "or patients, which needs contrasts of MRI, masks and data.spacing"
        )
    if cfg.data.channels and cfg.finetune.share > 0:
        raise UsageError(
            f"data set {name} has the channels {', '.join(cfg.data.channels)}, and the network "
            "that finetune.share trains takes one image: set finetune.share to 0 and anatomy.share "
            "to 1"
        )
    return cfg


def _modalities(data: DataConfig, manifest: Manifest) -> tuple[str, ...]:
    """The modality of each channel, where the data set has channels of several."""
    name = manifest["name"]
    if {entry["modality"] for entry in manifest["volumes"]} != {data.modality}:
        return data.modalities  # The cohort refuses this configuration.
    orders = {tuple(entry.get("modalities", ())) for entry in manifest["volumes"]}
    if len(orders) > 1:
        several = " and ".join(", ".join(o) or data.modality for o in sorted(orders))
        raise UsageError(
            f"the volumes of data set {name} have channels of different modalities ({several}); "
            "ingest those of one kind as a data set of their own"
        )
    (order,) = orders
    if data.modalities not in ((), order):
        raise UsageError(
            f"data.modalities is {', '.join(data.modalities)}, but the channels of data set {name} "
            f"are {', '.join(order) or data.modality}; leave data.modalities out"
        )
    return order


def _classes(data: DataConfig, declared: int | None, manifest: Manifest) -> int:
    """The number of classes to learn: as configured, else as declared."""
    if data.classes >= 0:
        return data.classes
    if declared is None and any("class" in entry for entry in manifest["volumes"]):
        name = manifest["name"]
        raise UsageError(
            f"data set {name} has a class column, but nobody has declared how many classes there "
            f"are; run medvae dataset declare {name} --classes N, or set data.classes to 0 to "
            "learn none"
        )
    return declared or 0


def _sites(data: DataConfig, declared: Sequence[str] | None, manifest: Manifest) -> tuple[str, ...]:
    """The sites to learn apart: as configured, else as declared."""
    sites, name = data.sites if data.sites is not None else declared, manifest["name"]
    has_sites = any("site" in entry for entry in manifest["volumes"])
    if sites is None and has_sites:
        raise UsageError(
            f"data set {name} has a site column, but nobody has declared which sites there are; "
            f"run medvae dataset declare {name} --sites a,b, or set data.sites to [] to learn none "
            "apart"
        )
    if sites and not has_sites:
        raise UsageError(
            f"the sites {', '.join(sites)} are declared, but no volume of data set {name} has one: "
            "ingest again with a table that has them (--subjects, --site-column), or set "
            "data.sites to []"
        )
    return tuple(sites or ())


def _check_sites(cfg: RunConfig) -> RunConfig:
    """Refuse sites where nothing of them would be learnt, before anything is spent."""
    if cfg.data.sites and not cfg.anatomy.used:
        model = "the cosine model" if cfg.cosines.share > 0 else "the atlas"
        anatomy = "anatomy.library auto or patients, which needs data.spacing"
        if cfg.data.channels:
            anatomy = (
                "anatomy.library patients, which needs contrasts of MRI, masks and data.spacing, "
                "or an entry of label maps"
            )
        raise UsageError(
            f"the sites {', '.join(cfg.data.sites)} are declared, and {model} has no statistics of "
            f"sites: draw from an anatomy ({anatomy}), or set data.sites to [] to learn all as one"
        )
    return cfg


def _unit(declared: str | None, manifest: Manifest) -> str:
    """Who is protected, as the data set recorded it."""
    unit = manifest.get("unit")
    name = manifest["name"]
    if unit is None:
        raise UsageError(
            f"data set {name} does not record who a patient is; run medvae dataset declare {name} "
            "with --subjects-are-patients or --files-are-patients"
        )
    if declared not in (None, unit):
        raise UsageError(
            f"privacy.unit is {declared}, but the subjects of data set {name} are "
            f"{'patients' if unit == 'patient' else 'single files'}; leave privacy.unit out"
        )
    return str(unit)


def _with_template(cfg: RunConfig) -> RunConfig:
    """The configuration with the digest of its public template, which is good to be used.

    Raises:
        UsageError: it cannot be read, or is another than the digest that is there says.
    """
    from medvae.atlas import public

    digest = public.digest(cfg)
    if cfg.atlas.public_digest not in ("", digest):
        raise UsageError(
            f"the public template {cfg.atlas.public} or its labels are not the files that "
            "atlas.public_digest stands for; put those files back"
        )
    if digest:
        public.load(cfg)
    return cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update={"public_digest": digest})})


def reopen(tenant: Tenant, run: RunRecord, cfg: RunConfig) -> tuple[RunConfig, Plan, Manifest]:
    """The configuration, plan and manifest that the run was begun with.

    Compute knobs may differ; whatever is public and could change the result may not.

    Raises:
        UsageError: the configuration is another than the run's; names the first key. Or a
            patient was erased since, and the run is not done.
    """
    from medvae.config import RunConfig
    from medvae.privacy import Plan

    manifest = datasets.load(tenant, run["dataset"])
    stored = RunConfig.model_validate(run["config"])
    manifest_then = _as_begun(manifest, stored)
    begun = _declared(stored, manifest_then)
    plan = Plan.from_json(run["plan"])
    _check_patients(run, plan, manifest)
    begun, cfg = _with_entry(begun, _declared(cfg, manifest_then))
    if "alone_below" in section(run, "atlas"):
        # Shares are for as many patients as were planned for, though some may be erased by now.
        cfg = cfg.resolved(plan.patients)
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
                "begun with; put them back and resume, which spends nothing more"
            )
        raise UsageError(
            f"run {run['name']!r} was begun with another {key}; "
            "resume with the configuration that it was begun with, which spends nothing more"
        )
    return cfg, plan, manifest


def _with_entry(begun: RunConfig, cfg: RunConfig) -> tuple[RunConfig, RunConfig]:
    """Both with the anatomy entry that the run was begun with, where `cfg` names no other.

    What `auto` stands for may be another entry today. A run of an earlier version has none.
    """
    if begun.anatomy.used:
        if cfg.anatomy.library in ("auto", begun.anatomy.library):
            cfg = cfg.with_library(begun.anatomy.library, begun.anatomy.digest)
        return begun, cfg
    none = {"library": "none"}
    begun = begun.model_copy(update={"anatomy": begun.anatomy.model_copy(update=none)})
    if cfg.anatomy.library == "auto":
        cfg = cfg.model_copy(update={"anatomy": cfg.anatomy.model_copy(update=none)})
    return begun, cfg


def _check_patients(run: RunRecord, plan: Plan, manifest: Manifest) -> None:
    """A run's sums are over the patients that it was charged to, each of them."""
    left = len(datasets.subjects(manifest))
    if run["state"] != "done" and left != plan.patients:
        raise UsageError(
            f"run {run['name']!r} was begun with {plan.patients} patients, of whom {left} are left "
            f"in data set {run['dataset']}: it cannot be finished without those who were erased, "
            "and what it was charged stays in the ledger (see medvae budget)"
        )


def _as_begun(manifest: Manifest, begun: RunConfig) -> Manifest:
    """The manifest with what a run of an earlier version took from it in place of declarations.

    Such a run measured its labels and classes. Who its subjects were was not recorded; that
    each file is protected holds either way.
    """
    if manifest.get("unit") is not None:
        return manifest
    scheme = {str(number): f"label {number}" for number in begun.data.label_numbers}
    measured: Contents = {
        "volumes": manifest["volumes"],
        "declared": {"label_scheme": scheme, "classes": max(begun.data.classes, 0)},
        "unit": "file",
    }
    return {**manifest, **measured}


def _template_there(cfg: RunConfig) -> bool:
    named = (cfg.atlas.public, cfg.atlas.public_labels)
    return all(Path(name).is_file() for name in named if name not in (None, "none", "mni152"))


def _differing(cfg: RunConfig, other: RunConfig) -> str:
    """The first key that two configurations differ in, as `--set` names it."""
    first, second = cfg.public(), other.public()
    for name, value in first.items():
        if value == second[name]:
            continue
        if not isinstance(value, dict):
            return str(name)
        return next(f"{name}.{key}" for key in value if value[key] != second[name][key])
    return "configuration"
