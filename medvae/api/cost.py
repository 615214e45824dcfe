"""What a run will take: timed on made-up voxels of the same shape, never on a patient's."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medvae.api import room
from medvae.api.results import Cost
from medvae.api.room import PROCESS_BYTES

if TYPE_CHECKING:
    from medvae.api.records import VolumeEntry
    from medvae.config import RunConfig
    from medvae.privacy import Plan

# Floats alive per voxel and channel of the network while a gradient is taken (measured with
# /usr/bin/time on `medvae train`).
_FLOATS_PER_VOXEL = 150
# A weight and the optimiser's two moments of it.
_FLOATS_PER_WEIGHT = 3
# Passes over the patients that register them to the atlas.
_REGISTRATIONS = 4
# Of the products of an image's coefficients, clipped and rounded.
_PRODUCTS_SECONDS = 1e-3
# Of a patient who is registered to a library and measured, and of a drawn volume: seconds of one
# core, between those of a heart (1.3 and 1) and of a whole head (8 and 3).
_MEASURING_SECONDS, _DRAWING_SECONDS = 5.0, 2.0
# Passes over the patients where they are drawn from their own maps.
_MAP_PASSES = 2


def estimate(cfg: RunConfig, plan: Plan, entries: Sequence[VolumeEntry]) -> Cost:
    """Seconds and bytes of a private run on this machine: within a factor of about two.

    entries: the data set's volumes, of which shapes are looked at.
    """
    found = _estimate(cfg, plan, len(entries))
    scan = PROCESS_BYTES + max(room.by_patient(entries, cfg))
    return replace(found, memory_bytes=max(found.memory_bytes, scan))


def _estimate(cfg: RunConfig, plan: Plan, volumes: int) -> Cost:
    x, y, z = cfg.data.size
    if cfg.cosines.share:
        return _of_cosines(cfg, plan, volumes)
    step = _gradient_seconds(cfg)
    private = sum(m.steps * m.sample_rate for m in plan.mechanisms if m.name == "finetune")
    seconds = private * plan.patients * cfg.finetune.views * step
    seconds += volumes * step
    if cfg.atlas.share:
        seconds += volumes * _REGISTRATIONS * _registration_seconds(cfg)
        seconds += cfg.atlas.steps * cfg.pretrain.batch * step
    if cfg.anatomy.used:
        passes = 1 if cfg.anatomy.public else _MAP_PASSES
        seconds += passes * volumes * _MEASURING_SECONDS / (os.cpu_count() or 1)
        seconds += cfg.atlas.samples * _DRAWING_SECONDS
        seconds += cfg.atlas.steps * cfg.pretrain.batch * step
    return Cost(round(seconds, 1), PROCESS_BYTES + x * y * z * 4 * _FLOATS_PER_VOXEL)


def stored_bytes(cfg: RunConfig) -> int:
    """What a run stores at most at one time, about: two checkpoints, and the model."""
    from medvae.model import build

    voxels = math.prod(cfg.data.size)
    # Means, covariances and maps of labels, of one run or of the public stage.
    floats = 2 * voxels * (2 + max(cfg.data.labels, 0)) * max(1, len(cfg.data.channels or ()))
    if not cfg.cosines.share:
        # Weights, and in each checkpoint two moments of each beside it.
        weights = sum(weight.numel() for weight in build(cfg.model).parameters())
        floats += weights * (2 * _FLOATS_PER_WEIGHT + 1)
    return 4 * floats


def _of_cosines(cfg: RunConfig, plan: Plan, volumes: int) -> Cost:
    """Cost of the cosine model: each image is read once, and measured once a mechanism."""
    import numpy as np

    from medvae.train.cosines import basis_of

    basis = basis_of(cfg.data)
    image = np.random.default_rng(0).normal(size=(basis.channels, *basis.size))
    step = _fastest(lambda: basis.analyse(image)) + _PRODUCTS_SECONDS
    floats = volumes * len(basis) * 4
    return Cost(round(volumes * len(plan.mechanisms) * step, 1), PROCESS_BYTES + floats)


def _gradient_seconds(cfg: RunConfig) -> float:
    import torch

    from medvae.model import build
    from medvae.train.public import wants_bf16

    model = build(cfg.model)
    voxels = torch.rand(1, model.channels, *cfg.data.size) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=wants_bf16(cfg)):
        return _fastest(lambda: torch.autograd.backward(model.loss(voxels).sum()))


def _registration_seconds(cfg: RunConfig) -> float:
    import numpy as np

    from medvae.atlas.registration import MovingImage, channel_weights, registrar

    labels = max(cfg.data.labels, 0)
    shape = (1 + labels, *cfg.data.size)
    moving = MovingImage(np.random.default_rng(0).normal(size=shape))
    fixed = np.random.default_rng(1).normal(size=shape)
    tool = registrar(cfg.data.size)
    start = np.zeros((3, len(tool.basis)))
    weights = channel_weights(labels)
    return _fastest(lambda: tool.register(fixed, moving, weights, start=start, centre=start))


def _fastest(work: Callable[[], object], times: int = 2) -> float:
    """Seconds of the faster of some runs: the first one also warms up."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
