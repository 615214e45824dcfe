"""Volumes and pictures that were taken in overlapping parts, joined into one."""

from __future__ import annotations

from medvae.stitching.join import Joined, Options, join
from medvae.stitching.parts import Part, Placement
from medvae.stitching.refine import FREEDOMS, Freedom
from medvae.stitching.resampling import resampled

__all__ = ["FREEDOMS", "Freedom", "Joined", "Options", "Part", "Placement", "join", "resampled"]
