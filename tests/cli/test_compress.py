"""A smaller form of a model: the same guarantee and verbs, fewer bytes, its loss stated."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae.cli.main import run
from tests.cli.conftest import DECLARED, QUICK, Clinic


@pytest.fixture(scope="module")
def smaller(journey: Clinic) -> Clinic:
    """The journey's tenant with model `first` compressed to `small8`."""
    before = journey("budget").json
    made = journey("model", "compress", "first", "--to", "small8").json
    assert (made["model"], made["source"], made["weights"]) == ("small8", "first", "int8")
    assert made["bytes_after"] < made["bytes_before"]
    assert journey("budget").json == before
    return journey


def test_it_keeps_the_guarantee_and_says_where_it_came_from(smaller: Clinic) -> None:
    first, small = (smaller("model", "show", name).json for name in ("first", "small8"))
    for key in ("epsilon", "delta", "dataset", "private", "parameters"):
        assert small[key] == first[key]
    for key in ("plan", "config", "kind", "stages"):
        assert small["facts"][key] == first["facts"][key]
    stated = small["facts"]["compression"]
    assert stated["source"] == "first"
    assert stated["bytes_before"] > stated["bytes_after"]
    assert stated["psnr_after"] == pytest.approx(stated["psnr_before"], abs=0.5)
    assert "procedural" in stated["psnr_of"]
    listed = {model["model"]: model for model in smaller("model", "list").json["models"]}
    assert (listed["small8"]["source"], listed["small8"]["weights"]) == ("first", "int8")
    assert (listed["first"]["source"], listed["first"]["weights"]) == (None, "fp32")


def test_one_seed_gives_nearly_the_same_volumes(smaller: Clinic, tmp_path: Path) -> None:
    stated = smaller("model", "show", "small8").json["facts"]["compression"]["volumes"]
    files = {
        name: smaller("generate", name, "-n", "3", "-o", tmp_path / name, "--seed", "11").json
        for name in ("first", "small8")
    }
    apart = []
    for one, other in zip(files["first"]["files"], files["small8"]["files"], strict=True):
        first, second = (np.asarray(nib.load(f).dataobj).astype(float) for f in (one, other))
        if "dseg" in one:
            assert np.array_equal(first, second)
        else:
            apart.append((second - first) / 1000.0)
    assert 0 < stated["rms"] < 0.02
    assert np.sqrt(np.mean(np.square(apart))) < 2 * stated["rms"]
    assert np.abs(apart).max() < 2 * stated["largest"]


def test_every_verb_takes_it(smaller: Clinic, scans: Path, tmp_path: Path) -> None:
    released = smaller("release", "create", "small8", "-n", "2", "-o", tmp_path / "r").json
    assert released["passed"]
    assert 0 < released["epsilon"] <= 8
    assert "int8" in (tmp_path / "r" / "card.json").read_text()
    asked = ("evaluate", "small8", "--against", "phantoms", "-n", "4", "--no-downstream")
    assert "reconstruction_psnr" in smaller(*asked).json["metrics"]
    assert smaller("audit", "small8", "-n", "2", ok=False).json["members"].startswith("phantoms")
    for fmt in ("safetensors", "torchscript"):
        smaller("model", "export", "small8", "-o", tmp_path / fmt, "--format", fmt)
    source = next((scans / "images").glob("*.nii.gz"))
    smaller("reconstruct", "small8", "-i", source, "-o", tmp_path / "rec.nii.gz")


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("nothing", "--to", "new"), 7, "has no model"),
        (("first", "--to", "small8"), 2, "already"),
        (("first", "--to", "first"), 2, "already"),
        (("small8", "--to", "again"), 2, "compressed already"),
        (("first", "--to", "new", "--weights", "int4"), 2, "--weights"),
        (("first", "--to", "new", "--prune", "1"), 2, "--prune"),
        (("first", "--to", "new", "--prune", "nan"), 2, "--prune"),
        (("first", "--to", "../new"), 2, "no name"),
        (("first",), 2, "--to"),
    ],
)
def test_what_cannot_be_is_refused(
    smaller: Clinic, words: tuple[str, ...], code: int, word: str
) -> None:
    got = smaller("model", "compress", *words, ok=False)
    assert (got.code, len(got.err.strip().splitlines())) == (code, 1)
    assert word in got.err
    assert "new" not in {m["model"] for m in smaller("model", "list").json["models"]}


def test_no_run_may_take_its_name(smaller: Clinic) -> None:
    asked = ("train", "-c", QUICK, "-d", "phantoms", "--epsilon", "1", "--name", "small8")
    assert smaller(*asked, ok=False).code == 2
    assert smaller(*asked, "--resume", ok=False).code == 7


def test_a_public_one_starts_a_run_and_a_withdrawal_names_both_forms(
    clinic: Clinic, scans: Path
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    clinic("pretrain", "-c", QUICK, "--name", "pub", "--set", "pretrain.steps=2")
    made = clinic("model", "compress", "pub", "--to", "pub8", "--prune", "0.3").json
    assert made["volumes"] is None
    assert not clinic("model", "show", "pub8").json["private"]
    clinic("train", "-c", QUICK, "-d", "d", "--init", "pub8", "--name", "whole")
    clinic("model", "compress", "whole", "--to", "part")
    erased = clinic("subject", "erase", "CANARY-PATIENT-3", "--yes").json
    assert erased["models"] == ["part", "whole"]


def test_show_is_for_people_too(smaller: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--vault", str(smaller.root / "vault"), "--identity", str(smaller.root / "key")]
    assert run([*given, "model", "show", "small8"]) == 0
    shown = capsys.readouterr().out
    assert "Compressed from first" in shown
    assert "of the intensity range apart" in shown
    assert run([*given, "model", "list"]) == 0
    assert "int8" in capsys.readouterr().out
