"""Made-up anatomy in millimetres, and known maps to move it by."""

from __future__ import annotations

import numpy as np
import torch

from medvae.anatomy.registration import (
    Alignment,
    Box,
    CosineBasis,
    Subject,
    Template,
    pull_to_subject,
)

BOX = Box((-60.0, -70.0, -60.0), (120.0, 140.0, 120.0))
CPU = torch.device("cpu")
# Ellipsoids: centre and half axes in mm. Each is a label; the later ones cut into the earlier.
ORGANS = (
    ((0.0, 0.0, 0.0), (40.0, 50.0, 42.0)),
    ((-15.0, 12.0, 5.0), (14.0, 20.0, 16.0)),
    ((16.0, -12.0, -8.0), (12.0, 16.0, 20.0)),
    ((4.0, 22.0, 20.0), (9.0, 9.0, 8.0)),
)
MEANS = np.array([0.05, 0.5, 0.85, 0.3, 0.95])


def shares(points: torch.Tensor) -> np.ndarray:
    """[5, ...] share of the background and of each organ at points [3, ...], soft over 3 mm."""
    left = np.ones(points.shape[1:])
    found = []
    for centre, half in reversed(ORGANS):
        scaled = [(points[a].numpy() - centre[a]) / half[a] for a in range(3)]
        radius = np.sqrt(sum(part**2 for part in scaled))
        inside = 1.0 / (1.0 + np.exp((radius - 1.0) * min(half) / 1.5))
        found.append(left * inside)
        left = left * (1.0 - inside)
    return np.stack([left, *found[::-1]]).astype(np.float32)


def template(spacing: float = 2.0) -> Template:
    """The organs at rest."""
    maps = shares(BOX.grid(spacing).centres(CPU))
    return Template(BOX, maps[1:], "shares", np.full(4, 0.3))


def moved(seed: int, *, strain: float = 0.06, shift: float = 8.0, size: float = 1.0) -> Alignment:
    """A random alignment: affine with `strain` and `shift` mm, cosines of `size` deviations."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] += strain * rng.standard_normal((3, 3))
    affine[:3, 3] = shift * rng.standard_normal(3)
    basis = CosineBasis(BOX, 1 / 60)
    cosines = size * rng.standard_normal((3, len(basis)))
    return Alignment(BOX, 1 / 60, affine, cosines, 0.0, 1.0)


def grid(spacing: tuple[float, float, float], extent: float = 150.0) -> tuple[np.ndarray, tuple]:
    """Affine and shape of a scan of `extent` mm a side, tilted a little."""
    shape = tuple(round(extent / s) for s in spacing)
    tilt, c, s = np.eye(4), np.cos(0.1), np.sin(0.1)
    tilt[1:3, 1:3] = [[c, -s], [s, c]]
    affine = tilt @ np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return affine, shape


def scan(truth: Alignment, spacing: tuple[float, float, float], **fields: object) -> Subject:
    """The organs of somebody who lies where `truth` says, on a scan's grid."""
    affine, shape = grid(spacing)
    maps = pull_to_subject(template(1.5).channels, truth, affine, shape)
    return Subject(affine, maps, **fields)  # type: ignore[arg-type]


def error(alignment: Alignment, truth: Alignment) -> float:
    """Root mean square, over the body in mm, of the distance between the two places of a point."""
    affine, shape = grid((4.0, 4.0, 4.0))
    places = BOX.grid(2.0).centres(CPU).numpy()
    body = pull_to_subject(template().channels, truth, affine, shape).sum(axis=0) > 0.5
    one, other = (pull_to_subject(places, a, affine, shape)[:, body] for a in (alignment, truth))
    return float(np.sqrt(((one - other) ** 2).sum(axis=0).mean()))
