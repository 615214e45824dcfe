"""A trained model as bytes: tensors and facts in one safetensors file, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medvae.config import ModelConfig, RunConfig
from medvae.errors import BudgetError, IntegrityError, UsageError
from medvae.model.base import VAE
from medvae.model.packing import unpack
from medvae.model.presets import build

# Format 1: noise on a coarser grid than the numbers it was added to. Format 2: one grid.
FORMAT = 2
_READABLE = (1, FORMAT)
PARTS = ("model", "prior", "atlas", "anatomy", "cosines")
KINDS = ("public", "private", "unprotected")
# Far above the header of any model; a larger one would be an attack on the reader's memory.
_MAX_HEADER = 16 << 20


@dataclass
class Artifact:
    """A model: everything that `generate` needs and a release may state.

    Attributes:
        tensors: "part.name" to tensor, part one of `PARTS`; all finite.
        facts: JSON values: format, kind ("public": no patient was seen; "private": under the
            plan's guarantee; "unprotected": without, never to be released), private (a
            patient was seen), epsilon and delta (of all plans behind it, 0 where public), config
            (`RunConfig.public()`), model (what `load_model` needs), plan (or None), and what
            stages wish to state. None of them is a figure of patients without noise.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, without its prefix."""
        start = f"{name}."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}

    def weights(self) -> dict[str, Tensor]:
        """The network's weights as numbers, unpacked where they were compressed.

        Raises:
            IntegrityError: parts of a compressed weight are missing or do not fit.
        """
        return unpack(self.part("model"))

    def parameters(self) -> int:
        """Number of trained parameters of the network, without prior and atlas."""
        return sum(t.numel() for t in self.weights().values())

    def config(self) -> RunConfig:
        """The configuration that the artifact was made with.

        Raises:
            IntegrityError: it is missing or not a configuration.
        """
        try:
            return RunConfig.model_validate(self.facts["config"])
        except (KeyError, ValidationError) as error:
            raise IntegrityError(f"the model's configuration cannot be read: {error}") from error

    def to_bytes(self) -> bytes:
        """The sealed form; equal artifacts give equal bytes.

        Raises:
            ValueError: a fact or tensor that no artifact can have.
        """
        _check(self.tensors, self.facts)
        tensors = {k: v.detach().cpu().contiguous() for k, v in sorted(self.tensors.items())}
        text = json.dumps(self.facts, sort_keys=True, allow_nan=False)
        return save_tensors(tensors, metadata={"facts": text})

    @classmethod
    def from_bytes(cls, data: bytes) -> Artifact:
        """Read back `to_bytes`.

        Raises:
            IntegrityError: not an artifact, another format, unknown parts, non-finite values.
        """
        try:
            size = int.from_bytes(data[:8], "little")
            if not 2 <= size <= min(_MAX_HEADER, len(data) - 8):
                raise ValueError("its header does not fit the file")
            facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["facts"])
            tensors = load_tensors(data)
            _check(tensors, facts)
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"stored bytes are not a model: {error}") from error
        return cls(tensors, facts)


def check_outgoing(facts: Mapping[str, Any]) -> None:
    """Refuse to let anything out of a model whose noise does not protect its patients.

    Args:
        facts: of an artifact, as sealed.

    Raises:
        BudgetError: trained on patients without differential privacy, or by format 1, whose
            noise and numbers had different grids: most numbers cannot come from other patients,
            so that an export or a release proves who took part.
    """
    kind = facts.get("kind")
    if kind == "public":
        return
    if kind != "private":
        raise BudgetError(
            "the model was trained on patients without differential privacy and may not leave; "
            "train one with a finite epsilon (medvae train --epsilon)"
        )
    if facts.get("format") != FORMAT:
        raise BudgetError(
            f"the model is of format {facts.get('format')}, whose noise was on a coarser grid than "
            "the numbers it hid, so that these prove who took part: it may not leave; train it "
            "again (the ledger keeps what was spent)"
        )


def _check(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Raise a ValueError that names the first invalid fact or tensor."""
    if facts.get("format") not in _READABLE:
        raise ValueError(f"format {facts.get('format')!r} is none of {_READABLE}")
    if facts.get("kind") not in KINDS:
        raise ValueError(f"kind {facts.get('kind')!r} is none of {KINDS}")
    for key, value in tensors.items():
        if key.partition(".")[0] not in PARTS or not key.partition(".")[2]:
            raise ValueError(f"unknown tensor {key!r}")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"tensor {key!r} has values that are not finite")


def model_facts(cfg: ModelConfig, model: VAE) -> dict[str, Any]:
    """What `load_model` needs besides the weights."""
    return {
        "config": cfg.model_dump(mode="json"),
        "channels": model.channels,
        "dims": model.dims,
        "latent_noise": model.latent_noise,
        "kl_weight": model.kl_weight,
    }


def load_model(artifact: Artifact) -> VAE:
    """The network of an artifact, in evaluation mode, without gradients.

    Raises:
        UsageError: the model is of statistics alone.
        IntegrityError: the weights are not those of the network that the facts name.
    """
    if artifact.part("cosines"):
        raise UsageError(
            "this model holds statistics and no network: it draws images, and neither encodes nor "
            "reconstructs one"
        )
    try:
        facts = artifact.facts["model"]
        model = build(
            ModelConfig.model_validate(facts["config"]),
            int(facts["channels"]),
            dims=int(facts["dims"]),
            latent_noise=float(facts["latent_noise"]),
            kl_weight=float(facts["kl_weight"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"the model's description cannot be read: {error}") from error
    load_weights(model, artifact.weights())
    return model.eval().requires_grad_(False)


def load_weights(model: VAE, weights: dict[str, Tensor]) -> None:
    """Copy weights into a network: same names, same shapes, floating point.

    Raises:
        IntegrityError: naming the first tensor that does not fit.
    """
    expected = model.state_dict()
    unmatched = sorted(set(expected) ^ set(weights))
    if unmatched:
        raise IntegrityError(
            f"the weights are of another network: {unmatched[0]} is missing or unknown"
        )
    for name, target in expected.items():
        if weights[name].shape != target.shape or not weights[name].is_floating_point():
            raise IntegrityError(
                f"weight {name} has shape {tuple(weights[name].shape)}, "
                f"expected {tuple(target.shape)}"
            )
    model.load_state_dict({k: v.to(expected[k].dtype) for k, v in weights.items()})
