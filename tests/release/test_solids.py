"""The report in three dimensions: NiiVue as it was published, and driven in a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medvae.config import DataConfig
from medvae.grid import from_grid
from medvae.release import ReleaseResult, solids
from medvae.release.survey import Survey, looks
from tests.release.made import MRI, facts, synthetic
from tests.release.test_accessible import BROWSER, MISSING, WIDTHS, _violations
from tests.release.test_report import Page

Make = Callable[..., ReleaseResult]
FOLDER = files("medvae.release").joinpath("page", "niivue")
drives = pytest.mark.skipif(
    BROWSER is None or bool(MISSING), reason="needs chromium, playwright and axe-core"
)
NO_SOLID = "3-D needs WebGL 2, which did not start in this browser"
# Chromium draws WebGL without a graphics card.
SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def read(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def surveyed(shape: tuple[int, int, int]) -> Survey:
    data = MRI.model_copy(update={"size": shape})
    survey = Survey(-1.0, 1.0, (1, 2))
    for volume in synthetic(1, data):
        turn = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])
        survey.add(replace(volume, affine=turn))
    return survey


def test_niivue_is_the_file_that_was_published() -> None:
    assert hashlib.sha256(solids.viewer_code()).hexdigest() == solids.SHA256
    told = FOLDER.joinpath("README.md").read_text(encoding="utf-8")
    for word in (solids.SHA256, solids.VERSION, "BSD-2-Clause"):
        assert word in told
    assert "Copyright (c) 2021, Niivue" in FOLDER.joinpath("LICENSE").read_text(encoding="utf-8")


def test_a_file_that_was_changed_is_not_put_into_a_report(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solids, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="is not NiiVue"):
        make()


def test_a_volume_and_its_labels_are_where_they_were() -> None:
    survey = surveyed((12, 16, 10))
    (one,) = solids.solids(looks(survey))
    volume = survey.shown[0]
    assert one.labels is not None
    image, labels = read(one.image), read(one.labels)
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
    np.testing.assert_allclose(labels.affine, volume.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), volume.mask)
    wanted = np.rint((np.clip(volume.grey, -1, 1) + 1) / 2 * 255)
    np.testing.assert_array_equal(np.asarray(image.dataobj), wanted)


def test_a_large_volume_is_thinned_and_keeps_its_extent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solids, "MOST_VOXELS", 2000)
    survey = surveyed((31, 40, 20))
    (one,) = solids.solids(looks(survey)[:1])
    image, volume = read(one.image), survey.shown[0]
    assert 1000 < np.prod(image.shape) <= 2000
    for end in (-0.5, 1.0):
        corner = [-0.5 if end < 0 else n - 0.5 for n in image.shape]
        whole = [-0.5 if end < 0 else n - 0.5 for n in volume.shape]
        np.testing.assert_allclose(
            image.affine @ [*corner, 1], volume.affine @ [*whole, 1], atol=1e-4
        )
    # Each shown voxel is one of the volume, at most half a step from its place.
    assert one.labels is not None
    labels = read(one.labels)
    assert volume.mask is not None
    index = np.argwhere(np.asarray(labels.dataobj) == 2)
    back = np.linalg.inv(volume.affine) @ labels.affine @ np.c_[index, np.ones(len(index))].T
    near = np.rint(back[:3] + 1e-3).astype(int)
    assert (volume.mask[tuple(near)] == 2).mean() > 0.9


def test_pictures_have_no_third_dimension(make: Make) -> None:
    flat = DataConfig(
        modality="xray", size=(24, 16, 1), spacing=(1.0, 1.0, 1.0), label_scheme={}, labels=0,
        classes=0,
    )  # fmt: skip
    noise = np.random.default_rng(0)
    made = [from_grid(noise.uniform(-1, 1, flat.size).astype(np.float32), flat) for _ in range(2)]
    page = Page(make(flat, volumes=made, facts=facts(flat)).report.read_text())
    assert page.data == {}
    assert "view" not in [value for _, name, value in page.attributes if name == "id"]


def test_its_licence_goes_where_it_goes(make: Make) -> None:
    text = make().report.read_text()
    for word in ("Copyright (c) 2021, Niivue", "gl-matrix", "Zstandard"):
        assert word in text


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="module")
def browser(driver: Any) -> Iterator[Any]:
    opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *SOFTWARE])
    yield opened
    opened.close()


def opened(browser: Any, report: Path, width: int = 1280, **more: Any) -> Any:
    """The page, which lists what it asked of the network and said to the console."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **more)
    page.heard = []
    page.on("console", lambda one: page.heard.append(one.text))
    page.on("pageerror", lambda one: page.heard.append(str(one)))
    page.on("request", lambda one: page.heard.append(one.url) if _outside(one.url) else None)
    page.goto(report.as_uri())
    return page


