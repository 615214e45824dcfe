"""A plan is bound to the private model that its training goes on from."""

from __future__ import annotations

import pytest
import torch

from medvae.errors import IntegrityError
from medvae.model import Artifact
from medvae.model.artifact import FORMAT
from medvae.privacy import StageRequest, make_plan
from medvae.train import continuing


def model(value: float, kind: str = "private") -> Artifact:
    facts = {"format": FORMAT, "kind": kind, "private": kind != "public"}
    return Artifact({"anatomy.figures": torch.full((2,), value)}, facts)


def plan(constants):
    wanted = [StageRequest("one", 1.0, 1.0, 1)]
    return make_plan(wanted, patients=10, epsilon=1.0, delta=1e-5, constants=constants)


def test_plan_is_bound_to_the_private_model_it_was_made_for():
    first, other = model(1.0), model(2.0)
    bound = plan(continuing.constants("first", first))
    continuing.check_bound(bound, first)
    for wrong in (other, None, model(1.0, "public")):
        with pytest.raises(IntegrityError, match="the model first"):
            continuing.check_bound(bound, wrong)


def test_a_plan_that_names_no_model_starts_from_none_that_is_private():
    free = plan(continuing.constants("made", model(1.0, "public")))
    assert free.constants == {}
    continuing.check_bound(free, None)
    continuing.check_bound(free, model(1.0, "public"))
    for kind in ("private", "unprotected"):
        with pytest.raises(IntegrityError):
            continuing.check_bound(free, model(1.0, kind))
