"""Parts with voxels that hold no number: background, or what a scanner left out."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.errors import InputError
from medvae.stitching import Options, join
from tests.stitching.test_stitching import body, part

PLAIN = Options(match=False)


def halves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    whole = body(3)
    return whole, whole[:30].copy(), whole[16:].copy()


@pytest.mark.parametrize("trusted", [True, False])
def test_where_one_part_has_no_number_the_other_is_taken(trusted: bool) -> None:
    whole, a, b = halves()
    a[20:26, 10:20, 10:20] = np.nan
    b[:4, 30:] = np.nan
    joined = join([part(a), part(b, (16, 0, 0) if trusted else (0, 0, 0))], PLAIN)
    assert joined.placements[1].start == ("header" if trusted else "search")
    np.testing.assert_allclose(joined.volume.voxels, whole, atol=1.5)


def test_what_no_part_shows_has_the_lowest_value() -> None:
    whole, a, b = halves()
    a[:10, :12] = np.nan
    joined = join([part(a), part(b, (16, 0, 0))], PLAIN)
    assert np.isfinite(joined.volume.voxels).all()
    np.testing.assert_array_equal(joined.volume.voxels[:10, :12], min(np.nanmin(a), b.min()))
    np.testing.assert_allclose(joined.volume.voxels[10:], whole[10:], atol=1.5)


def test_labels_follow_the_part_that_shows_something() -> None:
    _, a, b = halves()
    a[20:26, 10:20, 10:20] = np.nan
    one, two = np.full(a.shape, 1, np.uint8), np.full(b.shape, 2, np.uint8)
    joined = join([part(a, mask=one), part(b, (16, 0, 0), mask=two)], PLAIN)
    assert joined.volume.mask is not None
    assert (joined.volume.mask[20:26, 10:20, 10:20] == 2).all()
    assert set(np.unique(joined.volume.mask)) == {1, 2}


def test_a_part_without_any_number_is_refused() -> None:
    _, a, b = halves()
    with pytest.raises(InputError, match="shows nothing"):
        join([part(a), part(np.full_like(b, np.nan), (16, 0, 0))])
