"""Which statistics of hospitals can be joined: of one entry, one protocol, and within their clips.

Every refusal comes before anything is made of the numbers, and names the file. Numbers that a
hospital invents within its clip and noise cannot be distinguished from others: what such a one can
do is move the joint mean by both times its part of all patients (SECURITY.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.registration.geometry import Array
from medvae.config import RunConfig
from medvae.errors import InputError, UsageError
from medvae.model.artifact import FORMAT
from medvae.privacy import Plan, joint
from medvae.privacy.recentre import RADIUS, centre_name, sigma_of
from medvae.train import continuing
from medvae.train.hospitals import Member, Public
from medvae.train.statistics import CENTRE, MADE, RELEASED, Statistics, digest_of

# Deviations of noise beyond its usual length: passed by chance once in 10^10 files.
_FAR: Final = 7.0
# Rounding of another machine, in what is computed of the library's entry there.
_ROUNDING: Final = 1e-6
# Voxels of a drawn volume, and volumes and steps that the joint model's network trains on.
_VOXELS, _SAMPLES, _STEPS = 1 << 28, 1024, 10_000
# Channels of its latents; usual are 8.
_LATENTS: Final = 256
_NUMBERS: Final = (
    *("place", "place_std", "shape", "shape_std"),
    *("figures", "figures_std", "figures_within"),
)


def check_config(cfg: RunConfig, plan: Plan, what: str) -> None:
    """Refuse a model whose statistics cannot be joined with any other.

    what: the model or file, for the message.

    Raises:
        UsageError: it draws no public people, has sites, or had other mechanisms, too.
    """
    if not cfg.anatomy.public:
        raise UsageError(
            f"{what} has no anatomy of public people: only statistics round one public entry, in "
            "its units, can be joined; train with anatomy.library"
        )
    if cfg.data.sites:
        raise UsageError(
            f"{what} has sites of its own, which cannot be joined with those of others; train with "
            "data.sites []"
        )
    if cfg.cosines.share > 0:
        raise UsageError(
            f"{what} is drawn by cosines, which cannot be joined; train with anatomy.library"
        )
    if cfg.data.channels:
        raise UsageError(
            f"{what} has channels, whose anatomy model cannot be joined; let each hospital make a "
            "release, and join the folders"
        )
    names = {mechanism.name.removesuffix(centre_name("")) for mechanism in plan.mechanisms}
    known = set(Public.names_of(max(cfg.data.classes, 0)))
    if names != known:
        odd = ", ".join(sorted(names ^ known))
        raise UsageError(
            f"{what} had other mechanisms than those of the anatomy model alone ({odd}): what "
            "DP-SGD taught a network cannot be joined; train with anatomy.share 1"
        )
    if cfg.privacy.unit is None:
        raise UsageError(f"{what} does not say who is protected (privacy.unit); train it again")


def check_bounds(cfg: RunConfig, source: str) -> None:
    """Refuse what would take memory or hours beyond all bounds, before anything is made of it.

    Raises:
        UsageError: a grid, a network or a training that is too large.
    """
    if math.prod(cfg.data.size) > _VOXELS:
        raise UsageError(f"{source} asks for volumes of more than {_VOXELS} voxels")
    if cfg.model.latent_channels > _LATENTS:
        raise UsageError(f"{source} asks for latents of more than {_LATENTS} channels")
    if cfg.atlas.samples > _SAMPLES or cfg.atlas.steps > _STEPS:
        raise UsageError(
            f"{source} asks for more than {_SAMPLES} volumes or {_STEPS} steps of training"
        )


def check_alike(members: Sequence[Statistics]) -> None:
    """Refuse files that are not of one protocol, or one twice.

    Raises:
        UsageError: what differs, and between which.
    """
    first = members[0]
    seen: dict[str, Statistics] = {}
    for member in members:
        vectors = (digest_of({k: v}) for k, v in member.under(RELEASED).items())
        for key in (member.statement.arrays, *vectors):
            if key in seen and seen[key] is not member:
                raise UsageError(
                    f"{member.source} holds what {seen[key].source} holds: a hospital is joined "
                    "once, so leave one of them out"
                )
            seen[key] = member
        key, own, other = continuing.difference(first.config, member.config)
        if key:
            raise UsageError(
                f"{member.source} was trained with {key} {other}, and {first.source} with {own}: "
                "only what agrees in data, model and anatomy can be joined; leave one of them out"
            )


def member_of(statistics: Statistics, cohort: CohortAnatomy) -> Member:
    """What one file adds, once it is seen to be of the library's entry and within its clips.

    Raises:
        UsageError: another format, version or entry than here, or a grid beyond all bounds.
        InputError: arrays are missing or odd, not finite, or beyond what clip and noise allow.
    """
    source, cfg, plan = statistics.source, statistics.config, statistics.plan
    check_config(cfg, plan, source)
    if statistics.statement.artifact != FORMAT:
        raise UsageError(f"{source} is of a model whose noise does not protect; train it again")
    check_bounds(cfg, source)
    try:
        voxels = math.prod(cohort.grid().shape)
    except OverflowError:
        # Voxels so small that no number says how many there are.
        voxels = _VOXELS + 1
    if voxels > _VOXELS:
        raise UsageError(f"{source} asks for volumes of more than {_VOXELS} voxels")
    public = public_of(cohort)
    expected = {f"{CENTRE}{name}" for name in _NUMBERS} | {f"{MADE}{name}" for name in made(cohort)}
    expected |= {f"{RELEASED}{name}" for name in public.names}
    if set(statistics.arrays) != expected:
        odd = sorted(set(statistics.arrays) ^ expected)[0]
        raise UsageError(
            f"{source} is of another version of the anatomy model ({odd} is missing or unknown "
            "here); use one version of medvae everywhere, and train again where it is older"
        )
    if not all(np.isfinite(values).all() for values in statistics.arrays.values()):
        raise InputError(f"{source} holds numbers that are not finite, as no hospital releases")
    _check_same(statistics, cohort)
    released = statistics.under(RELEASED)
    noise = {name: _within_clip(name, released, public, plan, source) for name in public.names}
    return Member(statistics.statement.arrays, plan.patients, released, noise)


def public_of(cohort: CohortAnatomy) -> Public:
    """What all hospitals with the library's entry measure around."""
    renderer = cohort.renderer
    classes = max(cohort.data.classes, 0)
    return Public(cohort.numbers, cohort.bands, renderer.greys_apart, renderer.related, classes)


