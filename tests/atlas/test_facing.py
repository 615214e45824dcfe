"""Which way borders between labels face, and how drawn ones are turned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvae.atlas import Atlas, facing, fit, intensity, scales, spectrum
from medvae.atlas.displacement import warp
from medvae.atlas.features import label_map, shape_channels
from medvae.atlas.statistics import shells
from medvae.atlas.study import registrar
from medvae.grid import Gridded
from tests.atlas.cohorts import SIZE, Cohort, Recorder, config

PLACE = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SIZE), indexing="ij"))
BODY = (PLACE[0] / 6) ** 2 + (PLACE[1] / 10) ** 2 + (PLACE[2] / 7) ** 2 < 1


def cut(normal: tuple[float, float, float], body: np.ndarray = BODY, at: float = 0.2) -> np.ndarray:
    """A body whose label 1 begins where a plane of this normal is crossed."""
    ahead = np.tensordot(np.array(normal), PLACE, axes=1) > at
    return np.where(body, np.where(ahead, 2, 1), 0).astype(np.uint8)


@given(x=st.floats(-0.4, 0.4), z=st.floats(-0.4, 0.4), order=st.permutations([0, 1, 2]))
def test_a_plane_faces_its_normal_on_any_axis(x, z, order):
    normal = np.array([x, 1.0, z]) / np.linalg.norm([x, 1.0, z])
    found = facing.facing(cut(tuple(normal)), 1)
    assert np.linalg.norm(found.direction) == pytest.approx(1.0, abs=0.05)
    assert np.abs(found.direction - normal).max() < 0.12
    assert np.abs(found.centre - (np.array(SIZE) - 1) / 2).max() < 1.0
    # From the other side it faces the other way, and axes are alike.
    assert np.allclose(facing.facing(cut(tuple(normal)), 2).direction, -found.direction)
    turned = facing.facing(cut(tuple(normal)).transpose(order), 1)
    assert np.allclose(turned.direction, found.direction[order])
    assert np.allclose(turned.centre, found.centre[order])


def test_borders_that_close_or_do_not_exist_face_nowhere():
    core = ((PLACE / 3) ** 2).sum(axis=0) < 1
    shell = np.where(BODY, np.where(core, 1, 2), 0).astype(np.uint8)
    assert not facing.facing(shell, 1).direction.any()
    # One that is open on a side hardly faces anywhere, and is left as it is, too.
    core = (PLACE[0] / 5) ** 2 + (PLACE[1] / 6) ** 2 + ((PLACE[2] - 3) / 4.5) ** 2 < 1
    open_shell = np.where(BODY, np.where(core, 1, 2), 0).astype(np.uint8)
    assert 0 < np.linalg.norm(facing.facing(open_shell, 1).direction) < facing.LEAST
    for mask in (np.zeros(SIZE, np.uint8), BODY.astype(np.uint8)):
        assert not facing.facing(mask, 1).direction.any()
        assert not facing.figures(mask, np.array([[0.0, 1.0, 0.0]])).any()
    wanted = np.array([[0.0, 0.6, -0.8, 0.0]])
    for closed in (shell, open_shell):
        again = facing.turned(shape_channels(closed, 2), closed, wanted, np.zeros((1, 4)))
        assert np.array_equal(again, closed)


def test_mean_and_spread_of_patients_are_told_from_their_figures():
    usual = np.array([[0.3, 0.9, 0.2]])
    masks = [cut((x, 1.0, 0.0)) for x in (-0.3, 0.0, 0.3, 0.1)]
    seen = np.array([facing.facing(mask, 1).direction for mask in masks])
    told = facing.told(usual, np.mean([facing.figures(mask, usual) for mask in masks], axis=0))
    assert np.allclose(told[0, :3], seen.mean(axis=0))
    assert told[0, 3] == pytest.approx(np.sqrt(seen.var(axis=0).sum()))


@pytest.mark.parametrize("tilt", [(0.3, 0.9, 0.2), (-0.5, 0.8, 0.0), (0.0, 0.9, -0.4)])
def test_a_border_is_turned_about_its_middle_and_the_outline_stays(tilt):
    mask = cut(tilt)
    before = facing.facing(mask, 1)
    wanted, drawn = np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[*before.direction, 0.1]])
    turned = facing.turned(shape_channels(mask, 2), mask, wanted, drawn)
    after = facing.facing(turned, 1)
    assert np.array_equal(turned > 0, mask > 0)
    assert np.abs(after.direction / np.linalg.norm(after.direction) - [0.0, 1.0, 0.0]).max() < 0.06
    assert np.abs(after.centre - before.centre).max() < 0.6
    assert abs(int((turned == 1).sum()) - int((mask == 1).sum())) < 0.03 * BODY.sum()


def test_a_draw_keeps_as_much_of_its_own_as_patients_vary_by():
    mask = cut((0.3, 1.0, 0.0))
    own = facing.facing(mask, 1).direction
    usual = np.array([[0.0, 1.0, 0.0, 0.2]])
    for spread, part in ((0.0, 0.0), (0.1, 0.5), (0.4, 1.0)):
        wanted = np.array([[0.0, 1.0, 0.0, spread]])
        turned = facing.turned(shape_channels(mask, 2), mask, wanted, usual)
        assert facing.facing(turned, 1).direction[0] == pytest.approx(part * own[0], abs=0.09)


def patient(rng: np.random.Generator) -> Gridded:
    """A body that turns to one side or the other, cut where the protocol says."""
    angle = rng.normal(0, 0.3)
    x = np.cos(angle) * PLACE[0] - np.sin(angle) * PLACE[1]
    y = np.sin(angle) * PLACE[0] + np.cos(angle) * PLACE[1]
    body = (x / 5) ** 2 + (y / 9) ** 2 + (PLACE[2] / 6) ** 2 < 1
    image = np.where(body, 0.6, -0.4) + 0.02 * PLACE[2] + rng.normal(0, 0.05, SIZE)
    return Gridded(np.clip(image, -1, 1).astype(np.float32), cut((0.0, 1.0, 0.0), body))


PATIENTS = Cohort([[patient(np.random.default_rng([5, i]))] for i in range(12)])


@pytest.fixture(scope="module")
def leaning() -> Atlas:
    """An atlas whose template came out tilted, as noise leaves it; what it is told is not."""
    atlas = fit(PATIENTS, Recorder(len(PATIENTS)), config())
    template = atlas.template.copy()
    template[2] += 0.05 * PLACE[0]
    return dataclasses.replace(atlas, template=template)


def tilts(atlas: Atlas) -> np.ndarray:
    """[20, 2] what borders of draws face beside the direction of all patients'."""
    masks = [atlas.draw(np.random.default_rng(i))[1] for i in range(20)]
    return np.array([facing.facing(mask, 1).direction for mask in masks])[:, [0, 2]]


