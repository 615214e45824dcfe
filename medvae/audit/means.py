"""Released means that a model stores, and any candidate's vectors for them.

Most mechanisms of a run release a noisy mean over patients of a vector that anyone with a patient's
scan and the model can compute. This module recovers these means from the model, with shrinkage
inverted, and computes a volume's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.parts import parts_of
from medvae.anatomy.patients import public_maps
from medvae.anatomy.scan import Scan, scan_of
from medvae.anatomy.templates import MapMechanism
from medvae.atlas import Atlas, boundary_profile, budget, hounsfield, intensity, refinement
from medvae.atlas.deformation import DeformationCode
from medvae.atlas.displacement import invert, warp
from medvae.atlas.features import channels, standardise
from medvae.atlas.refinement import Refinement
from medvae.atlas.registration import MovingImage, channel_weights, registrar
from medvae.atlas.shrinkage import unshrink
from medvae.atlas.template import CLIP, COARSE_REACH, REACH, REFINE_REACH, Layout
from medvae.config import RunConfig
from medvae.cosines.basis import Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import Part as CosinePart
from medvae.cosines.planned import VOXELS, mechanisms
from medvae.cosines.planned import parts_of as parts_of_cosines
from medvae.errors import InputError, IntegrityError
from medvae.grid import Gridded
from medvae.model import Artifact, LatentPrior, load_model
from medvae.model.prior import coordinates, mean_size
from medvae.privacy import Plan
from medvae.privacy.joint import Joint, joined
from medvae.privacy.recentre import centre_name, sigma_of
from medvae.volume import Volume

Array = npt.NDArray[np.float64]
PRIOR = "prior.mean"
# Limit of all patients' vectors for one mean, in numbers: half a gigabyte.
MAX_NUMBERS = 1 << 26


@dataclass(frozen=True)
class Mean:
    """One released mean.

    Attributes:
        mechanisms: names of those that released it.
        released: [D] the mean, as recovered from the model.
        clip: largest norm of a patient's vector.
        sigma: std of the plan's noise in each coordinate.
        exact: the recovered mean is the released one.
    """

    mechanisms: tuple[str, ...]
    released: Array
    clip: float
    sigma: float
    exact: bool


class Means:
    """The means that a model stores, by mechanism, and any volume's vectors for them."""

    def __init__(
        self, artifact: Artifact, plan: Plan, anatomy: CohortAnatomy | None = None
    ) -> None:
        """anatomy: the library's entry that the model was trained with, if any."""
        self.by_name: dict[str, Mean] = {}
        self._of_scans: Callable[[Scan], dict[str, Array]] | None = None
        self._measures: list[Callable[[Gridded], dict[str, Array]]] = []
        self._planned = {mechanism.name for mechanism in plan.mechanisms}
        self._plan = plan
        self.patients = plan.patients
        cfg = artifact.config()
        self._data = cfg.data
        tensors = {k: v.numpy() for k, v in artifact.part("atlas").items()}
        atlas = Atlas.from_tensors(tensors) if tensors else None
        if atlas is not None:
            self._of_greys(atlas)
            self._of_shapes(atlas, cfg)
        elif anatomy is not None:
            self._of_anatomy(artifact, anatomy)
        elif artifact.part("cosines"):
            self._of_cosines(artifact)
        elif PRIOR in self._planned and artifact.part("prior"):
            self._of_prior(artifact, cfg)

    def vectors(self, volume: Gridded) -> dict[str, Array]:
        """By mechanism, the vector [D] of one volume."""
        vectors: dict[str, Array] = {}
        for measure in self._measures:
            vectors |= measure(volume)
        return vectors

    def scan_vectors(self, volume: Volume) -> dict[str, Array]:
        """By mechanism, the vector [D] of one volume on its own grid; {} if it has none."""
        if self._of_scans is None:
            return {}
        try:
            return self._of_scans(scan_of(volume, self._data))
        except InputError:
            return {}

    def attacked(self) -> set[str]:
        """Names of the mechanisms that released these means."""
        return {name for mean in self.by_name.values() for name in mean.mechanisms}

    def _add(self, name: str, released: Array, clip: float, *, exact: bool = False) -> None:
        parts = tuple(part for part in (centre_name(name), name) if part in self._planned)
        self.by_name[name] = Mean(parts, released, clip, sigma_of(self._plan, name, clip), exact)

    def _of_greys(self, atlas: Atlas) -> None:
        """Histograms and boundary profiles, which need no registration."""
        grey = intensity if atlas.grey_centre is None else hounsfield
        noise_std = sigma_of(self._plan, budget.INTENSITY, grey.CLIP)
        noisy = atlas.grey * (1 + (noise_std / grey.COHORT_STD) ** 2)
        self._add(budget.INTENSITY, noisy, grey.CLIP, exact=True)
        if budget.PROFILE in self._planned:
            noisy = boundary_profile.WEIGHTS * atlas.profile[0]
            self._add(budget.PROFILE, noisy, boundary_profile.CLIP, exact=True)

        def measure(volume: Gridded) -> dict[str, Array]:
            vectors = {budget.INTENSITY: grey.coefficients(volume.image.astype(np.float64))}
            if budget.PROFILE in self._planned:
                mask = np.zeros(atlas.shape, np.uint8) if volume.mask is None else volume.mask
                labels = np.where(mask <= atlas.labels, mask, 0).astype(np.uint8)
                vectors[budget.PROFILE] = boundary_profile.weighted_profile(volume.image, labels)
            return vectors

        self._measures.append(measure)

    def _of_anatomy(self, artifact: Artifact, cohort: CohortAnatomy) -> None:
        """The joint vectors of position, shape and the rest, which the model stores as released."""
        arrays = {k: v.numpy() for k, v in artifact.part("anatomy").items()}
        model = AnatomyModel.read(cohort, arrays)
        cohort, joints = model.cohort, {}
        maps = _maps(cohort)
        for name, released in model.released.items():
            if name in maps:
                self._add(name, released, maps[name][1].clip, exact=True)
                continue
            parts = parts_of(
                name,
                len(released),
                model.centre,
                cohort.bands,
                model.shape_share,
                model.greys_apart,
            )
            own = joined(parts)
            joints[name] = (parts, own)
            self._add(name, released, own.clip, exact=True)

        def measure(scan: Scan) -> dict[str, Array]:
            own = {
                name: layout.join(vectors)
                for name, (mechanism, layout) in maps.items()
                if (vectors := mechanism.vectors(scan)) is not None
            }
            measured = cohort.measure(scan)
            if measured is None:
                return own
            return own | {
                name: layout.join({p.name: p.measure(measured, model.numbers) for p in parts})
                for name, (parts, layout) in joints.items()
            }

        self._of_scans = measure

    def _of_cosines(self, artifact: Artifact) -> None:
        """The joint vectors of cosines, which the model stores as released.

        Raises:
            IntegrityError: the model's numbers are not what follows from its releases.
        """
        basis = Basis.of(self._data)
        arrays = {k: v.numpy() for k, v in artifact.part("cosines").items()}
        model = CosineModel.read(basis, arrays)
        public = Numbers.public(basis, self._data.classes)
        joints: dict[str, tuple[list[CosinePart], Joint, CosineModel]] = {}
        # A model of an earlier version has no gains, and no shares of grey values.
        for name in (mechanism for mechanism, _ in mechanisms(basis) if mechanism in self._planned):
            parts = parts_of_cosines(name, basis, public, partial(sigma_of, self._plan))
            own, noisy = joined(parts), model.released[name]
            sigma, before = sigma_of(self._plan, name, own.clip), CosineModel(basis, public)
            # Nothing is measured around moments of voxels, and what they make takes many draws.
            for part in parts if name != VOXELS else ():
                piece = own.split(noisy)[part.name]
                public = part.estimate(piece, own.sigma(part.name, sigma), public)
            # Products of many coefficients of many patients may exceed the memory.
            if own.dimension * self.patients <= MAX_NUMBERS:
                joints[name] = parts, own, before
                self._add(name, noisy, own.clip, exact=True)
        if not np.allclose(public.covariance, model.numbers.covariance, rtol=1e-3, atol=1e-9):
            raise IntegrityError("the model's numbers do not follow from what was released")

        def measure(volume: Gridded) -> dict[str, Array]:
            analysed: dict[int, Array] = {}
            found = {}
            for name, (parts, own, before) in joints.items():
                scored = len(before.numbers.marginals)
                if scored not in analysed:
                    analysed[scored] = before.analyse(volume.image, volume.mask)
                vectors = {p.name: p.measure(analysed[scored], volume.category) for p in parts}
                found[name] = own.join(vectors)
            return found

        self._measures.append(measure)

    def _of_shapes(self, atlas: Atlas, cfg: RunConfig) -> None:
        """Displacements, and differences of registered volumes from the template.

        Around a refined template, the differences of the patients that it was made from sum to
        zero. A template that was not refined is the mean of unregistered volumes.
        """
        centre = atlas.grey_centre
        code, basis = DeformationCode(atlas.basis), atlas.basis
        noise_std = sigma_of(self._plan, budget.DEFORMATION, code.clip)
        # `encode` multiplies each coefficient by its weight, and so divides its noise by it.
        code_weights = code.encode(np.ones((3, len(basis)))).reshape(3, -1)[0]
        noisy = unshrink(atlas.centre, noise_std / code_weights, basis.frequency)
        self._add(budget.DEFORMATION, code.encode(noisy), code.clip)
        tool, moving = registrar(atlas.shape), MovingImage(atlas.template)
        zero = np.zeros_like(atlas.centre)
        weights = channel_weights(atlas.labels)
        names = (budget.REFINE_AGAIN, budget.REFINE)
        refined = next((name for name in names if name in self._planned), None)
        if refined is None:
            layout = self._unrefined(atlas)
        else:
            refinement_code = self._refined(atlas, refined, sharp=cfg.atlas.public != "none")

        def measure(volume: Gridded) -> dict[str, Array]:
            fixed = channels(volume, atlas.labels, centre)
            coefficients = tool.register(fixed, moving, weights, start=zero, centre=zero)
            vectors = {budget.DEFORMATION: code.encode(coefficients)}
            if refined is None:
                vectors[budget.MEAN] = layout.encode(standardise(volume.image, centre))
            else:
                aligned = warp(fixed, invert(basis.synthesise(coefficients)))
                vectors[refined] = refinement_code.encode(aligned - atlas.template)
            return vectors

        self._measures.append(measure)

    def _unrefined(self, atlas: Atlas) -> Layout:
        noise_std = sigma_of(self._plan, budget.MEAN, CLIP)
        layout = Layout.plan(atlas.shape, noise_std, REACH)
        shrunk = layout.basis.analyse(atlas.template[0])
        noisy = unshrink(shrunk, noise_std / layout.weights, layout.basis.frequency)
        self._add(budget.MEAN, noisy * layout.weights, CLIP)
        return layout

    def _refined(self, atlas: Atlas, name: str, *, sharp: bool) -> Refinement:
        clip = refinement.clip(atlas.labels, sharp=sharp)
        reach = REFINE_REACH if name == budget.REFINE_AGAIN else COARSE_REACH
        noise_std = sigma_of(self._plan, name, clip)
        code = Refinement.plan(atlas.template, noise_std, reach, sharp=sharp)
        self._add(name, np.zeros(code.dimension), clip)
        return code

    def _of_prior(self, artifact: Artifact, cfg: RunConfig) -> None:
        """Weighted latents; with an atlas, the model does not store the weights."""
        model = load_model(artifact)
        with torch.no_grad():
            empty = torch.zeros(1, *model.latent_shape(cfg.data.size))
            shape = tuple(model.spatial_latent(empty).shape[1:])
        prior = LatentPrior.from_tensors(artifact.part("prior"), shape)
        scale = prior.structure.double().numpy()
        sigma = sigma_of(self._plan, PRIOR, 1.0)
        count, clip = mean_size(scale, cfg.prior.clip, sigma)
        weights = scale[:count] ** -0.5
        self._add(PRIOR, weights * prior.mean[:count].double().numpy(), clip)

        @torch.no_grad()
        def measure(volume: Gridded) -> dict[str, Array]:
            flat = np.ascontiguousarray(volume.image, dtype=np.float32)
            mean, _ = model.encode(torch.from_numpy(flat)[None, None])
            code = coordinates(model.spatial_latent(mean))[0, :count]
            return {PRIOR: weights * code.double().numpy()}

        self._measures.append(measure)


def _maps(cohort: CohortAnatomy) -> dict[str, tuple[MapMechanism, Joint]]:
    """The mechanisms of the patients' own maps, by name; none with a library entry."""
    if cohort.maps is None:
        return {}
    planned = cohort.maps.mechanisms(public_maps(cohort.data))
    return {mechanism.name: (mechanism, joined(mechanism.parts)) for mechanism in planned}
