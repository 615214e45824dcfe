"""Find and check the weights that come with the package."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from medvae.config import ModelConfig
from medvae.errors import IntegrityError
from medvae.model.artifact import Artifact, load_weights
from medvae.model.base import VAE

FOLDER = Path(__file__).parent


def name_of(cfg: ModelConfig, dims: int) -> str:
    """The file name that a network's weights would have."""
    return f"{cfg.kind}-{cfg.front_end}-{cfg.preset}-{cfg.latent_channels}c-{dims}d"


def load_into(model: VAE, cfg: ModelConfig) -> bool:
    """Load the shipped weights for this network; False when there are none for it.

    Raises:
        IntegrityError: the file is not the one that the recipe names.
    """
    path = FOLDER / f"{name_of(cfg, model.dims)}.safetensors"
    if model.channels != 1 or not path.exists():
        return False
    load_weights(model, read(path).part("model"))
    return True


def read(path: Path) -> Artifact:
    """A shipped artifact, checked against the SHA-256 of its recipe."""
    data = path.read_bytes()
    recipe = recipe_of(path)
    if hashlib.sha256(data).hexdigest() != recipe.get("sha256"):
        raise IntegrityError(
            f"{path.name} is not the file that its recipe names: install the package again"
        )
    return Artifact.from_bytes(data)


def recipe_of(path: Path) -> dict[str, Any]:
    """How the weights were made."""
    try:
        recipe: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"the recipe of {path.name} cannot be read: {error}") from error
    return recipe
