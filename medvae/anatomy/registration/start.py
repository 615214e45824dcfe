"""Where registration begins: shifts and rotations about one axis, and the affine modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from medvae.anatomy.registration.geometry import Array, Box, affine_points
from medvae.anatomy.registration.subject import SubjectLevel
from medvae.anatomy.registration.template import Template, TemplateLevel


def linear_sizes(box: Box) -> Array:
    """[3] mm: coordinates relative to the centre divided by these have mean square 1 on the box."""
    return np.asarray(np.asarray(box.size) / np.sqrt(12.0), np.float64)


def affine_of_modes(modes: Array, box: Box) -> Array:
    """[4, 4] linear map p -> displacement of affine modes [3, 4] (see `CosineBasis`)."""
    change = np.zeros((4, 4))
    change[:3, :3] = modes[:, 1:] / linear_sizes(box)
    change[:3, 3] = modes[:, 0] - change[:3, :3] @ box.centre
    return change


def starts(
    scan: SubjectLevel, maps: TemplateLevel, template: Template, angles: Sequence[float]
) -> Iterator[Array]:
    """[4, 4] affine maps, scanner mm to template mm: every shift with every angle.

    Shifts: the middle of the grid to the middle of the box; the subject's foreground to the
    template's, where both have one.
    """
    shape = scan.values.shape[1:]
    middle = scan.affine[:3, :3] @ ((np.asarray(shape) - 1) / 2.0) + scan.affine[:3, 3]
    pairs = [(middle, template.box.centre)]
    own, other = _subject_foreground(scan, template), _template_foreground(maps, template)
    if own is not None and other is not None:
        x, y, z = shape
        here = _centroid(own, affine_points(scan.affine, (x, y, z), own.device))
        there = _centroid(other, maps.grid.centres(other.device))
        if here is not None and there is not None:
            pairs.insert(0, (here, there))
    for here, there in pairs:
        for angle in angles:
            affine = np.eye(4)
            c, s = np.cos(angle), np.sin(angle)
            affine[:2, :2] = [[c, -s], [s, c]]
            affine[:3, 3] = there - affine[:3, :3] @ here
            yield affine


def _foreground(channels: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "distances":
        return (channels < 0).any(dim=0).float()
    return channels.sum(dim=0).clamp(0.0, 1.0)


def _bright(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    total = float(weight.sum(dtype=torch.float64))
    mean = float((image * weight).sum(dtype=torch.float64)) / max(total, 1e-9)
    return (image > mean).float() * weight


def _subject_foreground(scan: SubjectLevel, template: Template) -> torch.Tensor | None:
    if len(template.channels):
        return _foreground(scan.values[: len(template.channels)], template.kind) * scan.weight[0]
    return _bright(scan.values[-1], scan.weight[0]) if scan.has_image else None


def _template_foreground(maps: TemplateLevel, template: Template) -> torch.Tensor | None:
    if len(template.channels):
        return _foreground(maps.channels, template.kind)
    if maps.memberships is None or template.appearance is None:
        return None
    means = torch.from_numpy(template.appearance.means).float().to(maps.memberships.device)
    image = torch.tensordot(means, maps.memberships, dims=1)
    return _bright(image, torch.ones_like(image))


def _centroid(mass: torch.Tensor, points: torch.Tensor) -> Array | None:
    total = float(mass.sum(dtype=torch.float64))
    if total <= 0:
        return None
    return np.asarray((points * mass).sum(dim=(1, 2, 3), dtype=torch.float64).cpu().numpy() / total)
