"""The data-set card: what a release is, what protects the patients, what it is good for.

The privacy statement follows the parts that NIST SP 800-226 ("Guidelines for Evaluating
Differential Privacy Guarantees", 2025) says a claim must state: parameters, unit of privacy,
neighbouring relation, mechanisms and composition, trust model, implementation and side
channels, data collection, and what the claim does not cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from medvae import modality as modalities
from medvae.config import DataConfig
from medvae.release import hospitals
from medvae.release.facts import Check, PrivacyFacts, ReleaseFacts
from medvae.release.meaning import UNITS, readings, sentences
from medvae.release.quality import Quality
from medvae.release.scores import scores
from medvae.release.sites import LIMIT, of_card
from medvae.release.tables import VERSION

SCHEMA = "medvae-card-3"


def make_card(
    facts: ReleaseFacts,
    checks: Sequence[Check],
    volumes: int,
    masks: int,
    signer: str,
    quality: Quality | None = None,
) -> dict[str, Any]:
    """The card as JSON values. Everything in it is public; nothing is measured on patients."""
    data = facts.data
    privacy = privacy_statement(facts.privacy, facts.config)
    return {
        "schema": SCHEMA,
        "name": facts.name,
        "version": facts.version,
        "created": facts.created,
        "license": facts.license,
        "signer": signer,
        "generator": {"name": "medvae", "version": VERSION, **facts.software},
        "data": {
            "volumes": volumes,
            "label_maps": masks,
            "modality": data.modality,
            "body_part": facts.body_part,
            "grid": list(data.size),
            "spacing_mm": list(data.spacing or (1.0, 1.0, 1.0)),
            # Without data.spacing a voxel has the size that its scan had, which differs.
            "spacing_known": data.spacing is not None or bool(facts.model.get("anatomy")),
            **_units(data),
            "labels": facts.labels,
            "classes": class_note(facts),
            "seed": facts.seed,
            **_public_images(facts),
            **({"sites": list(data.sites)} if data.sites else {}),
        },
        **of_card(facts),
        "scores": scores(privacy, quality),
        "privacy": privacy,
        "model": dict(facts.model),
        "configuration": dict(facts.config),
        "gate": {
            "passed": all(check.passed for check in checks),
            "checks": [check.to_json() for check in checks],
        },
        "intended_use": list(_INTENDED),
        "out_of_scope": list(_OUT_OF_SCOPE),
        "known_limits": [*known_limits(facts), *facts.limits],
    }


def _units(data: DataConfig) -> dict[str, Any]:
    """The unit of intensities; of channels of several modalities that of each."""
    if not data.modalities:
        return {"units": modalities.get(data.modality).units.card}
    kinds = [modalities.get(kind) for kind in data.modalities]
    units = {name: kind.units.card for name, kind in zip(data.channels, kinds, strict=True)}
    return {
        "units": "; ".join(f"{name}: {unit}" for name, unit in units.items()),
        "modalities": list(data.modalities),
        "channel_units": units,
    }


def _public_images(facts: ReleaseFacts) -> dict[str, Any]:
    """What the card says of the images of public people; nothing where there are none."""
    return {} if facts.public is None else {"public_images": asdict(facts.public)}


def class_note(facts: ReleaseFacts) -> str:
    """What the column `class` of participants.tsv is, or that there is none."""
    count = facts.data.classes
    if count == 0:
        return "none"
    return (
        f"column class of participants.tsv, 0 to {count - 1} (declared): the class that a volume "
        "was generated as; shares and looks of the classes were released under the budget"
    )


def public_note(config: Mapping[str, Any]) -> list[str]:
    """That a file which a user declared public is that, if the configuration names one."""
    atlas = config.get("atlas", {})
    if not atlas.get("public_digest"):
        return []
    names = " and ".join(str(atlas[k]) for k in ("public", "public_labels") if atlas.get(k))
    return [
        f"the template that the user declared public ({names}, SHA-256 {atlas['public_digest']}) "
        "was made without these patients: it is no scan of one of them, and no average or model "
        "of them either; it was used without noise"
    ]


def looks_note(privacy: PrivacyFacts) -> str:
    """What was chosen without figures on patients, and how often such figures were looked at."""
    assert privacy.looks is not None
    evaluate, audit = privacy.looks.evaluate, privacy.looks.audit
    whose, when = "of this tenant", "this release"
    if privacy.hospitals:
        whose = "of these hospitals or of the tenant that joined them"
        when = "their exports and this release"
    before = (
        f"neither evaluate nor audit was run on patients {whose} before {when}"
        if evaluate + audit == 0
        else f"before {when}, evaluate was run {_times(evaluate)} and audit "
        f"{_times(audit)} on patients {whose}, and whatever was chosen by their figures is "
        "not covered by the guarantee"
    )
    return (
        "configuration, model, seed and number of volumes were not chosen by figures on these "
        f"patients: {before}"
    )


def _titled(mechanism: Mapping[str, Any]) -> dict[str, Any]:
    """A mechanism with its name as people read it, beside the one that plan and ledger keep."""
    from medvae.privacy.accounting import title_of

    return {"title": title_of(str(mechanism["name"])), **mechanism}


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def privacy_statement(privacy: PrivacyFacts, config: Mapping[str, Any]) -> dict[str, Any]:
    """The statement, part by part. For a public model it says that no patient was read.

    config: the public configuration (`RunConfig.public()`).
    """
    if privacy.training == "public":
        return {
            "guarantee": "no patient data",
            "summary": "The model was made from public and procedurally generated data only. "
            "No patient of the releasing institution was read, so no privacy budget applies.",
        }
    assert privacy.unit is not None
    assert privacy.account is not None
    assert privacy.looks is not None
    figures = readings(privacy)
    joint = _of_hospitals(privacy)
    return {
        "guarantee": "differential privacy",
        "summary": _summary(privacy),
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "unit": UNITS[privacy.unit],
        "unit_kind": privacy.unit,
        "neighbouring_relation": f"zero-out: one {privacy.unit}'s whole contribution is replaced "
        f"by nothing; the number of {privacy.unit}s is public (add/remove with N fixed)",
        **figures,
        "patients": privacy.patients,
        "trust_model": "central: the institution that holds the scans runs the training and is "
        "trusted with them; whoever receives this release is not trusted at all",
        "mechanisms": [_titled(mechanism) for mechanism in privacy.mechanisms],
        "composition": _composition(privacy),
        **({"continues": [dict(past) for past in privacy.continues]} if privacy.continues else {}),
        "accountant": privacy.accountant,
        "cross_check_epsilon": privacy.cross_check,
        "cross_check_accountant": privacy.cross_check_note,
        "plan_digest": privacy.plan_digest,
        "per_patient_limit": privacy.tenant_limit,
        "lost_in_all": {
            **asdict(privacy.account),
            "note": _lost_note(privacy),
        },
        "looks": asdict(privacy.looks),
        "interpretation": sentences(privacy, figures),
        "side_channels": SIDE_CHANNELS,
        "assumptions": [*_assumptions(privacy, config), *joint.pop("assumptions", [])],
        "not_covered": list(_NOT_COVERED),
        **joint,
    }


def _of_hospitals(privacy: PrivacyFacts) -> dict[str, Any]:
    """Parts of the statement that a joint model has in place of one institution's; {} of others."""
    if not privacy.hospitals:
        return {}
    assert privacy.everywhere is not None
    assert privacy.epsilon is not None
    joint = hospitals.statements(
        privacy.hospitals, privacy.everywhere, privacy.epsilon, privacy.unit or ""
    )
    return joint | {"assumptions": [joint.pop("assumption")]}


