"""A file of statistics is read as anybody's: what it says is bounded, and fits together."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest

from medvae.config import RunConfig
from medvae.errors import InputError, IntegrityError, UsageError
from medvae.privacy import Plan, make_plan
from medvae.privacy.plan import StageRequest
from medvae.train import alike
from medvae.train import statistics as stage
from medvae.vault import verify_signature
from tests.release.made import Key

SHARES = {"anatomy": 1.0, "cosines": 0.0, "atlas": 0.0, "finetune": 0.0, "prior": 0.0}
RELEASED = {"released.anatomy-means": np.zeros(3)}


def config(**changes: dict[str, Any]) -> dict[str, Any]:
    """Of a hospital, with other keys in some sections."""
    sections: dict[str, dict[str, Any]] = {name: {"share": of} for name, of in SHARES.items()}
    sections["anatomy"] |= {"library": "head", "digest": "0" * 64}
    sections["data"] = {"labels": 1, "label_scheme": {"1": "organ"}, "classes": 0, "sites": []}
    sections["privacy"] = {"epsilon": 4.0, "unit": "patient"}
    for name, keys in changes.items():
        sections[name] = sections.get(name, {}) | keys
    return RunConfig.model_validate(sections).public()


def plan(constants: dict[str, Any] | None = None) -> Plan:
    requests = [StageRequest(f"anatomy-{name}", 0.5, 1.0, 1) for name in ("means", "spreads")]
    return make_plan(requests, patients=50, epsilon=4.0, constants=constants or config())


def file(text: str | None = None, **statement: Any) -> bytes:
    """A file of `RELEASED` that somebody signed, whatever it says."""
    account = stage.AccountFacts(epsilon=4.0, delta=1e-5, debits=1)
    said: dict[str, Any] = {
        "format": "medvae-statistics-1",
        "tenant": "north",
        "model": "m",
        "software": "1",
        "artifact": 2,
        "plan": plan().to_json() if text is None else text,
        "arrays": stage.digest_of(RELEASED),
        "debited": True,
        "limit": 20.0,
        "account": account,
        "looks": stage.LookFacts(evaluate=0, audit=0),
    }
    key = Key(3)
    written = stage.Statement.model_construct(**(said | statement))
    return stage.write(written, RELEASED, key.sign, key.public)


read = partial(stage.read, verify=verify_signature)


def with_header(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with other bytes in its header."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size]
    assert old in header
    header = header.replace(old, new, 1)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def test_a_file_of_one_hospital_is_read() -> None:
    got = read(file())
    assert (got.plan, got.config.data.labels) == (plan(), 1)
    alike.check_config(got.config, got.plan, "it")
    alike.check_bounds(got.config, "it")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ({"account": {"epsilon": 0.0, "delta": 1e-5, "debits": 1}}, "its plan alone costs 4"),
        # The same epsilon at a smaller delta is less than the plan costs.
        ({"account": {"epsilon": 4.0, "delta": 1e-9, "debits": 1}}, "its plan alone costs"),
        ({"account": {"epsilon": 4.0, "delta": 0.0, "debits": 1}}, "account.delta"),
        ({"account": {"epsilon": 4.0, "delta": 1e-5, "debits": 0}}, "account.debits"),
        ({"limit": 1e300}, "limit"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_statement_that_its_own_plan_denies_is_refused(
    statement: dict[str, Any], reason: str
) -> None:
    """The card repeats it, with nothing else to hold it against."""
    with pytest.raises(InputError, match=reason):
        read(file(**statement))


@pytest.mark.parametrize("field", ["epsilon", "delta", "noise_multiplier"])
def test_a_number_of_a_thousand_digits_is_no_defect(field: str) -> None:
    said = json.loads(plan().to_json())
    (said["mechanisms"][0] if field == "noise_multiplier" else said)[field] = 10**1000
    with pytest.raises(IntegrityError, match="cannot be read"):
        read(file(json.dumps(said)))


def test_a_target_that_is_text_is_refused() -> None:
    """The gate compares it as the plan has it."""
    said = json.loads(plan().to_json())
    said["constants"]["privacy"]["epsilon"] = "4"
    with pytest.raises(InputError, match="its target is no number"):
        read(file(json.dumps(said)))


def test_text_that_no_encoding_has_is_damage() -> None:
    wrong = with_header(file(), b'"statement":"', rb'"statement":"\ud800')
    with pytest.raises(IntegrityError, match="signature cannot be read"):
        read(wrong)


def test_a_large_header_is_not_read() -> None:
    """Read as JSON, it would take many times its bytes."""
    wrong = with_header(file(), b"{", b"{" + b" " * (3 << 20))
    with pytest.raises(InputError, match="header of more than 2 MiB"):
        read(wrong)


def test_what_takes_gigabytes_or_hours_is_refused_before_anything_is_made_of_it() -> None:
    for changes, reason in (
        ({"model": {"latent_channels": 10**9}}, "latents"),
        ({"data": {"size": [1 << 12, 1 << 12, 1 << 12]}}, "voxels"),
        ({"atlas": {"samples": 10**6}}, "training"),
    ):
        got = read(file(plan(config(**changes)).to_json()))
        with pytest.raises(UsageError, match=reason):
            alike.check_bounds(got.config, "it")


def test_pictures_have_no_anatomy_to_join() -> None:
    """No configuration of an anatomy model is of pictures, whatever mechanisms a plan names."""
    radiographs: dict[str, dict[str, Any]] = {
        "data": {"modality": "xray", "size": [64, 64, 1]},
        "cosines": {"share": 1.0},
        "anatomy": {"share": 0.0},
    }
    got = read(file(plan(config(**radiographs)).to_json()))
    with pytest.raises(UsageError, match="by cosines"):
        alike.check_config(got.config, got.plan, "it")
