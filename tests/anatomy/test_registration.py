"""Registration in millimetres: what it recovers, what it makes of bad input, bits and cost."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from medvae.anatomy.registration import (
    Alignment,
    Appearance,
    Settings,
    Subject,
    fit,
    pull_to_subject,
    pull_to_template,
    register,
)
from medvae.anatomy.registration.subject import class_shares
from tests.anatomy.phantoms import BOX, MEANS, error, grid, moved, scan, shares, template

ISOTROPIC, SLICES = (4.0, 4.0, 4.0), (2.0, 2.0, 8.0)
REST = Alignment(BOX, 0.0, np.eye(4), np.zeros((3, 0)), 0.0, 1.0)
AFFINE = Settings(max_frequency=0.0)
FULL = Settings(max_frequency=1 / 50)


def left_over(subject: Subject, alignment: Alignment) -> float:
    """Mean absolute difference of the channels in the subject's body."""
    x, y, z = subject.channels.shape[1:]
    maps = pull_to_subject(template().channels, alignment, subject.affine, (x, y, z))
    body = subject.channels.sum(axis=0) > 0.5
    return float(np.abs(maps - subject.channels)[:, body].mean())


@pytest.mark.parametrize("spacing", [ISOTROPIC, SLICES])
def test_an_affine_map_is_found_whatever_the_voxels(spacing):
    truth = moved(5, size=0.0)
    found = register(scan(truth, spacing), template(), AFFINE)
    assert error(REST, truth) > 8.0
    assert error(found, truth) < 0.5


@pytest.mark.parametrize("spacing", [ISOTROPIC, SLICES])
def test_a_deformation_is_found_whatever_the_voxels(spacing):
    truth = moved(4)
    subject = scan(truth, spacing)
    affine, full = (register(subject, template(), settings) for settings in (AFFINE, FULL))
    assert error(full, truth) < 0.7 * error(affine, truth) < 0.5 * error(REST, truth)
    assert left_over(subject, full) < 0.35 * left_over(subject, affine)


def test_a_rotation_in_the_plane_is_searched_for():
    truth = moved(6, size=0.0)
    c, s = np.cos(1.0), np.sin(1.0)
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    truth = replace(truth, affine=turn @ truth.affine)
    assert error(register(scan(truth, ISOTROPIC), template(), AFFINE), truth) < 1.0


def test_half_a_body_is_placed_by_the_half_that_is_seen():
    truth = moved(7, strain=0.03)
    whole = scan(truth, ISOTROPIC)
    # Only 60 % of the scan's height were seen; the rest of the array is padding.
    height = whole.channels.shape[3] * 6 // 10
    channels = whole.channels.copy()
    channels[..., height:] = 0.0
    inside = np.zeros(channels.shape[1:], bool)
    inside[..., :height] = True
    told = register(Subject(whole.affine, channels, inside=inside), template(), FULL)
    padded = register(Subject(whole.affine, channels), template(), FULL)
    cropped = register(Subject(whole.affine, channels[..., :height].copy()), template(), FULL)
    seen = Subject(whole.affine, whole.channels[..., :height])
    assert left_over(seen, told) < 0.02
    assert left_over(seen, cropped) == pytest.approx(left_over(seen, told), abs=0.01)
    assert error(told, truth) < 0.6 * error(padded, truth)


@pytest.mark.parametrize("what", ["unknown", "empty", "not finite"])
def test_no_information_gives_no_deformation(what):
    affine, shape = grid(ISOTROPIC)
    channels = np.full((4, *shape), np.nan if what == "not finite" else 0.0, np.float32)
    inside = np.zeros(shape, bool) if what == "unknown" else None
    found = register(Subject(affine, channels, inside=inside), template(), FULL)
    assert not found.coefficients.any()
    np.testing.assert_allclose(found.affine, np.eye(4), atol=1e-9)


def test_an_empty_label_does_not_pull_at_the_others():
    truth = moved(8, size=0.0, strain=0.03)
    subject = scan(truth, ISOTROPIC)
    subject.channels[3] = 0.0
    assert error(register(subject, template(), AFFINE), truth) < 0.5


def test_upside_down_input_does_not_diverge():
    truth = moved(9)
    subject = scan(truth, ISOTROPIC)
    upside_down = np.diag([1.0, -1.0, -1.0, 1.0]) @ subject.affine
    found = register(replace(subject, affine=upside_down), template(), FULL)
    start = register(replace(subject, affine=upside_down), template(), AFFINE)
    stretch = np.linalg.svd(found.affine[:3, :3], compute_uv=False)
    assert np.isfinite(found.coefficients).all()
    assert 0.5 <= stretch.min() <= stretch.max() <= 2.0
    assert found.cost <= start.cost
    assert np.abs(found.field(4.0, torch.device("cpu")).numpy()).max() < 60.0


