"""Configurations: every shipped one loads, and nothing wrong gets in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from medvae.config import RunConfig
from medvae.config_files import load_config
from medvae.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name", ["demo", "mri", "mri-template", "ct", "quick", "xray", "photo"])
def test_shipped_configurations_load(name: str) -> None:
    cfg = load_config(CONFIGS / f"{name}.yaml")
    assert cfg.privacy.epsilon > 0
    # A network halves its grid three times; cosines take any.
    assert cfg.cosines.share or all(n % 8 == 0 for n in cfg.data.size)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("privacy.epsilom=3", "epsilom"),
        ("nothing.at=all", "nothing"),
        ("privacy.epsilon=0", "epsilon"),
        ("privacy.epsilon=-1", "epsilon"),
        ("privacy.epsilon=.nan", "epsilon"),
        ("privacy.epsilon=.inf", "epsilon"),
        ("finetune.sample_rate=1.5", "sample_rate"),
        ("prior.share=0.9", "share"),
        ("data.size=[8, 8]", "size"),
        ("data.modality=sonogram", "one of mri, ct, pet, xray, photo"),
        ("data.modality=xray", "xray"),
        ("data.modality=3", "modality"),
        ("data.modality=[]", "modality"),
        ("data.window=[100, -100]", "window"),
        ("atlas.public_labels=labels.nii", "public_labels"),
        ("atlas.public_digest=abc", "public_digest"),
        ("no-equals-sign", "no-equals-sign"),
    ],
)
def test_what_is_wrong_is_named(override: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        load_config(CONFIGS / "mri.yaml", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "data: {", "\x00"])
def test_files_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"bad\.yaml"):
        load_config(path)


def test_overrides_win_and_compute_knobs_stay_outside_the_plan() -> None:
    cfg = load_config(CONFIGS / "mri.yaml", ["privacy.epsilon=3", "compute.chunk=2"])
    assert cfg.privacy.epsilon == 3
    assert cfg.compute.chunk == 2
    assert "compute" not in cfg.public()
    assert RunConfig.model_validate(cfg.model_dump()) == cfg


def test_the_public_configuration_tells_a_files_name_and_not_its_folder() -> None:
    cfg = load_config(CONFIGS / "mri.yaml", ["atlas.public=/home/her/t1.nii.gz"])
    assert cfg.public()["atlas"]["public"] == "t1.nii.gz"
    assert cfg.public()["atlas"]["public_labels"] is None


def test_the_public_configuration_is_plain_json() -> None:
    assert not any(
        isinstance(v, float) and not math.isfinite(v)
        for section in yaml.safe_load(yaml.safe_dump(RunConfig().public())).values()
        if isinstance(section, dict)
        for v in section.values()
    )


def test_few_patients_under_much_noise_leave_the_atlas_alone() -> None:
    cfg = load_config(CONFIGS / "mri.yaml", ["privacy.epsilon=2", "atlas.alone_below=200"])
    small = cfg.resolved(99)
    assert (small.atlas.share, small.finetune.share, small.prior.share) == (1.0, 0.0, 0.0)
    assert small.resolved(99) == small
    assert RunConfig.model_validate(small.model_dump()) == small
    assert cfg.resolved(100) == cfg
    assert small.public() != cfg.public()
    # The bound itself changes nothing that it does not decide.
    other = load_config(CONFIGS / "mri.yaml", ["privacy.epsilon=2", "atlas.alone_below=100"])
    assert other.resolved(100).public() == cfg.resolved(100).public()


def test_who_has_no_atlas_keeps_the_shares() -> None:
    shares = ["atlas.share=0", "finetune.share=0.4", "prior.share=0.6"]
    cfg = load_config(CONFIGS / "mri.yaml", [*shares, "privacy.epsilon=0.1"])
    assert cfg.atlas.alone_below > 0.1
    assert cfg.resolved(1) == cfg
