"""What draws, as one network: from random numbers to an image in the modality's units.

    _PriorDrawer    latent prior and decoder, of a model without an atlas
    _CosineDrawer   means and covariances of cosines, of pictures

Both compute what `medvae.generate` does, so that equal random numbers give equal images. What draws
from an anatomy or an atlas deforms and renders outside of any network, and has no such form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medvae import modality as modalities
from medvae.config import DataConfig
from medvae.cosines.basis import Basis
from medvae.cosines.borders import FAINTEST, sharpened
from medvae.cosines.marginals import curve
from medvae.cosines.model import CosineModel
from medvae.errors import UsageError
from medvae.grid import public_limits
from medvae.model import VAE, Artifact, LatentPrior, load_model


@dataclass(frozen=True)
class Drawer:
    """A network that draws, and what it draws from.

    Attributes:
        network: [1, N] random numbers to an image [1, C, X, Y, Z].
        numbers: N.
        dtype: of the random numbers.
        draw: expression of Python that makes the numbers from `r`, a NumPy generator.
    """

    network: nn.Module
    numbers: int
    dtype: torch.dtype
    draw: str


def drawer_of(artifact: Artifact) -> Drawer:
    """The network that draws a model's images.

    Raises:
        UsageError: what draws them is no network.
    """
    if artifact.part("cosines"):
        return _of_cosines(artifact)
    for part, what in (
        ("anatomy", "an anatomy, whose people are deformed and rendered"),
        ("atlas", "an atlas, which is deformed"),
    ):
        if artifact.part(part):
            raise UsageError(
                f"this model draws from {what} outside of any network, so that TorchScript cannot "
                "hold what draws: export it with --format safetensors, or pass on volumes (medvae "
                "release create)"
            )
    if not artifact.part("prior"):
        raise UsageError(
            "this model has nothing to draw from: it is a public one; train it on a data set first"
        )
    if artifact.config().residual_prior != "gaussian":
        raise UsageError(
            "this model fills its draws with procedural structure, which TorchScript cannot hold: "
            "train one with prior.kind gaussian, or export it with --format safetensors"
        )
    return _of_prior(artifact)


class _Units(nn.Module):
    """Images on the model's scale to the modality's units, in its steps."""

    def __init__(self, data: DataConfig) -> None:
        super().__init__()
        self.channels = nn.ModuleList(_Unit(own) for own in data.of_channels)

    def forward(self, image: Tensor) -> Tensor:
        """[1, C, X, Y, Z] both."""
        parts = [unit(image[:, at : at + 1]) for at, unit in enumerate(self.channels)]
        return torch.cat(parts, dim=1)


class _Unit(nn.Module):
    """One channel to the units of its modality."""

    def __init__(self, data: DataConfig) -> None:
        super().__init__()
        modality = modalities.get(data.modality)
        self.low, self.high = public_limits(data)
        self.exponent, self.step = modality.exponent, modality.step

    def forward(self, image: Tensor) -> Tensor:
        part = (image.float().clamp(-1.0, 1.0) + 1.0) / 2.0
        if self.exponent != 1.0:
            part = part ** (1.0 / self.exponent)
        values = part * (self.high - self.low) + self.low
        return torch.round(values / self.step) * self.step


class _PriorDrawer(nn.Module):
    def __init__(self, model: VAE, prior: LatentPrior, data: DataConfig) -> None:
        super().__init__()
        self.model = model
        self.prior = prior
        self.shape = (1, max(len(data.channels), 1), *data.size)
        self.units = _Units(data)

    def forward(self, numbers: Tensor) -> Tensor:
        """[1, D] standard normals to [1, C, X, Y, Z]."""
        spatial = self.prior.sample(numbers)
        image = self.model.decode(self.model.from_spatial_latent(spatial))
        volume: Tensor = self.units(image.reshape(self.shape))
        return volume


def _of_prior(artifact: Artifact) -> Drawer:
    model, data = load_model(artifact), artifact.config().data
    empty = torch.zeros(1, *model.latent_shape(data.size[: model.dims]))
    shape = tuple(model.spatial_latent(empty).shape[1:])
    prior = LatentPrior.from_tensors(artifact.part("prior"), shape)
    count = len(prior.mean)
    draw = f"r.standard_normal({count}, dtype=numpy.float32)"
    return Drawer(_PriorDrawer(model, prior, data), count, torch.float32, draw)


class _CosineDrawer(nn.Module):
    """In double precision, as NumPy computes."""

    means: Tensor
    spread: Tensor
    roots: Tensor
    kept: Tensor
    mixing: Tensor | None
    gain_root: Tensor | None
    gain_centre: Tensor
    band: Tensor
    band_of_image: Tensor
    kept_of_image: Tensor
    widths: Tensor
    known_grey: Tensor
    known_scores: Tensor | None

    def __init__(self, model: CosineModel, data: DataConfig) -> None:
        super().__init__()
        self.register_buffer("means", torch.from_numpy(model.numbers.means))
        self.register_buffer("spread", torch.from_numpy(model.spread))
        self.register_buffer("roots", torch.from_numpy(np.stack(model.roots)))
        self.register_buffer("kept", torch.from_numpy(model.numbers.kept))
        mixing = model.mixing
        self.register_buffer("mixing", None if mixing is None else torch.from_numpy(mixing))
        gains = torch.from_numpy(model.gain_root) if len(model.numbers.gains) else None
        self.register_buffer("gain_root", gains)
        self.register_buffer("gain_centre", torch.from_numpy(model.gain_centre))
        self.register_buffer("band", torch.from_numpy(model.basis.band))
        self.shape, self.channels = (model.basis.planes, *data.size), model.basis.channels
        self.scale = math.sqrt(math.prod(data.size))
        for axis, n in enumerate(data.size):
            self.register_buffer(f"waves{axis}", _waves(n))
        self.register_buffer("across", _waves(model.basis.channels))
        self.units = _Units(data)
        self._borders(model)

    def _borders(self, model: CosineModel) -> None:
        """What `CosineModel` has beyond waves: rounds of sharpening, and grey values of scores."""
        numbers, count = model.numbers, self.channels * math.prod(model.basis.size)
        self.rounds = int(numbers.borders[0]) if len(numbers.borders) else 0
        band = model.basis.band[:count]
        self.register_buffer("band_of_image", torch.from_numpy(band))
        self.register_buffer("kept_of_image", torch.from_numpy(numbers.kept[numbers.kept < count]))
        self.register_buffer("widths", torch.from_numpy(np.bincount(band).astype(np.float64)))
        curves = [curve(own) for own in np.atleast_2d(numbers.marginals) if len(own)]
        for at, name in enumerate(("known_grey", "known_scores")):
            rows = [torch.from_numpy(both[at]) for both in curves]
            self.register_buffer(name, torch.stack(rows) if rows else None)

    def forward(self, numbers: Tensor) -> Tensor:
        """[1, 1 + F + D + B]: a class, and standard normals, to [1, C, X, Y, Z].

        B is 0 where the model has no gains.
        """
        own = numbers[0, 0].long()
        count = self.spread.shape[0]
        values = self._related(numbers[0, 1 : 1 + count]) * self.spread
        rest = 1 + count + self.kept.shape[0]
        slow = self.roots[own] @ numbers[0, 1 + count : rest]
        values = values.index_copy(0, self.kept, slow)
        if self.gain_root is not None:
            gains = self.gain_root @ numbers[0, rest:]
            values = values * torch.exp(self.gain_centre + gains[self.band])
        planes = (self.means[own] + values).reshape(self.shape)[: self.channels]
        image = self._transformed(self._bordered(planes), back=True)
        volume: Tensor = self.units(self._grey(image)[None])
        return volume

    def _bordered(self, planes: Tensor) -> Tensor:
        """[C, X, Y, Z] waves with borders, as `borders.bordered` has them."""
        wanted, still = self._by_band(planes**2), self.kept_of_image
        kept = planes.reshape(-1)[still]
        for _ in range(self.rounds):
            found = self._transformed(sharpened(self._transformed(planes, back=True)))
            power = self._by_band(found**2).clamp_min(FAINTEST)
            ratio = torch.sqrt(wanted / power)[self.band_of_image]
            sharp = (found.reshape(-1) * ratio).index_copy(0, still, kept)
            planes = sharp.reshape(planes.shape)
        return planes

    def _transformed(self, values: Tensor, back: bool = False) -> Tensor:
        """[C, X, Y, Z] an image's waves, or `back` the image of waves."""
        equation = "cxyz,cd,xi,yj,zk->dijk" if back else "dijk,cd,xi,yj,zk->cxyz"
        image = torch.einsum(equation, values, self.across, self.waves0, self.waves1, self.waves2)
        return image * self.scale if back else image / self.scale

    def _by_band(self, values: Tensor) -> Tensor:
        """[B] the mean of [C, X, Y, Z] in each band."""
        total = torch.zeros_like(self.widths).index_add(0, self.band_of_image, values.reshape(-1))
        return total / self.widths

    def _grey(self, scores: Tensor) -> Tensor:
        """Grey values of scores, as `marginals.to_grey` has them."""
        if self.known_scores is None:
            return scores
        greys = []
        for channel in range(self.channels):
            own, known, grey = scores[channel], self.known_scores[channel], self.known_grey[channel]
            place = (torch.searchsorted(known, own.contiguous()) - 1).clamp(0, len(known) - 2)
            slope = (grey[1:] - grey[:-1]) / (known[1:] - known[:-1])
            greys.append(grey[place] + slope[place] * (own - known[place]))
        return torch.stack(greys).clamp(-1.0, 1.0)

    def _related(self, normals: Tensor) -> Tensor:
        """[F] correlated between channel planes, as `CosineModel` has them."""
        if self.mixing is None:
            return normals
        planes = normals.reshape(self.shape[0], -1)
        return torch.einsum("wab,bw->aw", self.mixing, planes).reshape(-1)


def _of_cosines(artifact: Artifact) -> Drawer:
    data = artifact.config().data
    basis = Basis.of(data)
    arrays = {name: values.numpy() for name, values in artifact.part("cosines").items()}
    model = CosineModel.read(basis, arrays)
    shares = [float(share) for share in model.numbers.shares]
    own = f"r.choice({len(shares)}, p={shares!r})" if model.classes else "0"
    counts = [len(basis), len(model.numbers.kept), len(model.numbers.gains)]
    draw = f"numpy.r_[{own}, {', '.join(f'r.standard_normal({n})' for n in counts)}]"
    network = _CosineDrawer(model, data)
    return Drawer(network, 1 + sum(counts), torch.float64, draw)


def _waves(n: int) -> Tensor:
    """[n, n] the orthonormal DCT-II, a wave a row."""
    place = torch.arange(n, dtype=torch.float64) + 0.5
    number = torch.arange(n, dtype=torch.float64)[:, None]
    waves = torch.cos(math.pi * number * place / n) * math.sqrt(2.0 / n)
    waves[0] *= math.sqrt(0.5)
    return waves
