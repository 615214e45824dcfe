"""What holds of a release in every format: the same bytes twice, no file that can be changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from medvae.release import ReleaseResult, verify
from medvae.volume import Volume
from tests.release.made import MRI, Key, facts

Make = Callable[..., ReleaseResult]
FORMATS = ("bids", "dicom", "nnunet", "folder")


def made(make: Make, fmt: str, out: Path) -> Path:
    if fmt != "folder":
        return make(fmt=fmt, out=out).path
    data = MRI.model_copy(
        update={"modality": "xray", "size": (24, 20, 1), "label_scheme": {}, "labels": 0}
    )
    random = np.random.default_rng(0)
    pictures = [
        Volume(
            random.integers(0, 256, data.size).astype(np.float32), np.diag([1, 1.5, 2, 1.0]), "xray"
        )
        for _ in range(2)
    ]
    return make(data, volumes=iter(pictures), facts=facts(data), fmt=fmt, out=out).path


@pytest.fixture(params=FORMATS)
def fmt(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_two_builds_are_equal_byte_for_byte(make: Make, fmt: str, tmp_path: Path) -> None:
    one, two = (made(make, fmt, tmp_path / name) for name in ("one", "two"))
    names = [
        sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file()) for root in (one, two)
    ]
    assert names[0] == names[1]
    different = [str(n) for n in names[0] if (one / n).read_bytes() != (two / n).read_bytes()]
    assert different == []


def test_a_change_of_one_bit_of_any_file_is_found(make: Make, fmt: str, tmp_path: Path) -> None:
    release = made(make, fmt, tmp_path / "r")
    key = tmp_path / "key.pem"
    key.write_bytes(Key().public)
    assert verify(release, key).valid is True
    files = sorted(p for p in release.rglob("*") if p.is_file())
    for path in files:
        data = path.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            found = verify(release, key)
            assert found.valid is False, path
            assert found.problems
        path.write_bytes(data)
    assert verify(release, key).valid is True


def test_the_head_of_the_readme_is_a_card_for_machines(
    make: Make, fmt: str, tmp_path: Path
) -> None:
    """The YAML that Hugging Face reads at the head of a data set's README."""
    release = made(make, fmt, tmp_path / "r")
    text = (release / "README.md").read_text()
    assert text.startswith("---\n")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "cc0-1.0"
    assert head["pretty_name"] == "Synthetic test set"
    assert {"medical", "synthetic", "differential-privacy"} <= set(head["tags"])
    assert head["size_categories"] == ["n<1K"]
    segmented = json.loads((release / "card.json").read_text())["data"]["label_maps"] > 0
    assert ("image-segmentation" in head.get("task_categories", [])) == segmented
    croissant = json.loads((release / "croissant.json").read_text())
    for part in croissant["distribution"]:
        if part["@type"] == "cr:FileSet":
            assert list(release.glob(part["includes"])), part


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        (
            "our own: ask # us",
            {"license": "other", "license_name": "our own: ask # us", "license_link": "LICENSE"},
        ),
    ],
)
def test_a_licence_that_is_no_known_one_is_named(
    make: Make, licence: str, told: dict[str, str]
) -> None:
    text = (make(facts=facts(license=licence)).path / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert {k: v for k, v in head.items() if k.startswith("license")} == told
