"""The command line: one thin file a verb over `medvae.api`."""

from __future__ import annotations

from medvae.cli.main import main

__all__ = ["main"]
