"""The report in a browser, by axe-core: no control without a name, on a desktop and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import pytest

from medvae.api.public_meter import PublicMeter
from medvae.evaluate.likeness import Likeness
from medvae.release import PrivacyFacts, ReleaseResult
from tests.release.made import MRI, facts, synthetic

Make = Callable[..., ReleaseResult]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = [name for name in ("playwright", "axe_playwright_python") if find_spec(name) is None]
WIDTHS = {"desktop": 1280, "phone": 390}

pytestmark = pytest.mark.skipif(
    BROWSER is None or bool(MISSING), reason="needs chromium, playwright and axe-core"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


def _rated(make: Make) -> ReleaseResult:
    """A release with both scores and the table of their figures."""
    people = Likeness(MRI)
    for one in synthetic(3, MRI, seed=5):
        people.add(one)
    meter = PublicMeter(MRI, people, "3 public people", "made up")
    return make(meter=meter)


def _opened(browser: Any, report: ReleaseResult, width: int, scheme: str = "light") -> Any:
    # The page's own policy keeps every other script out, axe-core's too.
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page.goto(report.report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    return page


def _violations(page: Any) -> list[str]:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert found["passes"], "axe-core looked at nothing"
    return [
        f"{one['id']}: {one['help']} ({', '.join(str(n['target']) for n in one['nodes'][:3])})"
        for one in found["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_axe_finds_nothing(make: Make, browser: Any, width: int, scheme: str) -> None:
    page = _opened(browser, _rated(make), width, scheme)
    assert page.get_by_role("meter", name="quality score").count() == 1
    assert page.evaluate("innerWidth") == width
    assert _violations(page) == []
    page.close()


def test_axe_finds_nothing_in_a_release_of_a_public_model(make: Make, browser: Any) -> None:
    page = _opened(browser, make(facts=facts(privacy=PrivacyFacts("public"))), WIDTHS["phone"])
    assert _violations(page) == []
    page.close()


def test_axe_finds_a_control_without_a_name(make: Make, browser: Any) -> None:
    """What the others rest on: the check can fail."""
    page = _opened(browser, make(), WIDTHS["phone"])
    page.evaluate("document.getElementById('reset').textContent = ''")
    page.evaluate("document.querySelector('img').removeAttribute('alt')")
    found = " ".join(_violations(page))
    assert "button-name" in found
    assert "image-alt" in found
    page.close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_wider_than_the_screen(make: Make, browser: Any, width: int) -> None:
    page = _opened(browser, _rated(make), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


# What stands in a view that is not chosen cannot be reached, nor seen.
CONTROLS = (
    "[...document.querySelectorAll('button, select, input, summary, [tabindex=\"0\"]')]"
    ".filter(one => one.checkVisibility())"
)


@pytest.mark.parametrize("view", ["slices", "solid"])
def test_the_keyboard_reaches_every_control(make: Make, browser: Any, view: str) -> None:
    page = _opened(browser, _rated(make), WIDTHS["desktop"])
    if view != "slices":
        page.evaluate("document.querySelector('.viewer').classList.add('solid', 'whole')")
        page.evaluate("document.querySelector('.scene').hidden = false")
    wanted = page.evaluate(f"{CONTROLS}.length")
    assert page.locator("canvas").is_visible() == (view != "slices")
    reached = set()
    for _ in range(3 * wanted):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"{CONTROLS}.indexOf(document.activeElement)"))
    assert set(range(wanted)) <= reached
    page.close()