def test_drawn_borders_face_where_patients_do(leaning):
    seen = [facing.facing(PATIENTS.volumes(i)[0].mask, 1).direction for i in range(12)]
    assert np.abs(leaning.facing[0, :3] - np.mean(seen, axis=0)).max() < 0.05
    assert leaning.facing[0, 3] < 0.15
    unturned = dataclasses.replace(leaning, facing=np.zeros((0, facing.FIGURES)))
    before, after = (np.sqrt((tilts(one) ** 2).mean()) for one in (unturned, leaning))
    assert before > 0.15
    assert after < 0.4 * before


def test_patients_whose_borders_differ_leave_draws_theirs():
    """What is released of the spread is what these patients have."""
    normals = [(x, 1.0, 0.0) for x in (-0.35, -0.2, 0.0, 0.2, 0.35, -0.3, 0.3)]
    varied = [dataclasses.replace(bodies(1)[0], mask=cut(normal)) for normal in normals]
    seen = np.array([facing.facing(one.mask, 1).direction for one in varied])
    atlas = fit(Cohort([[one] for one in varied]), Recorder(len(varied)), config())
    assert np.abs(atlas.facing[0, :3] - seen.mean(axis=0)).max() < 0.05
    assert atlas.facing[0, 3] == pytest.approx(np.sqrt(seen.var(axis=0).sum()), rel=0.1)


def test_figures_survive_a_release_without_noise():
    basis = registrar(SIZE).basis
    code = scales.ScaleCode(basis, SIZE, borders=2)
    told = np.array([0.2, -0.1, 0.05, 0.06, -0.3, 0.0, 0.1, 0.11])
    ones = np.ones(len(shells(basis.frequency)))
    some = np.full(spectrum.SHELLS, 0.1)
    seen = scales.Scales(ones, some, np.full(intensity.COUNT, 1e-3), 1.05, told)
    assert np.allclose(code.decode(code.encode(seen), 0.0).facing, told)
    drowned = code.decode(code.encode(seen), 1e6).facing
    assert np.allclose(drowned, np.tile([0.0, 0.0, 0.0, scales.TURNS], 2), atol=1e-6)


def test_noise_that_drowns_the_figures_turns_nothing(leaning):
    atlas = fit(PATIENTS, Recorder(len(PATIENTS), noise=500.0, seed=1), config())
    usual = label_map(warp(atlas.template[1:], atlas.basis.synthesise(atlas.centre)))
    assert np.abs(atlas.facing[:, :3] - facing.directions(usual, 1)).max() < 0.02
    assert atlas.facing[0, 3] == pytest.approx(np.sqrt(scales.TURNS), abs=0.02)


def test_of_many_labels_nothing_is_told_and_nothing_turned():
    assert [facing.borders(labels) for labels in (0, 1, 2, 5, 6, 100)] == [0, 0, 1, 4, 0, 0]
    many = Cohort([[dataclasses.replace(one, mask=many_labels(one.mask))] for one in bodies(3)])
    atlas = fit(many, Recorder(len(many)), config(labels=8))
    assert atlas.facing.shape == (0, facing.FIGURES)
    field = atlas.sample_field(np.random.default_rng(3))
    plain = label_map(warp(atlas._shapes, field))
    assert np.array_equal(atlas.mask_from_template(field), plain)
    again = Atlas.from_tensors(atlas.to_tensors())
    assert again.facing.shape == atlas.facing.shape


def bodies(count: int) -> list[Gridded]:
    return [PATIENTS.volumes(i)[0] for i in range(count)]


def many_labels(mask: np.ndarray) -> np.ndarray:
    """The body in eight slices."""
    slices = np.clip((PLACE[1] + 8) // 2, 0, 7).astype(np.uint8) + 1
    return np.where(mask > 0, slices, 0).astype(np.uint8)


def test_an_atlas_of_before_turns_nothing(leaning):
    stored = leaning.to_tensors()
    del stored["facing"]
    stored["facts"] = np.frombuffer(b'{"format": 2}', np.uint8)
    back = Atlas.from_tensors(stored)
    field = back.sample_field(np.random.default_rng(3))
    plain = label_map(warp(back._shapes, field))
    assert np.array_equal(back.mask_from_template(field), plain)
    assert not np.array_equal(leaning.mask_from_template(field), plain)