def _lost_note(privacy: PrivacyFacts) -> str:
    if privacy.hospitals:
        return (
            f"at none of the {len(privacy.hospitals)} hospitals has a {privacy.unit} lost more up "
            "to the export of its numbers, as each states: all its trainings composed; accounts of "
            "several hospitals are not linked"
        )
    return (
        f"no {privacy.unit} has lost more at this tenant up to the signing of this "
        "release: all its trainings composed, whoever took part in which, and at most the "
        "limit; accounts of other tenants are not linked to it"
    )


def _assumptions(privacy: PrivacyFacts, config: Mapping[str, Any]) -> list[str]:
    """What must hold for the guarantee to hold."""
    assert privacy.unit is not None
    return [
        *_ASSUMED[privacy.unit],
        f"the number of {privacy.unit}s is public, and a person declared the label scheme, "
        "the number of classes and the names of sites: they are facts of the study's protocol, "
        "not measured",
        looks_note(privacy),
        "the noise key was not disclosed",
        *public_note(config),
    ]


SIDE_CHANNELS = (
    "Noise and sampling come from a cryptographic generator keyed by a secret that is destroyed "
    "after the run. Patients' vectors are summed as integers, and the noise is a discrete Gaussian "
    "on the same integers, drawn exactly: no rounding reveals anything. Time, memory and power of "
    "the training machine are not covered: only this folder is released."
)
_ASSUMED = {
    "patient": ["every volume was assigned to the right patient when it was read in"],
    "file": ["no two files are of the same person: who has several is protected less, as a group"],
}

_NOT_COVERED = (
    "what others publish about the same patients: their losses add to this one",
    "facts about groups or about medicine: these are what the data set is for",
    "data collection: rights to use the scans are for the institution to establish",
)


