"""`medvae anatomy`: keys, exit codes and sentences."""

from __future__ import annotations

import pytest

from tests.anatomy.conftest import SCHEME, images, label_maps  # noqa: F401  fixtures
from tests.cli.conftest import Clinic

GIVEN = ("--licence", "CC0", "--source", "made up")


@pytest.fixture
def vault(tmp_path):
    """A vault without any tenant: the library needs neither keys nor an identity."""
    return Clinic(tmp_path)


def test_add_list_show_verify(vault, images):  # noqa: F811
    added = vault("anatomy", "add", images, "--name", "hearts", *GIVEN, "--label-scheme", SCHEME)
    assert added.json["anatomy"] == "hearts"
    listed = vault("anatomy", "list").json
    assert [one["name"] for one in listed["entries"]] == ["hearts"]
    assert listed["entries"] == added.json["entries"]
    shown = vault("anatomy", "show", "hearts").json["entries"][0]
    assert shown["label_scheme"]["1"] == "Body"
    assert shown["digest"] == listed["entries"][0]["digest"]
    assert vault("anatomy", "verify").json["damaged"] == []
    stored = vault.root / "vault" / "anatomy" / "hearts" / "0001.safetensors.gz"
    stored.write_bytes(stored.read_bytes()[:-1])
    damaged = vault("anatomy", "verify", ok=False)
    assert damaged.code == 4
    assert damaged.json["damaged"][0]["object"] == "hearts/0001.safetensors.gz"
    assert vault("anatomy", "list").json["entries"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--name", "x", "--source", "s"), 2, "--licence"),
        (("--name", "x", "--licence", "", "--source", "s"), 2, "--licence is empty"),
        (("--name", "x", *GIVEN, "--label-scheme", "1=a"), 3, "the label scheme lacks (2, 3, 4)"),
        (("--name", "X Y", *GIVEN), 2, "not a name"),
    ],
)
def test_refusals(vault, label_maps, words, code, said):  # noqa: F811
    outcome = vault("anatomy", "add", label_maps, *words, ok=False)
    assert outcome.code == code
    assert said in outcome.err
    assert outcome.json["exit_code"] == code
    assert vault("anatomy", "list").json["entries"] == []


def test_an_entry_that_is_not_there(vault):
    assert vault("anatomy", "show", "hearts", ok=False).code == 7


def test_the_library_is_no_tenant(clinic, images):  # noqa: F811
    clinic("anatomy", "add", images, "--name", "hearts", *GIVEN)
    assert [one["tenant"] for one in clinic("tenant", "list").json["tenants"]] == ["clinic"]
    # The only tenant is still found without a name.
    assert clinic("dataset", "list").json["datasets"] == []
    outcome = clinic("tenant", "create", "anatomy", ok=False)
    assert outcome.code == 2
    assert "anatomy" in outcome.err