def _outside(url: str) -> bool:
    return not url.startswith(("file:", "data:"))


def shown(page: Any, view: str, volume: str = "volume 0001") -> None:
    page.select_option("#view", view)
    page.locator(f".scene canvas[aria-label^='{volume} in']").wait_for(timeout=60_000)
    page.wait_for_timeout(300)


def picture(page: Any) -> np.ndarray:
    """[rows, columns, 3] of what the canvas shows."""
    png = page.locator(".scene canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def orange(pixels: np.ndarray) -> int:
    """How many are of the first label's colour."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return int(((red > green + 30) & (green > blue + 30) & (red < 240)).sum())


@drives
def test_the_canvas_shows_the_volume_and_the_controls_change_it(make: Make, browser: Any) -> None:
    page = opened(browser, make().report)
    assert page.locator(".scene").is_hidden()
    shown(page, "planes")
    assert not page.locator(".panels").is_visible()
    planes = picture(page)
    assert (planes.max(axis=-1) > 60).mean() > 0.05
    assert orange(planes) > 200
    page.uncheck("#labels")
    page.wait_for_timeout(300)
    assert orange(picture(page)) < orange(planes) / 10
    page.check("#labels")
    yellow = (picture(page) > (200, 160, 40)).all(axis=-1) & (picture(page)[..., 2] < 150)
    page.uncheck("#cross")
    page.wait_for_timeout(300)
    without = picture(page)
    assert ((without > (200, 160, 40)).all(axis=-1) & (without[..., 2] < 150)).sum() < yellow.sum()
    page.locator(".scene canvas").focus()
    before = page.locator(".place output").text_content()
    assert before.startswith("Crosshair at ")
    page.keyboard.press("ArrowRight")
    assert page.locator(".place output").text_content() != before
    for key in "nnpn":
        page.keyboard.press(key)
    page.locator(".scene canvas[aria-label^='volume 0003 in three planes']").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('.viewer').dataset.volume") == "2"
    shown(page, "solid", "volume 0003")
    solid = picture(page)
    page.locator(".scene canvas").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(300)
    assert (np.abs(picture(page) - solid).max(axis=-1) > 20).mean() > 0.005
    turned = picture(page)
    page.check("#cut")
    page.wait_for_timeout(300)
    assert (np.abs(picture(page) - turned).max(axis=-1) > 20).mean() > 0.005
    page.select_option("#view", "slices")
    assert page.locator(".panels").is_visible()
    assert page.heard == []
    page.close()


@drives
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_axe_finds_nothing_in_three_dimensions(
    make: Make, browser: Any, width: int, scheme: str
) -> None:
    page = opened(browser, make().report, width, color_scheme=scheme, bypass_csp=True)
    shown(page, "solid")
    assert _violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@drives
def test_a_browser_without_webgl_says_so_and_shows_slices(make: Make, driver: Any) -> None:
    plain = driver.chromium.launch(
        executable_path=BROWSER, args=["--no-sandbox", "--disable-3d-apis"]
    )
    page = opened(plain, make().report)
    page.select_option("#view", "planes")
    page.get_by_text(NO_SOLID).wait_for()
    assert page.locator("#view").is_disabled()
    assert page.locator("#view").input_value() == "slices"
    assert page.locator(".panels").is_visible()
    plain.close()


@drives
def test_code_that_is_not_niivue_does_not_run(make: Make, browser: Any, tmp_path: Path) -> None:
    """The policy names a digest: the page falls back to slices."""
    text = make().report.read_text()
    page = Page(text)
    other = base64.b64encode(gzip.compress(b"window.niivue = {};")).decode()
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace(page.data["solid-code"], other))
    shown_page = opened(browser, changed)
    shown_page.select_option("#view", "solid")
    shown_page.get_by_text(NO_SOLID).wait_for()
    assert shown_page.locator(".panels").is_visible()
    assert any("Content Security Policy" in one for one in shown_page.heard)
    shown_page.close()
