"""Generate synthetic volumes from a model: lazily, each from (seed, index) alone.

Post-processing of a released model: costs no privacy for any n. Memory does not grow with n, and
any split of the indices over processes gives the same volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.drawing import OutputGrid
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.scan import LabelMap
from medvae.atlas import Atlas
from medvae.cosines.basis import Basis
from medvae.cosines.model import CosineModel
from medvae.errors import UsageError
from medvae.grid import drawn_volume, from_grid
from medvae.model import VAE, Artifact, LatentPrior, load_model
from medvae.model.frontend import beyond
from medvae.model.prior import coordinates
from medvae.model.procedural import random_volume
from medvae.progress import SILENT, Progress
from medvae.threads import one_blas_thread
from medvae.volume import Volume

# Number of volumes that represent all that a model of CT generates. Grey values depend strongly on
# the decoded ones, so a small pool could make all volumes too dark or too bright by chance.
POOL = 48
# Voxel sizes that an anatomy model draws at, in mm.
LEAST_MM, MOST_MM = 0.25, 20.0


def generate(
    artifact: Artifact,
    n: int,
    seed: int,
    *,
    device: str = "cpu",
    progress: Progress = SILENT,
    indices: Sequence[int] | None = None,
    category: int | None = None,
    site: str | None = None,
    anatomy: CohortAnatomy | None = None,
    spacing: Sequence[float] | None = None,
    labels: LabelMap | None = None,
) -> Iterator[Volume]:
    """n volumes in the cohort's geometry, with masks where the model has them.

    Args:
        artifact: a trained model with a prior or an atlas.
        n: how many, 1 or more.
        seed: 0 or more; same seed, same kind of device, same voxels.
        device: "cpu" or "cuda".
        progress: gets the number drawn.
        indices: only these of the n, in this order (to share the work).
        category: all of this class; None: each of one drawn as often as released, where the
            model has classes.
        site: all of this site; None: each of one drawn as often as released, where the model has
            sites.
        anatomy: the library's entry that the model was trained with, where it was.
        spacing: voxel size of the volumes in mm, of a model with an anatomy; None: its own.
        labels: every volume shows these, on their grid, of a model with an anatomy.

    Raises:
        UsageError: n or seed is out of range, the model has nothing to draw from, or not
            the class or site; a voxel size or labels for a model without anatomy, both at once, or
            none that can be drawn.
        InputError: the labels cannot be placed on the model's anatomy.
    """
    if n < 1 or seed < 0 or seed >= 1 << 64:
        raise UsageError(f"-n must be 1 or more and the seed in 0..2^64-1, not {n} and {seed}")
    if indices is not None and any(not 0 <= i < n for i in indices):
        raise UsageError(f"indices must lie in 0..{n - 1}")
    numbers = range(n) if indices is None else indices
    source: Source
    if artifact.part("anatomy"):
        source = _AnatomySource(artifact, anatomy, spacing, labels)
    elif labels is not None:
        raise UsageError(
            "only a model with an anatomy draws pictures of given labels; leave --from-labels out"
        )
    elif spacing is not None:
        raise UsageError(
            "only a model with an anatomy library draws at any voxel size; leave --spacing out"
        )
    elif artifact.part("cosines"):
        source = _CosineSource(artifact)
    else:
        source = _Source(artifact, device)
    source.require(category, site)
    return _draw(source, numbers, seed, (category, site), progress)


class Source(Protocol):
    """A model ready to draw from."""

    def require(self, category: int | None, site: str | None) -> None:
        """Refuse a class or site that the model does not have, with a UsageError."""

    def volume(
        self, seed: int, index: int, category: int | None = None, site: str | None = None
    ) -> Volume:
        """The volume of (seed, index), of a class and site or of ones drawn as often as released.

        site: as `require` has let it pass.
        """


def _draw(
    source: Source,
    indices: Sequence[int],
    seed: int,
    group: tuple[int | None, str | None],
    progress: Progress,
) -> Iterator[Volume]:
    progress.start("generate", len(indices))
    for done, index in enumerate(indices, 1):
        yield source.volume(seed, index, *group)
        progress.advance(done)
    progress.finish()


class _AnatomySource:
    """A model whose volumes an anatomy model draws."""

    def __init__(
        self,
        artifact: Artifact,
        cohort: CohortAnatomy | None,
        spacing: Sequence[float] | None,
        labels: LabelMap | None,
    ) -> None:
        named = artifact.facts["anatomy"]
        if cohort is None or cohort.digest != named["digest"]:
            raise UsageError(
                f"this model draws people of the anatomy entry {named['library']} "
                f"(digest {named['digest'][:16]}): add that entry to the vault's library"
            )
        self._model = AnatomyModel.read(
            cohort, {k: v.numpy() for k, v in artifact.part("anatomy").items()}
        )
        self._data = artifact.config().data
        if spacing is not None and labels is not None:
            raise UsageError(
                "--from-labels draws on the grid of its file; leave --spacing out, or resample the "
                "file"
            )
        self._grid = None if spacing is None else self._fine_grid(cohort, spacing)
        self._labels = labels
        self._placed = None if labels is None else self._model.cohort.place_labels(labels)

    @staticmethod
    def _fine_grid(cohort: CohortAnatomy, spacing: Sequence[float]) -> OutputGrid:
        if len(spacing) not in (1, 3) or not all(LEAST_MM <= s <= MOST_MM for s in spacing):
            raise UsageError(
                f"--spacing is one number or three, from {LEAST_MM:g} to {MOST_MM:g} mm, "
                f"not {', '.join(f'{s:g}' for s in spacing)}"
            )
        x, y, z = list(spacing) * (3 // len(spacing))
        return cohort.grid((x, y, z))

    def require(self, category: int | None, site: str | None) -> None:
        check_class(category, self._model.numbers.classes)
        check_site(site, self._data.sites or ())

    def volume(
        self, seed: int, index: int, category: int | None = None, site: str | None = None
    ) -> Volume:
        random = np.random.Generator(np.random.Philox(key=[seed, index]))
        numbers, data, labels = self._model.numbers, self._data, self._labels
        own = numbers.pick(random) if category is None else category
        at = numbers.pick_site(random) if site is None else data.site_number(site)
        name = None if at is None or data.sites is None else data.sites[at]
        if labels is not None and self._placed is not None:
            image = self._model.draw_labels(random, labels, self._placed, own, at)
            return drawn_volume(image, labels.affine, data, labels.labels, own, name)
        image, mask, affine = self._model.draw_volume(random, self._grid, own, at)
        return drawn_volume(image, affine, data, mask, own, name)


class _CosineSource:
    """A model of means and covariances of cosines."""

    def __init__(self, artifact: Artifact) -> None:
        self._data = artifact.config().data
        arrays = {k: v.numpy() for k, v in artifact.part("cosines").items()}
        basis = Basis.of(self._data)
        self._model = CosineModel.read(basis, arrays)

    def require(self, category: int | None, site: str | None) -> None:
        check_class(category, self._model.classes)
        check_site(site, ())

    def volume(
        self, seed: int, index: int, category: int | None = None, site: str | None = None
    ) -> Volume:
        random = np.random.Generator(np.random.Philox(key=[seed, index]))
        own = self._model.pick(random) if category is None else category
        image, mask = self._model.draw_labelled(random, own)
        return from_grid(image, self._data, mask, own)


def check_class(category: int | None, have: int) -> None:
    """Refuse a class that is not among the `have` of a model, with a UsageError."""
    if category is None or 0 <= category < have:
        return
    if not have:
        raise UsageError(
            f"--class {category} asks for a class, and this model has none; ingest with "
            "--class-column and train to have some"
        )
    raise UsageError(f"--class must be in 0..{have - 1}, not {category}")


def check_site(site: str | None, have: Sequence[str]) -> None:
    """Refuse a site that is not among those of a model, with a UsageError."""
    if site is None or site in have:
        return
    if not have:
        raise UsageError(
            f"--site {site[:40]} asks for a site, and this model has none; ingest with "
            "--site-column and --sites and train to have some"
        )
    raise UsageError(f"--site must be {' or '.join(have)}, not {site[:40]}")


class _Source:
    """A model of a network or an atlas."""

    def __init__(self, artifact: Artifact, device: str) -> None:
        cfg = artifact.config()
        self._data = cfg.data
        self._residual_prior = cfg.residual_prior
        self._device = torch.device(device)
        self._model: VAE = load_model(artifact).to(self._device)
        self._size = self._data.size[: self._model.dims]
        self._atlas = _atlas(artifact)
        self._absolute = self._atlas is not None and self._atlas.grey_centre is not None
        self._prior = self._load_prior(artifact.part("prior"))
        if self._prior is None and self._atlas is None:
            raise UsageError(
                "this model has neither a latent prior nor an atlas to draw from: "
                "it is a public one; train it on a data set first"
            )

    def require(self, category: int | None, site: str | None) -> None:
        check_class(category, 0 if self._atlas is None else len(self._atlas.classes))
        check_site(site, ())

    def volume(
        self, seed: int, index: int, category: int | None = None, site: str | None = None
    ) -> Volume:
        random = np.random.Generator(np.random.Philox(key=[seed, index]))
        if category is None and self._atlas is not None:
            category = self._atlas.classes.pick(random)
        if self._atlas is None:
            image, mask = self._decode(random), None
        elif self._prior is None:
            sample = self._atlas.sample(random, category)
            image, mask = sample.image, sample.mask
        elif self._absolute:
            # For CT, decode only the prior: adding atlas texture would double the edges.
            field = self._atlas.sample_field(random, category)
            mask = self._atlas.mask_from_template(field)
            mapped = np.interp(self._deformed(random, field, category), *self._quantile_map)
            image = self._atlas.impose_profile(mapped, self._atlas.boundary(mask))
        else:
            sample = self._atlas.sample(random, category, with_profile=False)
            mask = sample.mask
            if self._residual_prior == "atlas":
                # The sample has structure that is too fine for a decoder; the prior changes it by
                # a smooth difference.
                difference = self._decode(random) - self._decoded_template
                raw = sample.image + self._atlas.from_template(difference, sample.field)
            else:
                raw = self._deformed(random, sample.field, category) + fine(sample.image)
            image = self._atlas.impose_profile(raw, sample.boundary)
        shaped = np.clip(image, -1.0, 1.0).reshape(self._data.size).astype(np.float32)
        return from_grid(shaped, self._data, mask, category)

    def _deformed(
        self, random: np.random.Generator, field: npt.NDArray[np.float64], category: int | None
    ) -> npt.NDArray[np.float32]:
        assert self._atlas is not None
        # The prior is relative to the mean of the class.
        decoded = self._decode(random) + self._atlas.class_contrast(category)
        return self._atlas.from_template(decoded, field)

    @cached_property
    def _quantile_map(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Quantiles of decoded CT, and those of the released distribution.

        A mean over patients is grey where they are black or white, so lung in decoded volumes is
        too bright. One map, from a pool of volumes that represents all, corrects every volume.
        """
        assert self._atlas is not None
        pool = []
        for number in range(POOL):
            random = np.random.default_rng([number, 2])
            category = self._atlas.classes.pick(random)
            pool.append(
                self._deformed(random, self._atlas.sample_field(random, category), category)
            )
        return self._atlas.quantile_map(np.stack(pool))

    @torch.no_grad()
    def _decode(self, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """A sample of the prior, decoded. One at a time: rounding may depend on the batch size."""
        assert self._prior is not None
        normal = torch.from_numpy(
            random.standard_normal((1, len(self._prior.mean)), dtype=np.float32)
        )
        residual = None
        if self._residual_prior == "structure":
            residual = self._structure(int(random.integers(1 << 62)))
        elif self._residual_prior == "atlas":
            residual = torch.zeros_like(normal)
        spatial = self._prior.sample(normal, residual)
        return self._image(self._model.from_spatial_latent(spatial.to(self._device)))

    @cached_property
    @torch.no_grad()
    def _decoded_template(self) -> npt.NDArray[np.float32]:
        """[X, Y, Z] reconstruction of the template's image by the network."""
        assert self._atlas is not None
        x = torch.from_numpy(self._atlas.mean_image())[None, None].to(self._device)
        return self._image(self._model.encode(x)[0])

    def _image(self, latent: Tensor) -> npt.NDArray[np.float32]:
        decoded: npt.NDArray[np.float32] = self._model.decode(latent)[0, 0].cpu().numpy()
        return decoded

    def _structure(self, seed: int) -> Tensor:
        """Coordinates [1, D] of a procedural volume."""
        with one_blas_thread():
            image = random_volume(self._size, self._data.modality, seed, 0)
        x = torch.from_numpy(image)[None, None].to(self._device)
        return coordinates(self._model.spatial_latent(self._model.encode(x)[0])).cpu()

    def _load_prior(self, tensors: dict[str, Tensor]) -> LatentPrior | None:
        if not tensors:
            return None
        empty = torch.zeros(1, *self._model.latent_shape(self._size), device=self._device)
        return LatentPrior.from_tensors(tensors, tuple(self._model.spatial_latent(empty).shape[1:]))


def fine(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[X, Y, Z] the image's frequencies beyond those that a latent keeps."""
    texture: npt.NDArray[np.float32] = beyond(torch.from_numpy(image)[None, None])[0, 0].numpy()
    return texture


def _atlas(artifact: Artifact) -> Atlas | None:
    tensors = artifact.part("atlas")
    return Atlas.from_tensors({k: v.numpy() for k, v in tensors.items()}) if tensors else None
