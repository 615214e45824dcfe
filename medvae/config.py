"""The configuration of a run: its keys, what they take and mean; nothing unknown is accepted.

Everything here is public: it is chosen before any private data are read, and it goes
into the plan's digest and the release's card as it stands.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medvae import modality as modalities
from medvae.config_data import Count, DataConfig, Positive, Section
from medvae.config_names import MAX_LABELS, checked_sites, label_scheme
from medvae.volume import MAX_CLASSES

__all__ = [
    "MAX_CLASSES",
    "MAX_LABELS",
    "AnatomyConfig",
    "AtlasConfig",
    "ComputeConfig",
    "CosinesConfig",
    "DataConfig",
    "FinetuneConfig",
    "ModelConfig",
    "PretrainConfig",
    "PriorConfig",
    "PrivacyConfig",
    "RunConfig",
    "checked_sites",
    "label_scheme",
]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ModelConfig(Section):
    """Which network."""

    kind: Literal["conv", "transformer"] = Field(
        default="conv", description="The network between latents and voxels."
    )
    preset: Literal["tiny", "small", "base"] = Field(
        default="small", description="Size of the network."
    )
    front_end: Literal["dct", "none"] = Field(
        default="dct", description="An exact linear transform that carries the coarse image."
    )
    latent_channels: Count = Field(
        default=8, description="Numbers of the latent at each of its places."
    )


class PretrainConfig(Section):
    """The public stage: procedural volumes only, no patient."""

    init: str | None = Field(
        default="shipped", description="Weights to start from: shipped, or null for random ones."
    )
    steps: Annotated[int, Field(ge=0)] = Field(default=300, description="Steps of training.")
    batch: Count = Field(default=4, description="Volumes a step.")
    learning_rate: Positive = Field(default=1e-3, description="Of the optimizer.")
    kl_weight: Annotated[float, Field(ge=0)] = Field(
        default=1e-4, description="Weight of the divergence of latents from a normal."
    )
    latent_noise: Annotated[float, Field(ge=0)] = Field(
        default=0.1, description="Standard deviation of noise added to latents."
    )
    adversarial: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Weight of a discriminator's loss; this stage only."
    )
    perceptual: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Weight of a perceptual loss (needs the extra metrics); this stage only.",
    )


class PrivacyConfig(Section):
    """What is promised to each patient."""

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=8.0, description="The budget of a patient for the whole run, all stages together."
    )
    delta: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="The tenant's; leave it out, for no plan of a tenant has another."
    )
    unit: Literal["patient", "file"] | None = Field(
        default=None,
        description="Who is protected, filled in by the plan as the data set recorded it: the "
        "patient with all volumes, or the single file where no patient identifiers were given.",
    )


class AnatomyConfig(Section):
    """The anatomy model: public people in poses and greys released under differential privacy."""

    library: Annotated[str, Field(min_length=1)] = Field(
        default="auto",
        description="The entry of the public library (medvae anatomy list) that shows the "
        "cohort's region (label maps, for scans without labels, too); auto: the one entry that "
        "covers the declared labels, and where there is none patients, if data.spacing is set and "
        "the cohort has labels, or is MRI of a field of view with an edge of 80 mm or more or CT "
        "of one above 160 mm, else none; patients: mean maps of the patients' own labels, or "
        "without labels of automatic tissues, and pictures; none: an atlas of the patients, in "
        "voxels.",
    )
    labels: dict[str, list[str]] = Field(
        default={},
        description="Label of the cohort -> labels of the entry that it stands for, where names "
        "do not match.",
    )
    contrast: Literal["t1", "t2", "pd", "flair"] = Field(
        default="t1",
        description="Contrast of the cohort's MRI, where the entry is label maps: what grey values "
        "are expected of tissues before any patient is measured.",
    )
    contrasts: dict[str, Literal["t1", "t2", "pd", "flair"]] = Field(
        default={},
        description="Channel -> its contrast, where its name does not say it (t1, t1w, t1ce, t2, "
        "flair, pd, ... do).",
    )
    share: Share = Field(
        default=0.0,
        description="Its part of the budget; 0: all of the budget where a library is used.",
    )
    spacing: tuple[Positive, Positive, Positive] | None = Field(
        default=None,
        description="Millimetres a voxel of drawn volumes, over the extent of the entry's people; "
        "null: data.spacing with data.size, or else the entry's own.",
    )
    digest: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = Field(
        default="", description="Digest of the entry, filled in by the plan."
    )

    @property
    def used(self) -> bool:
        """Whether a resolved configuration has an anatomy model."""
        return bool(self.digest)

    @property
    def public(self) -> bool:
        """Whether its anatomy is that of an entry of the public library."""
        return self.used and self.library != "patients"


class CosinesConfig(Section):
    """Means and covariances of few cosines of each class: of pictures, and of channels."""

    share: Share = Field(
        default=0.0, description="Its part of the budget: all of it (1), or 0 for no such model."
    )


class AtlasConfig(Section):
    """The deformable atlas, measured under differential privacy."""

    share: Share = Field(default=0.6, description="Its part of the budget; 0: no atlas.")
    alone_below: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Epsilon times patients below which the atlas has the whole budget: under so "
        "much noise DP-SGD and the latent prior reduce quality.",
    )
    public: Annotated[str, Field(min_length=1)] = Field(
        default="none",
        description="A public template that shows the cohort's region: none, mni152 (T1 of the "
        "head), or the path of a NIfTI image that the user declares public.",
    )
    public_labels: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The path of labels on that image's grid: all of the cohort's, or one for all "
        "of them together. The atlas then starts from their shapes.",
    )
    public_digest: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = Field(
        default="", description="SHA-256 of both files, filled in by the plan."
    )
    samples: Annotated[int, Field(ge=0)] = Field(
        default=64, description="Volumes drawn from the atlas that the network then trains on."
    )
    steps: Annotated[int, Field(ge=0)] = Field(default=100, description="Steps of that training.")

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


class FinetuneConfig(Section):
    """DP-SGD on the real patients."""

    share: Share = Field(default=0.2, description="Its part of the budget; 0: none.")
    sample_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="Probability that a patient takes part in a step (Poisson); 1, everybody in "
        "every step, gives the most signal for the noise of a budget.",
    )
    steps: Annotated[int, Field(ge=0)] = Field(default=20, description="Steps of DP-SGD.")
    clip: Positive = Field(default=1.0, description="Largest L2 norm of a patient's gradient.")
    clipping: Literal["flat", "auto-s"] = Field(
        default="flat",
        description="How a patient's gradient is brought within the clip: only where it is longer "
        "(flat), or every one to nearly the clip whatever its length (auto-s: clip / (norm + "
        "0.01), Bu et al. 2022), which needs no clip that fits.",
    )
    views: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Augmented views of a patient whose gradients are averaged."
    )
    learning_rate: Positive = Field(default=1e-3, description="Of the optimizer (AdamW).")
    parameters: Literal["auto", "all", "bias", "film", "lora"] = Field(
        default="auto",
        description="Which weights are trained; auto: by a public rule from patients and epsilon.",
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.9, description="Decay of the average over steps that becomes the model's weights."
    )


class PriorConfig(Section):
    """The latent prior."""

    share: Share = Field(default=0.2, description="Its part of the budget; 0: none.")
    rank: Annotated[int, Field(ge=0, le=256)] = Field(
        default=16, description="Directions whose covariance is measured; 0: the mean alone."
    )
    clip: Positive = Field(
        default=1.0,
        description="Largest L2 norm of a patient's latent statistics, in units of the square root "
        "of how many they are.",
    )
    kind: Literal["auto", "gaussian", "structure", "atlas"] = Field(
        default="auto",
        description="What fills the directions that were not measured: independent normals "
        "(gaussian), latents of procedural volumes at the measured strength (structure), or the "
        "atlas's own draws, which the measured part is added to (atlas). auto: atlas where a "
        "public template makes its draws sharp, else structure.",
    )
    temperature: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.7,
        description="The part of the measured strength that is drawn (not of kind atlas).",
    )


class ComputeConfig(Section):
    """Knobs that cannot change what is promised, and so are not part of the plan."""

    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Of the network's arithmetic; auto: bf16 where it is fast."
    )
    chunk: Annotated[int, Field(ge=0)] = Field(
        default=1,
        description="Patients of one shape in one vectorised pass; 1: one backward a patient, "
        "0: try both at the start and take the faster.",
    )
    checkpoint_every: Count = Field(default=10, description="Steps between sealed checkpoints.")


class RunConfig(Section):
    """One run, whole."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Of all random numbers but the private noise."
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    anatomy: AnatomyConfig = AnatomyConfig()
    cosines: CosinesConfig = CosinesConfig()
    atlas: AtlasConfig = AtlasConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    prior: PriorConfig = PriorConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _template(self) -> RunConfig:
        modality = modalities.get(self.data.modality)
        if modality.intensity == "distribution" and self.atlas.public != "none":
            raise ValueError(
                f"atlas.public is for MRI: {modality.title} keeps {modality.units.words}; "
                "set it to none"
            )
        return self

    @model_validator(mode="after")
    def _fills(self) -> RunConfig:
        absolute = modalities.get(self.data.modality).intensity == "distribution"
        if self.prior.kind == "atlas" and (self.atlas.share == 0 or absolute):
            raise ValueError(
                "prior.kind atlas adds to an atlas's draws, of MRI: give atlas.share some of the "
                "budget and set data.modality to mri, or set prior.kind to auto"
            )
        return self

    @model_validator(mode="after")
    def _shares(self) -> RunConfig:
        parts = (self.anatomy, self.cosines, self.atlas, self.finetune, self.prior)
        total = sum(part.share for part in parts)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(
                "anatomy.share + cosines.share + atlas.share + finetune.share + prior.share must "
                f"be 1, not {total:g}"
            )
        if self.anatomy.share > 0 and (self.atlas.share > 0 or self.prior.share > 0):
            raise ValueError(
                "anatomy.share takes the place of atlas.share and prior.share: volumes are drawn "
                "from the anatomy model; set both to 0"
            )
        return self

    @model_validator(mode="after")
    def _pictures(self) -> RunConfig:
        modality, share = modalities.get(self.data.modality), self.cosines.share
        if 0 < share < 1:
            raise ValueError("cosines.share is 1, the whole budget, or 0")
        if modality.planar and share < 1:
            raise ValueError(
                f"{modality.images} are learnt by cosines alone: set cosines.share to 1 and the "
                f"other shares to 0, as the preset {modality.name} does"
            )
        # Whether an entry of the library covers channels is known when one is looked for.
        if self.data.channels and share < 1 and self.anatomy.library == "none":
            raise ValueError(
                f"{modality.images} with channels are learnt by cosines or drawn from an anatomy: "
                "set cosines.share to 1 and the other shares to 0, as the preset contrasts does, "
                "or name an entry of the public library in anatomy.library, or patients where they "
                "have masks"
            )
        return self

    @property
    def residual_prior(self) -> Literal["gaussian", "structure", "atlas"]:
        """`prior.kind` with auto decided."""
        if self.prior.kind != "auto":
            return self.prior.kind
        return "atlas" if self.atlas.share > 0 and self.atlas.public != "none" else "structure"

    def with_library(self, name: str, digest: str) -> RunConfig:
        """The configuration with an entry of the public library; it has the whole budget.

        A budget that was shared out with `anatomy.share` stays as it is.
        """
        entry = {"library": name, "digest": digest}
        if self.anatomy.share > 0:
            return self.model_copy(update={"anatomy": self.anatomy.model_copy(update=entry)})
        shares = {"anatomy": 1.0, "cosines": 0.0, "atlas": 0.0, "finetune": 0.0, "prior": 0.0}
        updated = {
            section: getattr(self, section).model_copy(update={"share": share})
            for section, share in shares.items()
        }
        updated["anatomy"] = updated["anatomy"].model_copy(update=entry)
        return self.model_copy(update=updated)

    def resolved(self, patients: int) -> RunConfig:
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

    @property
    def knows_voxels(self) -> bool:
        """Whether drawn volumes have a voxel size that somebody declared, or public people have.

        Of a resolved configuration. Files of other volumes say 1 mm; those of pictures say none.
        """
        is_picture = modalities.get(self.data.modality).planar
        return is_picture or self.data.spacing is not None or self.anatomy.used

    def public(self) -> dict[str, Any]:
        """Everything that may influence the result, as JSON values (no compute knobs).

        Call it on a resolved configuration, whose shares hold what `alone_below` decided.
        """
        values = self.model_dump(mode="json", exclude={"compute": True, "atlas": {"alone_below"}})
        # Where a file is stored is nobody's business but the user's; its digest says which it is.
        for key in ("public", "public_labels"):
            if values["atlas"][key] is not None:
                values["atlas"][key] = Path(values["atlas"][key]).name
        return values
