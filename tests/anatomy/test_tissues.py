"""What a CT shows without a mask: the body in the air, and the gas in the body."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.anatomy import place
from medvae.anatomy.drawing.pose import Pose
from medvae.anatomy.patients import anatomy_of_patients
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates import Templates, Tissues, box_of, layout
from medvae.anatomy.templates.measure import compared, placed, registered
from medvae.config import DataConfig
from medvae.grid import normalise

SHAPE = (60, 50, 40)
SPACING = (6.0, 6.0, 7.0)


def data(**other: object) -> DataConfig:
    facts = {
        "modality": "ct",
        "size": SHAPE,
        "spacing": SPACING,
        "label_scheme": {"1": "liver"},
        "labels": 1,
    }
    return DataConfig.model_validate(facts | other)


def chest(window: tuple[float, float] = (-1000.0, 1000.0)) -> tuple[Scan, dict[str, np.ndarray]]:
    """A body with two lungs and a liver that lies on a table; and where they are."""
    x, y, z = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    body = ((x - 30) / 22.0) ** 2 + ((y - 24) / 15.0) ** 2 < 1
    lungs = (((np.abs(x - 30) - 10) / 6.0) ** 2 + ((y - 24) / 9.0) ** 2 < 1) & (z > 15)
    liver = (((x - 22) / 8.0) ** 2 + ((y - 26) / 8.0) ** 2 < 1) & (z < 14)
    voxels = np.full(SHAPE, -1000.0)
    voxels[body], voxels[lungs], voxels[liver] = 20.0, -850.0, 110.0
    # A sheet of carbon below the back, that touches it in the middle.
    voxels[:, 8, :] = np.where(body[:, 8, :], voxels[:, 8, :], 100.0)
    image, _ = normalise(voxels, data(window=window))
    mask = liver.astype(np.uint8)
    return Scan(image, np.diag([*SPACING, 1.0]), mask), {"body": body, "gas": lungs}


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (mask & other).sum() / (mask.sum() + other.sum()))


@pytest.mark.parametrize("window", [(-1000.0, 1000.0), (-1024.0, 3071.0), (-800.0, 400.0)])
def test_body_and_gas_are_found_and_the_table_is_no_body(window):
    scan, truth = chest(window)
    tissues = Tissues.of(data(window=window))
    shown = dict(zip(tissues.names, tissues.shown(scan), strict=True))
    assert dice(shown["body"], truth["body"]) > 0.98
    assert dice(shown["gas"], truth["gas"]) > 0.98
    assert not shown["body"][:3, 8].any()


def test_a_window_that_ends_above_gas_shows_the_body_alone():
    scan, truth = chest((-160.0, 240.0))
    tissues = Tissues.of(data(window=(-160.0, 240.0)))
    assert tissues.names == ("body",)
    (body,) = tissues.shown(scan)
    # Lungs are filled, for they are inside of it.
    assert dice(body, truth["body"]) > 0.98


def test_grey_values_that_mean_something_else_in_every_volume_show_no_tissues():
    assert Tissues.of(data(modality="mri")) is None


def test_the_interior_has_soft_tissue_where_gas_or_air_was():
    scan, truth = chest()
    tissues = Tissues.of(data())
    inside = tissues.interior(scan.image, tissues.shown(scan))
    assert inside.min() > -0.1
    np.testing.assert_array_equal(inside[scan.mask == 1], scan.image[scan.mask == 1])
    assert (inside[truth["gas"]] == tissues.soft).mean() > 0.98


def test_an_empty_picture_has_no_body_and_stops_nothing():
    tissues = Tissues.of(data())
    scan = Scan(np.full(SHAPE, -1.0, np.float32), np.eye(4))
    assert not any(one.any() for one in tissues.shown(scan))


def test_patients_are_registered_by_their_labels_and_their_body():
    scan, _ = chest()
    own = data()
    templates = Templates.public(box_of(own.size, own.spacing), 1, Tissues.of(own))
    assert len(compared(scan, templates).channels) == len(templates.template.channels) == 2
    shown = registered(scan, templates)
    # Liver, gas and body.
    assert shown.layout.shape == (3, 7)
    assert len(shown.distances) == 3
    assert compared(Scan(scan.image, scan.affine, None), templates) is None


def test_in_a_wide_field_of_view_the_frame_stands_on_the_axis_of_the_body():
    scan, _ = chest()
    liver = scan.affine[:3, :3] @ np.argwhere(scan.mask).mean(axis=0)
    axis = np.array([30 * 6.0, 24 * 6.0])
    for size, middle in ((SHAPE, axis), ((20, 20, 18), liver[:2])):
        cfg = data(size=size)
        shown = placed(scan, Templates.public(box_of(size, SPACING), 1, Tissues.of(cfg)))
        there = shown.layout[0, layout.MIDDLE]
        np.testing.assert_allclose(there[:2], liver[:2] - middle, atol=3.0)
        # Along the axis by the labels: how far a scan reaches says nothing of the anatomy.
        np.testing.assert_allclose(there[2], 0.0, atol=4.0)


def test_on_an_absolute_scale_what_is_known_of_tissues_is_where_patients_are_looked_for():
    cfg = data()
    tissues = Tissues.of(cfg)
    absolute = anatomy_of_patients(cfg)
    figures = dict(zip(absolute.renderer.names, absolute.numbers.figures, strict=True))
    stds = dict(zip(absolute.renderer.names, absolute.numbers.figures_std, strict=True))
    within = dict(zip(absolute.renderer.names, absolute.numbers.figures_within, strict=True))
    # 150 HU round water for a mean that is not known, a third of it between patients.
    assert stds["mean of liver"] == pytest.approx(tissues.varies)
    assert within["mean of liver"] < 0.5 * stds["mean of liver"]
    assert figures["mean of liver"] == tissues.soft
    assert figures["mean of gas"] < tissues.gas
    # In MRI a grey value says nothing before patients are looked at.
    relative = anatomy_of_patients(data(modality="mri"))
    np.testing.assert_array_equal(relative.numbers.figures_within, relative.numbers.figures_std)


def test_in_a_wide_field_of_view_patients_lie_as_the_scanner_has_them():
    wide, narrow = (anatomy_of_patients(data(size=size)) for size in (SHAPE, (20, 20, 18)))
    rotations = [one.numbers.place_std[place.ROTATION] for one in (wide, narrow)]
    np.testing.assert_allclose(rotations[0], 0.09)
    np.testing.assert_allclose(rotations[1], 0.3)


def test_drawn_volumes_have_air_round_the_body_gas_in_it_and_no_label_for_either():
    own = data()
    cohort = anatomy_of_patients(own)
    renderer = cohort.renderer
    assert [name for name in renderer.names if name.startswith("mean")] == [
        "mean of liver",
        "mean of gas",
    ]
    figures = renderer.public_mean.copy()
    figures[1] = -0.85
    grid = cohort.grid()
    pose = Pose(cohort.people[0], cohort.people[0])

    def drawn(liver: float) -> tuple[np.ndarray, np.ndarray]:
        figures[0] = liver
        return renderer.draw(0, pose, grid, figures, np.random.default_rng(0))

    image, mask = drawn(0.0)
    assert set(np.unique(mask)) == {0, 1}
    assert (image[0, 0] == -1.0).all()
    brighter, again = drawn(0.3)
    assert np.array_equal(mask, again)
    gain = np.median(brighter[mask == 1]) - np.median(image[mask == 1])
    assert gain == pytest.approx(0.3, abs=0.05)
    # Before anything is released gas is a ball round the liver in the middle of the view.
    _, y, z = (n // 2 for n in SHAPE)
    row = image[:, y, z]
    liver = np.flatnonzero(mask[:, y, z])
    for beside in (liver[0] - 2, liver[-1] + 2):
        assert row[beside] < -0.5
        assert mask[beside, y, z] == 0
    assert row[[liver[0] - 5, liver[-1] + 5]].min() > -0.5
    assert np.array_equal(renderer.greys(figures), figures[:1])
