"""Poisson sampling of patients from AES-CTR."""

from __future__ import annotations

import numpy as np

from medvae.errors import UsageError
from medvae.privacy.accounting import Mechanism, check_patients
from medvae.privacy.keys import derive
from medvae.privacy.noise import keystream


class PoissonSampler:
    """Each patient is in each batch with probability q, independently of all else.

    Formal guarantee: batches are Poisson samples as the accountants assume (Abadi et al. 2016),
    from AES-256-CTR; q is rounded down to a multiple of 2^-64. Shuffled or fixed-size batches
    would overstate privacy (Chua et al. 2024). An empty batch is possible, and is a step.
    """

    def __init__(self, key: bytes, patients: int, sample_rate: float, stream: str) -> None:
        """Args: 32-byte key, public number of patients, q in (0, 1], name of the stream.

        Raises:
            UsageError: any of them out of range.
        """
        if len(key) != 32:
            raise UsageError(f"a sampling key must have 32 bytes, not {len(key)}")
        check_patients(patients)
        Mechanism(stream, sample_rate, 1, 1.0)
        self._key = bytes(key)
        self._stream = stream
        self.patients = patients
        self.sample_rate = float(sample_rate)

    def batch(self, step: int) -> list[int]:
        """Indices of the patients of `step`, ascending; a function of key, stream and step."""
        if type(step) is not int or step < 0:
            raise UsageError(f"the step of a sampler must be 0 or more, not {step!r}")
        if self.sample_rate == 1:
            return list(range(self.patients))
        key = derive(self._key, f"medvae sampling {step} {self._stream}")
        raw = keystream(key, 8 * self.patients)
        draws = np.frombuffer(raw, dtype="<u8")
        threshold = np.uint64(int(self.sample_rate * 2.0**64))
        return [int(index) for index in np.flatnonzero(draws < threshold)]
