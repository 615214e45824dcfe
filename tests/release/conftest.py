"""Fixtures: a signing key, and a way to make a small release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvae.config import DataConfig
from medvae.release import ReleaseResult, create
from tests.release.made import MRI, Key, facts, synthetic


@pytest.fixture
def key() -> Key:
    return Key()


@pytest.fixture
def make(tmp_path: Path, key: Key) -> Callable[..., ReleaseResult]:
    """make(data=MRI, n=3, **create arguments) -> a finished release under tmp_path."""

    def run(data: DataConfig = MRI, n: int = 3, **changes: Any) -> ReleaseResult:
        arguments: dict[str, Any] = {
            "volumes": synthetic(n, data),
            "out": tmp_path / "release",
            "facts": facts(data),
            "sign": key.sign,
            "public_key": key.public,
        }
        return create(**{**arguments, **changes})

    return run
