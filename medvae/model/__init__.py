"""The networks, the latent prior, and a trained model as one sealed piece."""

from medvae.model.adapters import parameters_for
from medvae.model.artifact import Artifact, load_model
from medvae.model.base import VAE
from medvae.model.presets import build
from medvae.model.prior import LatentPrior

__all__ = ["VAE", "Artifact", "LatentPrior", "build", "load_model", "parameters_for"]
