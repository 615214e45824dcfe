"""The configuration of a run: one YAML file, dotted overrides, nothing unknown accepted.

Everything here is public: it is chosen before any private data are read, and it goes
into the plan's digest and the release's card as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from medvae.errors import UsageError
from medvae.volume import Modality

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
# A release of few patients cannot tell more kinds of them apart.
MAX_CLASSES = 16
MAX_LABELS = 32
# Masks are stored with 8 bits a voxel; 0 is the background.
LABEL_NUMBERS = range(1, 256)
LONGEST_LABEL_NAME = 64
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def label_scheme(given: Mapping[Any, Any]) -> dict[str, str]:
    """A label scheme, number (as text) -> name, ascending by number; 0, the background, dropped.

    Raises:
        ValueError: a number is not in 1..255 or is there twice, or a name is empty, longer than
            64 characters, not printable or there twice.
    """
    found: dict[int, str] = {}
    for key, value in given.items():
        number = str(key).strip()
        name = str(value).strip()
        if not (number.isascii() and number.isdigit() and int(number) < LABEL_NUMBERS.stop):
            raise ValueError(f"label {number[:20]!r} is no whole number from 1 to 255")
        if not 0 < len(name) <= LONGEST_LABEL_NAME or not name.isprintable():
            raise ValueError(
                f"label {number} needs a name of 1 to {LONGEST_LABEL_NAME} printable characters"
            )
        if int(number) in found:
            raise ValueError(f"label {number} is named twice")
        found[int(number)] = name
    found.pop(0, None)
    if len(set(found.values())) < len(found):
        raise ValueError("two labels have the same name")
    return {str(number): found[number] for number in sorted(found)}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """The grid that the model sees; public constants, never measured on the data.

    labels: how many labels of the scheme are learnt, lowest numbers first; 0 for none, -1 for
    all. Without any scheme, `labels` above 0 declares the numbers 1 to `labels`.
    label_scheme: number in the masks (as text) -> name; {} for none, null for what the data
    set declares. Voxels of other numbers are background.
    classes: how many classes (0, 1, ...) a volume can be of; 0 for none, -1 for what the data
    set declares. A volume of another class counts as one without.
    """

    modality: Modality = "mri"
    size: tuple[Count, Count, Count] = (32, 48, 32)
    spacing: tuple[Positive, Positive, Positive] | None = None
    window: tuple[float, float] = (-1000.0, 1000.0)
    percentiles: tuple[float, float] = (0.5, 99.5)
    labels: Annotated[int, Field(ge=-1, le=MAX_LABELS)] = -1
    label_scheme: dict[str, str] | None = None
    classes: Annotated[int, Field(ge=-1, le=MAX_CLASSES)] = -1

    @model_validator(mode="after")
    def _ordered(self) -> DataConfig:
        if not self.window[0] < self.window[1]:
            raise ValueError("data.window must be [low, high] with low < high")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("data.percentiles must be [low, high] within 0..100")
        return self

    @field_validator("label_scheme", mode="before")
    @classmethod
    def _scheme(cls, given: Any) -> Any:
        return label_scheme(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _learnable(self) -> DataConfig:
        if self.label_scheme is None:
            return self
        if len(self.label_scheme) > MAX_LABELS and self.labels not in range(MAX_LABELS + 1):
            raise ValueError(f"data.label_scheme may hold at most {MAX_LABELS} labels")
        if self.labels > len(self.label_scheme):
            raise ValueError(
                f"data.labels is {self.labels}, but data.label_scheme names "
                f"{len(self.label_scheme)}; leave data.labels out"
            )
        return self

    @property
    def label_numbers(self) -> tuple[int, ...]:
        """Numbers in the masks, ascending: number i stands for the model's label i + 1."""
        if not self.label_scheme:
            return tuple(range(1, max(self.labels, 0) + 1))
        numbers = tuple(int(number) for number in self.label_scheme)
        return numbers if self.labels < 0 else numbers[: self.labels]


class ModelConfig(_Section):
    """Which network; presets are in `medvae.model.presets`."""

    kind: Literal["conv", "transformer"] = "conv"
    preset: Literal["tiny", "small", "base"] = "small"
    front_end: Literal["dct", "none"] = "dct"
    latent_channels: Count = 8


class PretrainConfig(_Section):
    """The public stage: procedural volumes only, no patient.

    adversarial, perceptual: weights of losses that only this stage may have. perceptual needs
    the extra `metrics`.
    """

    init: str | None = "shipped"
    steps: Annotated[int, Field(ge=0)] = 300
    batch: Count = 4
    learning_rate: Positive = 1e-3
    kl_weight: Annotated[float, Field(ge=0)] = 1e-4
    latent_noise: Annotated[float, Field(ge=0)] = 0.1
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    perceptual: Annotated[float, Field(ge=0)] = 0.0


class PrivacyConfig(_Section):
    """What is promised to each patient.

    delta: the tenant's, which need not be said here and may not be contradicted.
    unit: who is protected, filled in by the plan as the data set recorded it: the patient with
    all volumes, or the single file where no patient identifiers were given.
    """

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    unit: Literal["patient", "file"] | None = None


