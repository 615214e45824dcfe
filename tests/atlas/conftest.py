"""One noiseless atlas that the tests share."""

from __future__ import annotations

import pytest

from medvae.atlas import Atlas, fit
from tests.atlas.cohorts import Recorder, cohort, config


@pytest.fixture(scope="session")
def fitted() -> tuple[Atlas, Recorder]:
    """A noiseless atlas of the cohort, and the mechanisms that it was measured with."""
    recorder = Recorder(divisor=6)
    return fit(cohort(), recorder, config()), recorder
