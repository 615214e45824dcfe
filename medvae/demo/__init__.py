"""The journey, start to end, on a cohort made on the spot."""

from __future__ import annotations

from medvae.demo.journey import run
from medvae.demo.sources import fetch

__all__ = ["fetch", "run"]