class AtlasConfig(_Section):
    """The DP deformable atlas; `share` is its part of the budget (0: no atlas).

    alone_below: epsilon times patients below which it has the whole budget: under so much noise
    the other private stages take more from the volumes than they give.
    public: a public template that shows the cohort's region too, or "none". "mni152" is T1
    of the head; else the path of a NIfTI image, which the user declares public. The atlas finds
    the region in it and starts from its fine structure.
    public_labels: the path of labels on that image's grid. They are all of the cohort's, or one
    for all of them together; the atlas then starts from their shapes.
    public_digest: SHA-256 of both, filled in by the plan.
    """

    share: Share = 0.6
    alone_below: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    public: Annotated[str, Field(min_length=1)] = "none"
    public_labels: Annotated[str, Field(min_length=1)] | None = None
    public_digest: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    samples: Annotated[int, Field(ge=0)] = 64
    steps: Annotated[int, Field(ge=0)] = 100

    @model_validator(mode="after")
    def _labelled(self) -> AtlasConfig:
        if self.public_labels is not None and self.public in ("none", "mni152"):
            raise ValueError(
                "atlas.public_labels are of an image: set atlas.public to that image's path"
            )
        for name in (self.public, self.public_labels or ""):
            if Path(name).name in ("none", "mni152") and name not in ("none", "mni152"):
                raise ValueError(f"a public file may not be named as {Path(name).name}: rename it")
        return self


class FinetuneConfig(_Section):
    """DP-SGD on the real patients; `share` is its part of the budget (0: none)."""

    share: Share = 0.2
    sample_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    steps: Annotated[int, Field(ge=0)] = 40
    clip: Positive = 1.0
    views: Annotated[int, Field(ge=1, le=64)] = 2
    learning_rate: Positive = 1e-3
    parameters: Literal["auto", "all", "bias", "film", "lora"] = "auto"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.9


class PriorConfig(_Section):
    """The latent prior; `share` is its part of the budget.

    kind: what fills the directions that no covariance was released for: independent normals,
    the latents of procedural volumes at the released strength (edges instead of haze), or the
    atlas's own draws, which what was released is then added to. auto: the last of these where a
    public template makes those draws sharp, else the second.
    temperature: the part of the released strength that is drawn (nothing is, of kind atlas).
    """

    share: Share = 0.2
    rank: Annotated[int, Field(ge=0, le=256)] = 16
    clip: Positive = 1.0
    kind: Literal["auto", "gaussian", "structure", "atlas"] = "auto"
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.7


class ComputeConfig(_Section):
    """Knobs that cannot change what is promised, and so are not part of the plan.

    chunk: patients of one shape that go through one vectorised pass; 1 is one backward a
    patient, 0 tries both at the start and takes the faster (a resumed run may then differ in
    its last bits).
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    chunk: Annotated[int, Field(ge=0)] = 1
    checkpoint_every: Count = 10


class RunConfig(_Section):
    """One run, whole."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    atlas: AtlasConfig = AtlasConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    prior: PriorConfig = PriorConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _template(self) -> RunConfig:
        if self.data.modality == "ct" and self.atlas.public != "none":
            raise ValueError("atlas.public is for MRI: CT keeps Hounsfield units; set it to none")
        return self

    @model_validator(mode="after")
    def _fills(self) -> RunConfig:
        if self.prior.kind == "atlas" and (self.atlas.share == 0 or self.data.modality == "ct"):
            raise ValueError(
                "prior.kind atlas adds to an atlas's draws, of MRI: give atlas.share some of the "
                "budget and set data.modality to mri, or set prior.kind to auto"
            )
        return self

    @model_validator(mode="after")
    def _shares(self) -> RunConfig:
        total = self.atlas.share + self.finetune.share + self.prior.share
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"atlas.share + finetune.share + prior.share must be 1, not {total:g}")
        return self

    @property
    def filling(self) -> Literal["gaussian", "structure", "atlas"]:
        """`prior.kind` with auto decided."""
        if self.prior.kind != "auto":
            return self.prior.kind
        return "atlas" if self.atlas.share > 0 and self.atlas.public != "none" else "structure"

    def settled(self, patients: int) -> RunConfig:
        """The configuration with the shares of the budget that so many patients get."""
        strength = self.privacy.epsilon * patients
        if self.atlas.share == 0 or strength >= self.atlas.alone_below:
            return self
        shares = {"atlas": 1.0, "finetune": 0.0, "prior": 0.0}
        return self.model_copy(
            update={
                name: getattr(self, name).model_copy(update={"share": share})
                for name, share in shares.items()
            }
        )

    def public(self) -> dict[str, Any]:
        """Everything that may influence the result, as JSON values (no compute knobs).

        Of a settled configuration: what `alone_below` decides is in the shares.
        """
        found = self.model_dump(mode="json", exclude={"compute": True, "atlas": {"alone_below"}})
        # Where a file lies is nobody's business but the user's; its digest says which it is.
        for key in ("public", "public_labels"):
            if found["atlas"][key] is not None:
                found["atlas"][key] = Path(found["atlas"][key]).name
        return found


def load_config(path: Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """Read a YAML configuration and apply `key.path=value` overrides.

    Raises:
        UsageError: the file is missing or not YAML, a key is unknown, a value is wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"configuration {path} is not valid YAML: {line}") from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise UsageError(f"configuration {path} must be a mapping of sections, such as data:")
    for item in overrides:
        _override(raw, item)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"configuration {path}: {_first_error(error)}") from error


def _override(raw: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {item!r} must have the form section.key=value")
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UsageError(f"--set {key}: {parent} is not a section")
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: {text!r} is not a YAML value") from error


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        return f"unknown key {where} (known keys are in configs/ and the README)"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason} (got {first['input']!r})" if first["loc"] else reason
