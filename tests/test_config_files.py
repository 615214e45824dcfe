"""Presets, files and the reference of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae import api
from medvae.config import RunConfig
from medvae.config_files import load_config, presets
from medvae.config_keys import KEYS, reference
from medvae.errors import UsageError
from tests.cli.conftest import Clinic

ROOT = Path(__file__).parents[1]


def test_a_preset_is_a_name_and_links_lead_to_it() -> None:
    assert set(presets()) == {
        "contrasts", "ct", "demo", "mri", "mri-template", "photo", "quick", "xray",
    }  # fmt: skip
    for name, preset in presets().items():
        link = ROOT / "configs" / f"{name}.yaml"
        assert link.is_symlink(), "one copy"
        assert link.read_text(encoding="utf-8") == preset.text
        assert load_config(name) == load_config(link)
        assert preset.summary
        assert not preset.summary.startswith("#")


def test_a_file_is_a_path_and_a_preset_wins_over_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mri").write_text("seed: 5")
    Path("mine.yaml").write_text("seed: 6")
    assert load_config("mri").seed == 0
    assert load_config("./mri").seed == 5
    assert load_config("mine.yaml").seed == 6


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("mrl", "there is no configuration mrl, neither a file nor a preset; the nearest preset"),
        ("zzz", "presets are contrasts, ct, demo, mri, mri-template, photo, quick, xray"),
        ("configs/mri-templat.yaml", "the nearest preset is mri-template"),
    ],
)
def test_a_configuration_that_is_not_there(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says):
        load_config(source)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("data.sise=[8, 8, 8]", "the nearest is data.size"),
        ("privacy.epsilom=3", "the nearest is privacy.epsilon"),
        ("epsilon=3", "the nearest is privacy.epsilon"),
        ("atals.share=1", "the nearest is atlas"),
        ("finetune.temprature=1", "the nearest is prior.temperature"),
        ("zzzz=3", "its sections are data, model"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(override: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=nearest):
        load_config("mri", [override])


def test_every_key_is_described_and_the_reference_is_current() -> None:
    flat = {
        name if not isinstance(value, dict) or name not in RunConfig.model_fields else f"{name}.{k}"
        for name, value in RunConfig().model_dump().items()
        for k in (value if isinstance(value, dict) else [""])
    }
    assert set(KEYS) == flat
    for key in KEYS.values():
        assert key.description.endswith("."), key.name
        assert len(key.description) > 10, key.name
        assert key.values, key.name
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run scripts/reference.py"
    assert all(f"`{name}`" in page for name in KEYS)


def test_explain_says_what_a_key_takes_and_each_preset_has() -> None:
    (size,) = api.explain_config("data.size")
    assert (size.values, size.default) == ("3 of: whole number >= 1", "[32, 48, 32]")
    assert size.configs["ct"] == [48, 48, 16]
    assert {one.name for one in api.explain_config("prior")} == {
        f"prior.{name}" for name in ("share", "rank", "clip", "kind", "temperature")
    }
    assert len(api.explain_config()) == len(KEYS)
    with pytest.raises(UsageError, match=r"the nearest is privacy\.epsilon"):
        api.explain_config("epsilo")


def test_copying_writes_a_new_file_only(tmp_path: Path) -> None:
    made = api.copy_config("quick", tmp_path / "mine.yaml")
    assert load_config(made) == load_config("quick")
    with pytest.raises(UsageError, match="exists already"):
        api.copy_config("quick", made)
    with pytest.raises(UsageError, match="no preset 'quik'; the nearest preset is quick"):
        api.copy_config("quik", tmp_path / "other.yaml")


def test_the_verbs(tmp_path: Path) -> None:
    """They need no vault."""
    medvae = Clinic(tmp_path)
    assert {one["name"] for one in medvae("config", "list").json["configs"]} == set(presets())
    (shown,) = medvae("config", "show", "ct").json["configs"]
    assert shown["text"] == presets()["ct"].text
    (copied,) = medvae("config", "copy", "ct", "-o", tmp_path / "ct.yaml").json["configs"]
    assert Path(copied["file"]).read_text(encoding="utf-8") == shown["text"]
    (explained,) = medvae("config", "explain", "atlas.share").json["configs"]
    assert explained["description"] in (ROOT / "docs" / "reference" / "configuration.md").read_text(
        "utf-8"
    )
    unknown = medvae("config", "explain", "atlas.shar", ok=False)
    assert unknown.code == 2
    assert "the nearest is atlas.share" in unknown.err
