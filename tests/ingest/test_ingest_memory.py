"""A large scan is held as few times as can be on its way from file to volume."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from medvae.ingest import contents, normalise
from medvae.volume import Volume

VOXELS = np.zeros((160, 128, 100), np.int16)[::-1]
SIZE = VOXELS.nbytes


def copies(run: Callable[[], object]) -> float:
    """The most memory that a call takes, in sizes of the scan."""
    tracemalloc.start()
    try:
        found = run()
        return tracemalloc.get_traced_memory()[1] / SIZE
    finally:
        del found
        tracemalloc.stop()


def test_bytes_are_one_copy_and_reading_them_none() -> None:
    volume = Volume(np.asfortranarray(VOXELS), np.eye(4), "mri")
    assert copies(volume.to_bytes) < 1.1
    data = volume.to_bytes()
    assert copies(lambda: Volume.from_bytes(data)) < 0.1


@pytest.mark.parametrize("kind", [np.int16, np.uint16])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (2, -5)])
def test_a_whole_scale_is_applied_in_place(kind: type, slope: int, intercept: int) -> None:
    stored = np.arange(SIZE // 2, dtype=np.uint32).reshape(VOXELS.shape) % 5000
    expected = normalise.rescaled(stored.astype(kind), slope, intercept)
    kept = stored.astype(kind)
    assert copies(lambda: normalise.rescaled(kept, slope, intercept, reuse=True)) < 0.1
    assert np.array_equal(kept.view(np.int16), expected)
    assert np.array_equal(expected, stored.astype(np.int64) * slope + intercept)


def test_what_was_read_only_or_in_another_byte_order_is_copied() -> None:
    stored = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    locked = stored.copy()
    locked.flags.writeable = False
    for one in (locked, stored.astype(">i2")):
        assert np.array_equal(normalise.rescaled(one, 1, 5, reuse=True), stored + 5)
    assert np.array_equal(locked, stored)
    assert np.array_equal(normalise.rescaled(stored, 1, 5), stored + 5)
    assert stored[0, 0, 0] == 0


def test_checks_of_whole_numbers_copy_nothing() -> None:
    voxels = VOXELS.copy()
    voxels[0] = -1000
    assert copies(lambda: normalise.plausible(normalise.ends(voxels), "ct")) < 0.1
    assert copies(lambda: contents.guess_modality(voxels)) < 0.6


def test_the_reading_side_loads_no_parser_and_no_configuration() -> None:
    """It starts sooner so, and no parser is where the keys are."""
    script = (
        "import sys, medvae.ingest.reading\n"
        "loaded = {'nibabel', 'pydicom', 'PIL', 'pydantic', 'scipy', 'torch'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