@pytest.mark.parametrize("gain", [1.0, 4000.0])
def test_an_image_alone_is_enough_in_any_unit(gain):
    truth = moved(10, strain=0.03)
    maps = shares(BOX.grid(2.0).centres(torch.device("cpu")))
    rng = np.random.default_rng(0)
    affine, shape = grid(ISOTROPIC)
    # The patient's own means differ from the public ones.
    own = MEANS + [0.0, 0.1, -0.05, 0.1, 0.0]
    seen = pull_to_subject(shares(BOX.grid(1.5).centres(torch.device("cpu"))), truth, affine, shape)
    image = np.tensordot(own, seen, 1) + 0.02 * rng.standard_normal(shape)
    subject = Subject(
        affine, np.zeros((0, *shape), np.float32), (gain * image + 3.0).astype(np.float32)
    )
    model = replace(
        template(), channels=maps[:0], stds=np.zeros(0), appearance=Appearance(maps, MEANS)
    )
    found = register(subject, model, FULL)
    assert error(found, truth) < 0.4 * error(REST, truth)
    assert found.means is not None
    np.testing.assert_allclose((found.means - 3.0) / gain, own, atol=0.05)


def test_a_flat_image_tells_nothing():
    affine, shape = grid(ISOTROPIC)
    maps = shares(BOX.grid(2.0).centres(torch.device("cpu")))
    model = replace(
        template(), channels=maps[:0], stds=np.zeros(0), appearance=Appearance(maps, MEANS)
    )
    image = np.full(shape, 7.0, np.float32)
    found = register(Subject(affine, np.zeros((0, *shape), np.float32), image), model, FULL)
    assert not found.coefficients.any()
    assert found.means is None


def test_registration_computes_in_one_thread(monkeypatch):
    # On volumes this small the bits are the same anyway: what is done is asked for.
    seen = []
    inside = fit._register

    def watched(*arguments):
        seen.append(torch.get_num_threads())
        return inside(*arguments)

    monkeypatch.setattr(fit, "_register", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        register(scan(moved(11), SLICES), template(), FULL)
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


def test_the_same_bits_with_one_and_with_four_threads():
    subject = scan(moved(11), SLICES)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found.append(register(subject, template(), FULL))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, four = found
    assert one.coefficients.tobytes() == four.coefficients.tobytes()
    assert one.affine.tobytes() == four.affine.tobytes()
    assert one.cost == four.cost


def test_time_is_linear_in_voxels():
    subject = scan(moved(12), (2.0, 2.0, 2.0))
    start = register(subject, template(), FULL)
    seconds = []
    for spacing in (4.0, 2.0):
        began = time.process_time()
        register(subject, template(), replace(FULL, spacing=spacing), start=start)
        seconds.append(time.process_time() - began)
    # Eight times the voxels; a dense or quadratic method would take 64 times as long.
    assert seconds[1] < 14.0 * seconds[0]


def test_a_second_registration_goes_on_from_the_first():
    truth = moved(13)
    subject = scan(truth, ISOTROPIC)
    first = register(subject, template(), FULL)
    again = register(subject, template(), FULL, start=first)
    assert again.cost <= first.cost * 1.01
    assert left_over(subject, again) <= left_over(subject, first) * 1.05


def test_maps_go_to_the_template_and_back():
    truth = moved(14)
    subject = scan(truth, ISOTROPIC)
    values, known = pull_to_template(subject, truth, BOX.grid(2.0))
    there = np.abs(values - template().channels).mean(axis=0)[known > 0.99].mean()
    assert there < 0.01


def test_other_channels_than_the_templates_are_refused():
    subject = scan(moved(1), ISOTROPIC)
    with pytest.raises(ValueError, match="3 channels, 4 expected"):
        register(replace(subject, channels=subject.channels[:3]), template())
    none = replace(template(), channels=template().channels[:0], stds=np.zeros(0))
    with pytest.raises(ValueError, match="neither a channel nor an image"):
        register(replace(subject, channels=subject.channels[:0]), none)


def test_class_shares_are_block_means():
    labels = np.zeros((5, 4, 4), np.int16)
    labels[:2] = 7
    labels[4] = 500
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    maps, thinned = class_shares(labels, affine, {7: 0, 500: 1}, 2, 2.0)
    assert maps.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(maps[0, :, 0, 0], [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(maps[1, :, 0, 0], [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(thinned[:3, 3], [0.5, 0.5, 0.5])
