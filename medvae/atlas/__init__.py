"""DP deformable atlas: template, deformations and texture, estimated from few noisy statistics."""

from medvae.atlas.atlas import Atlas, AtlasSample
from medvae.atlas.budget import NoisyMean, mechanisms
from medvae.atlas.fit import fit
from medvae.atlas.fit_state import Patients

__all__ = ["Atlas", "AtlasSample", "NoisyMean", "Patients", "fit", "mechanisms"]
