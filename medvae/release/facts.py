"""What a release needs to know, and what it answers: plain facts, no voxels and no secrets.

Whatever stands in these classes is printed on the card. Nothing here may be computed from
private data without having been paid for in the plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from medvae import modality as modalities
from medvae.config import DataConfig
from medvae.errors import IntegrityError, UsageError
from medvae.release import hospitals
from medvae.release.continued import shown, worst_of

_LONGEST = 200


def _check_lines(*texts: str) -> None:
    """UsageError: one cannot go into tables and headings: a tab or a break would be structure."""
    for text in texts:
        if not text.isprintable() or len(text) > _LONGEST:
            raise UsageError(
                f"{text[:40]!r} must be one line of at most {_LONGEST} printable characters"
            )


Training = Literal["private", "public", "unprotected"]
Unit = Literal["patient", "file"]


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@dataclass(frozen=True)
class Account:
    """What no patient has lost more than at this tenant, at signing time (`Ledger.most`).

    Attributes:
        epsilon, delta: of all debits together; accounts of other tenants are not linked.
        debits: how many trainings the tenant was charged for, whoever the patients were.
    """

    epsilon: float
    delta: float
    debits: int


@dataclass(frozen=True)
class Looks:
    """How often figures on patients of the tenant were looked at before a release.

    Attributes:
        evaluate, audit: calls of these verbs, whoever the patients were: calls on data sets that
            share a patient with the model's would say which do.
    """

    evaluate: int
    audit: int


@dataclass(frozen=True)
class PrivacyFacts:
    """What protects the patients behind the model.

    Attributes:
        training: "private" (every number learnt from patients came out of a planned and
            debited mechanism), "public" (no patient was read), or "unprotected" (trained on
            patients without differential privacy: never released).
        epsilon, delta: the guarantee of the whole plan, all stages composed.
        planned_epsilon: the target that the plan was made and debited for; None is refused.
        patients: N, public under zero-out adjacency.
        unit: who is protected: the "patient" with all volumes, or the single "file" where no
            patient identifiers were given. None (never recorded) is refused.
        mechanisms: one mapping each: name, sample_rate, steps, noise_multiplier.
        accountant: how epsilon was computed.
        cross_check: a second accountant's epsilon; `cross_check_note` says whose, and its error.
        plan_digest: hex digest of the plan that the ledger debited.
        debited: whether the ledger holds the whole plan. Anything but True is refused.
        tenant_limit: the largest epsilon that one patient may spend at this tenant; None is
            refused.
        account: see `Account`; None (nobody looked) is refused.
        looks: see `Looks`; None (nobody counted) is refused.
        continues: the models that the training went on from, the nearest first, each with name,
            epsilon, delta, patients and plan_digest. Then epsilon and mechanisms are of all
            trainings together, and who is in several counts among the patients of each.
        hospitals: of a joint model those whose patients it is of (see `hospitals.shown`). Then
            epsilon and mechanisms are of the one whose patients have lost most, and `everywhere`
            is epsilon of somebody who is a patient of all of them.
    """

    training: Training
    epsilon: float | None = None
    delta: float | None = None
    planned_epsilon: float | None = None
    patients: int | None = None
    unit: Unit | None = None
    mechanisms: tuple[Mapping[str, Any], ...] = ()
    accountant: str = ""
    cross_check: float | None = None
    cross_check_note: str = ""
    plan_digest: str = ""
    debited: bool | None = None
    tenant_limit: float | None = None
    account: Account | None = None
    looks: Looks | None = None
    continues: tuple[Mapping[str, Any], ...] = ()
    hospitals: tuple[Mapping[str, Any], ...] = ()
    everywhere: float | None = None

    def __post_init__(self) -> None:
        if self.training not in get_args(Training):
            raise ValueError(f"training must be private, public or unprotected: {self.training!r}")

    @classmethod
    def from_model(
        cls,
        facts: Mapping[str, Any],
        *,
        debited: bool | None = None,
        tenant_limit: float | None = None,
        account: Account | None = None,
        looks: Looks | None = None,
    ) -> PrivacyFacts:
        """From a sealed model's own facts: its kind, its format and its plan.

        Raises:
            IntegrityError: the kind is unknown, or the plan is not one or was changed.
            BudgetError: its noise does not protect its patients (format 1).
        """
        kind: Any = facts.get("kind")
        if kind not in get_args(Training):
            raise IntegrityError(f"the model does not say how it was trained (kind {kind!r})")
        if kind != "private":
            return cls(kind)
        from medvae.model.artifact import check_outgoing
        from medvae.privacy import Plan, accountant_name, second_opinion

        check_outgoing(facts)
        given: dict[str, Any] = {
            "debited": debited,
            "tenant_limit": tenant_limit,
            "account": account,
        }
        if "hospitals" in facts:
            return cls("private", looks=looks, **given, **hospitals.privacy_of(facts))
        raw = facts.get("plan")
        if not raw:
            raise IntegrityError("the model was trained on patients but carries no plan")
        plan = Plan.from_json(raw if isinstance(raw, str) else json.dumps(raw))
        promised = facts.get("config", {}).get("privacy", {})
        earlier = facts.get("continues", [])
        plans = [plan, *(Plan.from_json(training["plan"]) for training in earlier)]
        worst = worst_of(plans, promised.get("epsilon"))
        second = second_opinion(worst.mechanisms, plan.delta)
        return cls(
            training="private",
            epsilon=worst.epsilon,
            delta=plan.delta,
            planned_epsilon=worst.planned,
            patients=sum(own_plan.patients for own_plan in plans),
            unit=promised.get("unit"),
            mechanisms=tuple(asdict(mechanism) for mechanism in worst.mechanisms),
            accountant=accountant_name(worst.mechanisms),
            cross_check=second.epsilon,
            cross_check_note=f"{second.accountant}; stated error {second.error:g}",
            plan_digest=plan.digest().hex(),
            looks=looks,
            **given,
            continues=tuple(
                shown(training["name"], its)
                for training, its in zip(earlier, plans[1:], strict=True)
            ),
        )


@dataclass(frozen=True)
class PublicImages:
    """Images of public people that a release holds beside the synthetic volumes.

    Attributes:
        count: how many.
        entry, digest: of the anatomy library.
        source, licence, consent: as the entry has them; the licence by its SPDX name.
    """

    count: int
    entry: str
    digest: str
    source: str
    licence: str
    consent: str | None = None

    def __post_init__(self) -> None:
        _check_lines(self.source, self.licence, self.consent or "")


@dataclass(frozen=True)
class ReleaseFacts:
    """A release's public description.

    Attributes:
        name: title of the synthetic data set, chosen by a person.
        data: the public grid (modality, size, spacing, window, labels).
        privacy: see `PrivacyFacts`.
        seed: of the generation.
        volumes: how many were asked for (None: whatever comes, but at least one).
        model: facts of the model that may be public (name, kind, parameters, digest...).
        config: the public configuration (`RunConfig.public()`).
        suffix: BIDS suffix of MR images ("T1w", "T2w", "FLAIR", "PDw", ...).
        body_part: in words, for instance "hippocampus" or "chest".
        label_names: names of the mask's labels in the order of their numbers, in place of the
            label scheme's.
        limits: known limits to add to those that every release has.
        created: ISO date. Part of the input, so that equal inputs give equal bytes.
        license: SPDX name or a sentence; the releasing institution decides.
        version: of the data set.
        software: versions that made the release.
        public: images of public people that are released, too.
        sites: what was released of the sites (`names`, `shares`, `level`, `differences`); empty
            without sites.
        structures: write label maps as contours (RTSTRUCT), too; in DICOM.
    """

    name: str
    data: DataConfig
    privacy: PrivacyFacts
    seed: int = 0
    volumes: int | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = "T1w"
    body_part: str = ""
    label_names: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    created: str = field(default_factory=_today)
    license: str = "to be set by the releasing institution"
    version: str = "1.0.0"
    software: Mapping[str, str] = field(default_factory=dict)
    public: PublicImages | None = None
    sites: Mapping[str, Any] = field(default_factory=dict)
    structures: bool = False

    def __post_init__(self) -> None:
        lines = (self.name, self.body_part, self.created, self.license, self.version)
        _check_lines(*lines, *self.label_names)
        if not self.name.strip():
            raise UsageError("a release needs a name")
        if self.privacy.training == "public":
            # "What the data set declares" was never asked for: it has neither labels nor classes.
            none = {name: 0 for name in ("labels", "classes") if getattr(self.data, name) < 0}
            object.__setattr__(self, "data", self.data.model_copy(update=none))

    @property
    def labels(self) -> dict[str, str]:
        """Number in the masks (as text) -> name."""
        scheme = self.data.label_scheme or {}
        numbers = self.data.label_numbers
        names = [scheme.get(str(number), f"label {number}") for number in numbers]
        names[: len(self.label_names)] = self.label_names[: len(names)]
        return {str(number): name for number, name in zip(numbers, names, strict=True)}

    @classmethod
    def from_model(
        cls,
        facts: Mapping[str, Any],
        *,
        n: int,
        seed: int,
        name: str | None = None,
        debited: bool | None = None,
        tenant_limit: float | None = None,
        account: Account | None = None,
        looks: Looks | None = None,
        **more: Any,
    ) -> ReleaseFacts:
        """From a sealed model's facts; only what is named here is taken over.

        Args:
            facts: `Artifact.facts` (kind, plan, config, model).
            n, seed: of the generation.
            name: title (default: by modality).
            debited, tenant_limit, account: what the tenant's ledger says.
            looks: what the tenant's audit log says.
            more: other attributes of `ReleaseFacts` (suffix, body_part, license, ...).

        Raises:
            IntegrityError: the facts do not hold a configuration, a kind or a plan.
        """
        config = facts.get("config")
        try:
            data = DataConfig.model_validate(config["data"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError) as error:
            raise IntegrityError("the model's facts hold no usable configuration") from error
        privacy = PrivacyFacts.from_model(
            facts,
            debited=debited,
            tenant_limit=tenant_limit,
            account=account,
            looks=looks,
        )
        model = {"kind": facts["kind"], **facts.get("model", {})}
        anatomy = facts.get("anatomy")
        if anatomy is not None:
            # Volumes of an anatomy model have a grid of their own; the configuration's is the
            # network's.
            model["anatomy"] = {k: v for k, v in anatomy.items() if k not in ("size", "spacing")}
            grid = {"size": tuple(anatomy["size"]), "spacing": tuple(anatomy["spacing"])}
            data = data.model_copy(update=grid)
        return cls(
            name=name or f"Synthetic {modalities.images_of(data.modalities or (data.modality,))}",
            data=data,
            privacy=privacy,
            seed=seed,
            volumes=n,
            model=model,
            config=config or {},
            sites=facts.get("sites", {}),
            **more,
        )


@dataclass(frozen=True)
class Check:
    """One question of the gate and its answer, as printed on the card."""

    name: str
    passed: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class GateInputs:
    """What the gate asks for beyond the facts.

    Attributes:
        epsilon_limit: refuse a model above this epsilon (None: the plan's own target).
        checks: further answers. They are printed on the card, so they must not depend on
            private data; an audit against patients stays in the tenant.
    """

    epsilon_limit: float | None = None
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class ReleaseResult:
    """A finished release: signed, and in its place.

    Attributes:
        path: the folder.
        volumes: synthetic ones in it.
        public: images of public people in it.
        files: files under the manifest.
        bytes: their size together.
        epsilon, delta: as on the card (None for a public model).
        unit: whom they are for, "patient" or "file"; None for a public model.
        passed: every check of the gate (a release that fails one is not made at all).
        checks: the gate's answers.
        signer: fingerprint of the signing key.
        report: the HTML report inside the folder.
        id: 64 hex digits, the SHA-256 of the manifest.
        scores: headline score -> 0 to 10, or None where it was not measured.
    """

    path: Path
    volumes: int
    public: int
    files: int
    bytes: int
    epsilon: float | None
    delta: float | None
    unit: str | None
    passed: bool
    checks: tuple[Check, ...]
    signer: str
    report: Path
    id: str
    scores: Mapping[str, float | None]
