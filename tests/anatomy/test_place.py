"""Twelve numbers say where and how large a subject is, and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medvae.anatomy import place

NUMBERS = st.lists(st.floats(-1.0, 1.0), min_size=12, max_size=12).map(np.array)


@given(NUMBERS)
def test_numbers_and_affine_maps_are_the_same(numbers):
    given_place = numbers * np.array([0.8] * 3 + [0.4] * 6 + [50.0] * 3)
    affine = place.affine_of(given_place)
    assert np.linalg.det(affine[:3, :3]) > 0
    np.testing.assert_allclose(place.place_of(affine, np.zeros(3)), given_place, atol=1e-9)


def test_the_shift_is_where_the_field_of_view_has_its_middle():
    affine = place.affine_of(np.zeros(12))
    affine[:3, 3] = [1.0, 2.0, 3.0]
    found = place.place_of(affine, np.array([10.0, 0.0, -5.0]))
    np.testing.assert_allclose(found[place.SHIFT], [11.0, 2.0, -2.0])


def test_a_correlation_is_one_and_shrinks_between_numbers():
    rng = np.random.default_rng(0)
    size = rng.standard_normal(50)
    places = np.zeros((50, 12))
    places[:, 3] = places[:, 4] = size
    found = place.correlation(places, np.zeros(12), np.full(12, size.std()))
    np.testing.assert_allclose(np.diag(found), 1.0)
    assert 0.75 < found[3, 4] <= 0.85
    assert (np.linalg.eigvalsh(found) > -1e-9).all()