def _composition(privacy: PrivacyFacts) -> str:
    after = "sampling the model is post-processing and costs nothing more"
    if not privacy.continues:
        return (
            "all mechanisms above composed in one plan, fixed and debited before the first private "
            f"step; {after}"
        )
    names = ", ".join(
        f"{past['name']} (epsilon {past['epsilon']:.4g}, {past['patients']} {privacy.unit}s)"
        for past in privacy.continues
    )
    who = (
        f"the mechanisms above are those of all of these trainings, composed, because a "
        f"{privacy.unit} may be in several (nothing here says whether one is); who is in one alone "
        "has lost that one's epsilon"
    )
    return (
        f"the training went on from {names}, and each had a plan that was fixed and debited before "
        f"its first private step; {who}; {after}"
    )


def _summary(privacy: PrivacyFacts) -> str:
    level = (
        "the level of the patient"
        if privacy.unit == "patient"
        else "the level of the file (no patient identifiers were given)"
    )
    several = privacy.continues or len(privacy.hospitals) > 1
    people = f"{'at most ' if several else ''}{privacy.patients} {privacy.unit}s"
    if privacy.hospitals:
        people += f" of {len(privacy.hospitals)} hospitals"
        level += f", for whoever is a {privacy.unit} of one of these hospitals"
    return (
        f"Everything in this release that depends on the {people} was "
        f"computed under ({privacy.epsilon:g}, {privacy.delta:g})-differential privacy at {level}."
    )


_INTENDED = (
    "developing and testing software that reads, moves, shows or segments such volumes",
    "teaching, challenges and prototypes that would otherwise wait for access to patients",
    "pre-training and augmentation, when the result is then checked on real patients",
)
_OUT_OF_SCOPE = (
    "diagnosis, treatment or any decision about a person",
    "evidence that an algorithm works on patients: test on real ones",
    "epidemiology: frequencies and effect sizes of the real cohort are not preserved",
    "attempts to find out who took part",
)


def anatomy_limits(anatomy: Mapping[str, Any]) -> list[str]:
    """What must be known of volumes that show public people, or the patients' mean maps."""
    if anatomy["kind"] == "tissues":
        return [
            "The patients' scans had no masks: shapes are mean maps of automatic tissues (body, "
            "gas and bone, or classes of dark and bright, that a public rule found in each scan), "
            "with smooth random variation. No organ is known, and none may be taken to be shown.",
            "Within and beside these tissues there is a mean picture and, where patients differ, "
            "made-up structure: nothing about texture or lesions can be learnt from it.",
        ]
    if anatomy["kind"] == "maps":
        return [
            "Labelled organs have the patients' mean shape with smooth random variation: no two "
            "organs of one person belong together beyond that.",
            "What is not labelled is a mean picture and, where patients differ, made-up structure: "
            "nothing can be learnt from it but that it is not the labelled organs.",
        ]
    return [
        f"Every volume shows one of {anatomy['people']} public people ({anatomy['source']}; "
        f"licence: {anatomy['licence']}; consent: {anatomy['consent'] or 'not stated'}) in a pose "
        "and in grey values that the patients' numbers say: what is not labelled is theirs, and "
        "recurs. Their licence decides what may be done with these volumes.",
        "Lesions and rare anatomy of the patients are not in it: a public person has none of them.",
    ]


def known_limits(facts: ReleaseFacts) -> list[str]:
    """What every release of this kind cannot do."""
    limits = [
        "Fine structure is smoother than in real scans; small lesions may be absent or wrong.",
        "Rare anatomy is under-represented: the guarantee makes any one patient's features "
        "invisible, and so the rare ones too.",
        "Fidelity was not measured on patients for this card, because such figures would "
        "themselves be private; ask the institution, or measure on your own patients.",
    ]
    for kind in dict.fromkeys(own.modality for own in facts.data.of_channels):
        limits += modalities.get(kind).limits_of_use
    if facts.data.labels:
        limits.append("Labels were generated with the images; no person has checked them.")
    if facts.model.get("statistics") == "cosines":
        finer = (
            "what is finer has the right strength, and its borders are made up."
            if facts.model.get("borders")
            else "sharp borders are blurred, and what is finer is noise of the right strength, "
            "not structure."
        )
        limits.append(f"Images are drawn from means and covariances of their slow waves: {finer}")
    if facts.public is not None:
        limits.append(
            f"{facts.public.count} images are not synthetic: they show public people "
            f"({facts.public.source}; licence: {facts.public.licence}; consent: "
            f"{facts.public.consent or 'not stated'}), and were resampled. They are no patients "
            "of the releasing institution, and the guarantee says nothing about them."
        )
    if facts.model.get("anatomy"):
        limits += anatomy_limits(facts.model["anatomy"])
    if facts.data.classes:
        limits.append(
            "A class says what the model was asked to draw, not what a reader would find; classes "
            "differ by what a few released numbers say about them."
        )
    if facts.data.sites:
        limits.append(LIMIT)
    if facts.privacy.hospitals:
        limits.append(
            "Numbers are those of several hospitals' patients taken together, and do not say what "
            "those of one are like; a hospital that made numbers up within its clip cannot be seen "
            "in them."
        )
    return limits
