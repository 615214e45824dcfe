"""The DP deformable atlas: template, deformations and texture from few released numbers."""

from medvae.atlas.atlas import Atlas
from medvae.atlas.fit import fit
from medvae.atlas.shares import Release, mechanisms
from medvae.atlas.study import Patients

__all__ = ["Atlas", "Patients", "Release", "fit", "mechanisms"]
