"""The report: whole in itself, closed to the outside, and it works in a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from medvae.release import ReleaseResult
from tests.release.made import CT, MRI, facts

Make = Callable[..., ReleaseResult]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


DATA = "application/octet-stream"


class Page(HTMLParser):
    """Collects every attribute, the text of style, and that of each script.

    Attributes:
        scripts: those that run.
        data: by its id, the text of each element that no browser runs.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.raw: dict[str, str] = {"style": "", "script": ""}
        self.scripts: list[str] = []
        self.data: dict[str, str] = {}
        self.tags: set[str] = set()
        self._inside = self._id = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag if tag in self.raw else ""
        self._id = ""
        if tag == "script" and dict(attrs).get("type") is not None:
            assert dict(attrs)["type"] == DATA
            self._id = dict(attrs)["id"] or ""
        elif tag == "script":
            self.scripts.append("")
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._id = ""

    def handle_data(self, data: str) -> None:
        if self._id:
            self.data[self._id] = self.data.get(self._id, "") + data
            return
        if self._inside:
            self.raw[self._inside] += data
        if self._inside == "script":
            self.scripts[-1] += data


@pytest.mark.parametrize("data", [MRI, CT], ids=["mri", "ct"])
def test_nothing_is_loaded_from_anywhere(make: Make, data: object) -> None:
    page = Page(make(data).report.read_text())
    for tag, name, value in page.attributes:
        if name in ("src", "href", "action", "data", "poster", "srcset", "background"):
            assert value.startswith("data:image/png;base64,"), (tag, name, value[:60])
        assert not name.startswith("on"), "no script in attributes"
        assert name != "style", "no style in attributes: the policy would refuse it"
    assert not page.tags & {"link", "iframe", "object", "embed", "base", "form", "a"}
    for url in re.findall(r"url\(([^)]{0,40})", page.raw["style"]):
        assert url.startswith("data:image/png;base64,")
    assert "@import" not in page.raw["style"]
    for word in ("fetch", "XMLHttpRequest", "import(", "http", "eval"):
        assert word not in page.raw["script"]


def test_the_policy_allows_this_style_and_this_script_only(make: Make) -> None:
    page = Page(make().report.read_text())
    (policy,) = [v for tag, name, v in page.attributes if tag == "meta" and v.startswith("default")]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy

    def allowed(text: bytes) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"

    niivue = gzip.decompress(base64.b64decode(page.data["solid-code"]))
    scripts = [allowed(one) for one in (*(s.encode() for s in page.scripts), niivue)]
    assert f"style-src {allowed(page.raw['style'].encode())};" in policy
    assert f"script-src {' '.join(scripts)};" in policy


def test_words_from_outside_stay_words(make: Make) -> None:
    nasty = "<script>alert(1)</script>{{signer}} \"'&| # x"
    result = make(
        facts=facts(name=nasty, model={"name": nasty}, limits=(nasty,), label_names=(nasty, "b"))
    )
    page = Page(result.report.read_text())
    assert "alert(1)" not in page.raw["script"]
    assert "<script>alert" not in result.report.read_text()
    assert "{{signer}}" in result.report.read_text()


def test_many_labels_and_large_grids_stay_small(make: Make) -> None:
    grid = MRI.model_copy(update={"size": (96, 80, 64), "spacing": None, "labels": 12})
    assert make(grid, n=8).report.stat().st_size < 8_000_000


def _dom(page: Path, profile: Path) -> str:
    """The document after its scripts ran; fails where the browser refused or logged anything."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile}",
            "--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    assert "Refused" not in done.stderr
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_it_works_in_a_browser(make: Make, tmp_path: Path) -> None:
    """The script runs under the policy, moves the slices, and nothing is refused."""
    shown = _dom(make().report, tmp_path / "profile")
    # The script writes each layer's place when the page opens.
    assert shown.count("background-position-y:") >= 6 + 6


# What a reader does, and what the page shows then.
DRIVE = """
(function () {
  var seen = {}, viewer = document.querySelector(".viewer");
  function said(plane) { return document.querySelector("." + plane).getAttribute("aria-label"); }
  function key(name) { viewer.dispatchEvent(new KeyboardEvent("keydown", {key: name})); }
  seen.start = said("sagittal");
  var axial = document.querySelector(".axial"), box = axial.getBoundingClientRect();
  axial.dispatchEvent(new PointerEvent("pointerdown", {
    button: 0, clientX: box.left + box.width, clientY: box.top
  }));
  seen.clicked = [said("sagittal"), said("coronal"), axial.querySelector(".v").style.left];
  var slider = axial.parentElement.querySelector("input");
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  seen.slid = [said("axial"), document.querySelector(".coronal .h").style.top];
  key("n"); seen.next = said("axial"); key("p"); key("p"); seen.last = said("axial");
  key("l"); key("x"); seen.hidden = viewer.className;
  var light = document.getElementById("brightness");
  light.value = 150; light.dispatchEvent(new Event("input"));
  seen.look = viewer.style.getPropertyValue("--look");
  document.getElementById("reset").click();
  seen.reset = viewer.style.getPropertyValue("--look");
  dispatchEvent(new Event("beforeprint"));
  seen.closed = document.querySelectorAll("details:not([open])").length;
  document.title = JSON.stringify(seen);
})();
"""


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_viewer_is_driven_by_pointer_slider_and_keys(make: Make, tmp_path: Path) -> None:
    text = make().report.read_text()
    digest = base64.b64encode(hashlib.sha256(DRIVE.encode()).digest()).decode()
    driven = tmp_path / "driven.html"
    driven.write_text(
        text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1).replace(
            "</body>", f"<script>{DRIVE}</script></body>"
        )
    )
    shown = _dom(driven, tmp_path / "profile")
    found = re.search(r"<title>(.*?)</title>", shown)
    assert found is not None
    seen = json.loads(unescape(found.group(1)))
    across, back, up = MRI.size
    assert seen["start"] != seen["clicked"][0]
    assert seen["clicked"] == [
        f"sagittal slice {across} of {across}, volume 0001",
        f"coronal slice {back} of {back}, volume 0001",
        "100%",
    ]
    assert seen["slid"] == [f"axial slice 1 of {up}, volume 0001", "100%"]
    assert seen["next"].endswith("volume 0002")
    assert seen["last"].endswith("volume 0003"), "before the first comes the last"
    assert set(seen["hidden"].split()) == {"viewer", "plain", "uncrossed"}
    assert (seen["look"], seen["reset"]) == (
        "brightness(1.5) contrast(1)",
        "brightness(1) contrast(1)",
    )
    assert seen["closed"] == 0, "paper shows what a screen folds away"


def test_every_control_and_picture_has_a_name(make: Make) -> None:
    text = make().report.read_text()
    for tag in re.findall(r"<(?:img|svg|meter|select)[^>]*>", text):
        assert re.search(r'(?:alt|aria-label)="[^"]+"', tag), tag[:80]
    for tag in re.findall(r"<input[^>]*>", text):
        assert "aria-label=" in tag or re.search(
            rf"<label[^>]*>[^<]*{re.escape(tag)}|{re.escape(tag)} \w+</label>", text
        ), tag
