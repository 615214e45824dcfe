"""What an MRI's contrast makes of tissues: signal equations, and the greys that follow."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.anatomy.drawing import sequences
from medvae.anatomy.drawing.contrasts import greys
from medvae.anatomy.drawing.relaxation import FLUID, GREY, WHITE, relaxation
from medvae.anatomy.drawing.sequences import protocols

NAMES = ["white matter", "cerebral cortex", "lateral ventricle", "putamen", "fat", "muscle", "air"]
COUNT = 50


class Fixed:
    """Draws the lower, or the upper, end of every range."""

    def __init__(self, end: int) -> None:
        self.end = end

    def uniform(self, *ends_and_size):
        ends, size = ends_and_size[:2], ends_and_size[2]
        return np.full(size, ends[self.end], float)


@pytest.mark.parametrize(
    ("contrast", "brightest_first"),
    [
        ("t1", ["fat", "white matter", "putamen", "cerebral cortex", "lateral ventricle", "air"]),
        ("t2", ["lateral ventricle", "cerebral cortex", "white matter", "muscle", "air"]),
        ("pd", ["cerebral cortex", "white matter", "air"]),
        ("flair", ["cerebral cortex", "white matter", "lateral ventricle", "air"]),
    ],
)
def test_a_contrast_orders_tissues(contrast, brightest_first):
    found = greys(NAMES, contrast)
    means = [found.mean[NAMES.index(name)] for name in brightest_first]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) == len(means)
    assert found.mean[NAMES.index("air")] == -1.0
    assert found.mean.max() <= 1.0


@pytest.mark.parametrize("contrast", ["t1", "t2", "pd", "flair"])
def test_tissues_of_one_kind_go_together(contrast):
    names = [*NAMES, "3rd ventricle", "caudate"]
    found = greys(names, contrast)
    matrix = found.correlation
    np.testing.assert_allclose(np.diag(matrix), 1.0)
    assert np.linalg.eigvalsh(matrix)[0] > 0.0
    fluids = matrix[names.index("lateral ventricle"), names.index("3rd ventricle")]
    deep = matrix[names.index("putamen"), names.index("caudate")]
    # Each more than either with the other kind.
    assert min(fluids, deep) > matrix[names.index("lateral ventricle"), names.index("putamen")]
    again = greys(names, contrast)
    np.testing.assert_array_equal(again.mean, found.mean)
    np.testing.assert_array_equal(again.correlation, found.correlation)


def test_what_no_one_knows_may_be_much():
    found = greys(["white matter", "xyz", "cortical bone"], "t1")
    assert found.std[1] > found.std[0]
    assert found.mean[2] < found.mean[0] - 0.5


def test_names_are_read_in_the_spelling_of_atlases():
    assert relaxation("Left-Cerebral-White-Matter") is WHITE
    assert relaxation("Left-Lateral-Ventricle") is FLUID
    assert relaxation("ctx_superior_gyrus") is GREY
    assert relaxation("xyz") is None


@pytest.mark.parametrize("end", [0, 1])
def test_the_prepared_gradient_echo_is_that_of_pulse_after_pulse(end):
    """The steady state in closed form, beside a simulation of twenty cycles."""
    is_high = np.ones(1, bool)
    signal = sequences._prepared(is_high, Fixed(end))
    for t1 in (400.0, 1000.0, 4000.0):
        inversion, repetition = (850.0, 1100.0)[end], (1800.0, 2600.0)[end]
        between, flip = (6.0, 9.5)[end], np.radians((7.0, 12.0)[end])
        pulses, left = (120, 190)[end], (0.85, 1.0)[end]
        before = inversion - between * pulses / 2
        after = repetition - before - between * pulses
        along, middle = 1.0, 0.0
        for _ in range(20):
            along = 1.0 - (1.0 + left * along) * np.exp(-before / t1)
            for pulse in range(pulses):
                if pulse == pulses // 2:
                    middle = along
                along = 1.0 - (1.0 - along * np.cos(flip)) * np.exp(-between / t1)
            along = 1.0 - (1.0 - along) * np.exp(-after / t1)
        expected = abs(middle) * np.sin(flip) * np.exp(-3.0 / 80.0)
        assert signal(np.array([t1]), 80.0)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("end", [0, 1])
def test_the_spoiled_gradient_echo_is_that_of_pulse_after_pulse(end):
    is_high = np.zeros(1, bool)
    signal = sequences._spoiled(is_high, Fixed(end))
    repetition, echo = (7.0, 30.0)[end], (2.0, 6.0)[end]
    flip = np.arccos(np.exp(-repetition / WHITE.t1_low)) * (1.0, 2.2)[end]
    along = 1.0
    for _ in range(5000):
        before = along
        along = 1.0 - (1.0 - along * np.cos(flip)) * np.exp(-repetition / 1000.0)
    expected = before * np.sin(flip) * np.exp(-echo / 80.0)
    assert signal(np.array([1000.0]), 80.0)[0] == pytest.approx(expected, rel=1e-6)


def test_flair_leaves_little_of_free_fluid():
    made = protocols("flair", COUNT, np.random.default_rng(0))
    fluid = made.signal(FLUID.t1(made.is_high), FLUID.t2)
    grey = made.signal(GREY.t1(made.is_high), GREY.t2)
    # It has ten times the signal in the T2-weighted images.
    assert np.median(fluid / grey) < 0.5
    plain = protocols("t2", COUNT, np.random.default_rng(0))
    assert (
        np.median(
            plain.signal(FLUID.t1(plain.is_high), FLUID.t2)
            / plain.signal(GREY.t1(plain.is_high), GREY.t2)
        )
        > 1.5
    )
