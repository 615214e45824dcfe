"""Smaller models: the same network in fewer bytes, sealed beside the one that it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import models
from medvae.api.datasets import check_name
from medvae.api.records import CompressionNote
from medvae.api.results import Compression, Drift
from medvae.options.generate import GenerateOptions
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.api.context import TenantContext
    from medvae.model import Artifact
    from medvae.volume import Volume

# Volumes drawn from both models to say how far they are apart.
_DRAWN, _SEED = 4, 0


@dataclass(frozen=True)
class CompressRequest:
    """What `model compress` was asked for."""

    name: str
    to: str
    weights: str = "int8"
    prune: float = 0.0


def compress(context: TenantContext, request: CompressRequest, progress: Progress) -> Compression:
    """Seal a smaller form of a model under a new name; its guarantee and plan stay its own.

    What is lost is measured on procedural volumes and on volumes drawn from both models with
    the same seed: no patient is read, and nothing is spent (post-processing).

    Raises:
        NotFoundError: there is no such model.
        BudgetError: its noise does not protect its patients: no second model is made of it.
        UsageError: the new name is taken, the form is unknown, or the model is compressed.
    """
    from medvae.model.compress import compress as stage

    tenant = context.tenant
    check_name(request.to)
    with tenant.writer():
        artifact = models.load_outgoing(tenant, request.name)
        models.check_free(tenant, request.to, "--to")
        progress.start("compress", 3)
        compressed = stage(artifact, request.weights, request.prune)
        progress.advance(1, "drawing from both")
        drift = _drift(context, artifact, compressed)
        compressed.facts["compression"] |= {
            "source": request.name,
            "volumes": None if drift is None else drift.to_json(),
        }
        progress.advance(2, "sealing")
        note: CompressionNote = {
            "source": request.name,
            "weights": request.weights,
            "prune": request.prune,
        }
        with tenant.transaction():
            tenant.put("model", compressed.to_bytes(), name=request.to)
            # Beside the model, so that a list need not open every model's weights.
            tenant.put("compression", json.dumps(note).encode(), name=request.to)
        tenant.record("model compress", model=request.to, source=request.name)
        stated = models.compression(request.to, compressed)
        assert stated is not None  # The stage has just said it.
        progress.finish(f"{stated.bytes_before / stated.bytes_after:.1f} times smaller")
    return stated


def _drift(context: TenantContext, before: Artifact, after: Artifact) -> Drift | None:
    """How far apart the two models' volumes of one seed are, as parts of the intensity range.

    None for a public model, which has nothing to draw from.
    """
    import numpy as np

    from medvae.grid import public_limits

    if not any(before.part(part) for part in ("prior", "atlas", "anatomy", "cosines")):
        return None
    data = before.config().data
    ends = np.array([public_limits(own) for own in data.of_channels])
    scale = (ends[:, 1] - ends[:, 0]).reshape(-1, *([1] * (3 if data.channels else 0)))
    squares, largest = [], 0.0
    for original, other in zip(_drawn(context, before), _drawn(context, after), strict=True):
        apart = (other.voxels.astype(np.float64) - original.voxels) / scale
        squares.append(float(np.mean(apart**2)))
        largest = max(largest, float(np.abs(apart).max()))
    rms = float(np.sqrt(np.mean(squares)))
    return Drift(_DRAWN, _SEED, round(rms, 6), round(largest, 6))


def _drawn(context: TenantContext, artifact: Artifact) -> Iterator[Volume]:
    return models.draw(context, artifact, GenerateOptions("", _DRAWN, Path(), seed=_SEED))[1]