def centre(cohort: CohortAnatomy) -> dict[str, Array]:
    """Public people's numbers, as a file holds them."""
    return {name: np.asarray(getattr(cohort.numbers, name), np.float64) for name in _NUMBERS}


def made(cohort: CohortAnatomy) -> dict[str, Array]:
    """What a model file of this version says of how it was made."""
    model = AnatomyModel(cohort, cohort.numbers, greys_apart=cohort.renderer.greys_apart)
    numbers = set(cohort.numbers.to_arrays())
    return {
        name: np.asarray(values, np.float64)
        for name, values in model.to_arrays().items()
        if name not in numbers
    }


def is_made_today(cohort: CohortAnatomy, arrays: Mapping[str, Array]) -> bool:
    """Whether a model's arrays are of this version, which alone can be joined."""
    return all(
        name in arrays and np.array_equal(arrays[name], values)
        for name, values in made(cohort).items()
    )


def _check_same(statistics: Statistics, cohort: CohortAnatomy) -> None:
    """The file's centre and version are those of this library."""
    if not is_made_today(cohort, statistics.under(MADE)):
        raise UsageError(
            f"{statistics.source} is of another version of the anatomy model; use one version of "
            "medvae everywhere, and train again where it is older"
        )
    theirs = statistics.under(CENTRE)
    for name, values in centre(cohort).items():
        close = theirs[name].shape == values.shape and np.allclose(
            theirs[name], values, rtol=_ROUNDING, atol=_ROUNDING * float(np.abs(values).max())
        )
        if not close:
            raise UsageError(
                f"{statistics.source} was measured around other public numbers ({name}) than the "
                "entry of this library gives; use one version of medvae everywhere"
            )


def _within_clip(
    name: str, released: Mapping[str, Array], public: Public, plan: Plan, source: str
) -> float:
    """Noise deviation of a vector, which is no longer than clip and noise allow."""
    vector = released[name]
    try:
        if vector.ndim != 1:
            raise ValueError(f"{name} is no vector")
        parts = public.parts(name, public.count(released[public.names[0]]))
        joined = joint.joined(parts)
        values = joined.split(vector)
    except (ValueError, UsageError) as error:
        raise InputError(f"{source} holds a vector of no anatomy model: {error}") from error
    sigma = sigma_of(plan, name, joined.clip)
    centre_sigma, rest = 0.0, joined.clip
    own = {mechanism.name: mechanism for mechanism in plan.mechanisms}
    if centre_name(name) in own:
        # A noisy centre, within clip and noise, and what differs from it by at most the radius.
        noise = own[centre_name(name)].noise_multiplier
        centre_sigma, rest = noise * joined.clip / plan.patients, RADIUS * joined.clip
    for part in parts:
        unit, size = joined.sigma(part.name, 1.0), math.sqrt(part.dimension) + _FAR
        reach = min(part.clip, rest * unit)
        if centre_sigma:
            reach = part.clip + centre_sigma * unit * size + rest * unit
        _check_length(values[part.name], reach + sigma * unit * size, f"{part.name} of {source}")
    size = math.sqrt(joined.dimension) + _FAR
    reach = rest if not centre_sigma else joined.clip + centre_sigma * size + rest
    _check_length(vector, reach + sigma * size, f"{name} of {source}")
    return sigma


def _check_length(vector: Array, most: float, what: str) -> None:
    length = float(np.linalg.norm(vector))
    if not length <= most:
        raise InputError(
            f"{what} has length {length:.3g}, and clip and noise allow {most:.3g}: no training "
            "released that; ask the hospital, or leave the file out"
        )
