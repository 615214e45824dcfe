"""The private run end to end, with the real engine, on made-up patients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medvae.config import RunConfig
from medvae.errors import UsageError
from medvae.generate import generate
from medvae.grid import Gridded
from medvae.model import Artifact
from medvae.model.artifact import FORMAT
from medvae.model.procedural import random_volume
from medvae.privacy import DPTrainer, Plan, StageRequest, make_plan
from medvae.privacy.clipping import clip_factors
from medvae.train import stage_requests, train
from medvae.train.state import pack, unpack

KEY = bytes(range(32))


class Cohort:
    """Patients of procedural anatomy; every third has two scans."""

    def __init__(self, count: int, size: tuple[int, int, int], stream: int = 77) -> None:
        self.subjects = [f"S{i}" for i in range(count)]
        self._size = size
        self._stream = stream

    def __len__(self) -> int:
        return len(self.subjects)

    def volumes(self, index: int) -> list[Gridded]:
        scans = 2 if index % 3 == 0 else 1
        return [
            Gridded(random_volume(self._size, "mri", self._stream, 10 * index + k), None)
            for k in range(scans)
        ]


class Memory:
    """A checkpoint store that can pull the plug after some saves."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.data: bytes | None = None
        self.saves = 0
        self.stop_after = stop_after

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
        self.saves += 1
        if self.saves == self.stop_after:
            raise KeyboardInterrupt


def configuration(**sections: dict[str, object]) -> RunConfig:
    raw: dict[str, dict[str, object]] = {
        "data": {"size": (16, 16, 16)},
        "model": {"preset": "tiny", "latent_channels": 8},
        "pretrain": {"steps": 0, "init": None},
        "atlas": {"share": 0.0},
        "finetune": {"share": 0.5, "steps": 4, "sample_rate": 0.5},
        "prior": {"share": 0.5},
        "compute": {"checkpoint_every": 1},
    }
    for name, values in sections.items():
        raw[name] = raw.get(name, {}) | values
    return RunConfig.model_validate(raw)


def plan_of(cfg: RunConfig, patients: int) -> Plan:
    requests = [StageRequest(*one) for one in stage_requests(cfg, patients)]
    return make_plan(requests, patients=patients, epsilon=cfg.privacy.epsilon)


def same(a: Artifact, b: Artifact) -> bool:
    return a.to_bytes() == b.to_bytes()


def test_a_run_ends_in_an_artifact_that_generates() -> None:
    cfg = configuration()
    cohort = Cohort(9, cfg.data.size)
    made = train(cfg, plan_of(cfg, 9), cohort, key=KEY)
    assert made.facts["private"]
    assert made.facts["epsilon"] <= 8.0
    again = Artifact.from_bytes(made.to_bytes())
    volumes = list(generate(again, 3, seed=5))
    assert [v.shape for v in volumes] == [(16, 16, 16)] * 3
    assert not np.array_equal(volumes[0].voxels, volumes[1].voxels)


def test_a_killed_run_ends_in_the_same_weights() -> None:
    cfg = configuration()
    cohort = Cohort(6, cfg.data.size)
    plan = plan_of(cfg, 6)
    whole = train(cfg, plan, cohort, key=KEY)
    store = Memory()
    for stop in (1, 3, 5):
        store.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            train(cfg, plan, cohort, key=KEY, checkpoint=store)
    store.stop_after = None
    resumed = train(cfg, plan, cohort, key=KEY, checkpoint=store)
    assert same(whole, resumed)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    cfg = configuration(
        data={"size": (24, 32, 24), "labels": 0},
        model={"preset": "small"},
        atlas={"share": 0.5, "samples": 4, "steps": 3},
        finetune={"share": 0.25, "steps": 2, "sample_rate": 1.0},
        prior={"share": 0.25},
    )
    cohort, plan = Cohort(6, cfg.data.size), plan_of(cfg, 6)
    before, made = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            made.append(train(cfg, plan, cohort, key=KEY))
        finally:
            torch.set_num_threads(before)
    assert same(*made)


def test_the_configured_clipping_clips_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def recorded(norms: torch.Tensor, clip: float, clipping: str) -> torch.Tensor:
        used.append(clipping)
        return clip_factors(norms, clip, clipping)

    monkeypatch.setattr("medvae.privacy.clipping.clip_factors", recorded)
    made = []
    for clipping in ("flat", "auto-s"):
        cfg = configuration(finetune={"clipping": clipping})
        made.append(train(cfg, plan_of(cfg, 6), Cohort(6, (16, 16, 16)), key=KEY))
    half = len(used) // 2
    assert half > 0
    assert used == ["flat"] * half + ["auto-s"] * half
    assert not same(*made)
    with pytest.raises(ValidationError):
        configuration(finetune={"clipping": "normalise"})


def test_the_engine_gets_the_compute_knobs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def recorded(*args: object, **options: object) -> DPTrainer:
        told.append((options["chunk"], options["precision"]))
        return DPTrainer(*args, **options)

    monkeypatch.setattr("medvae.privacy.engine.DPTrainer", recorded)
    made = []
    for chunk in (1, 3):
        cfg = configuration(compute={"chunk": chunk, "precision": "fp32"})
        made.append(train(cfg, plan_of(cfg, 6), Cohort(6, (16, 16, 16)), key=KEY))
    assert told == [(1, "fp32"), (3, "fp32")]
    # The knob changes rounding, so it changes the noise: two copies of one run that differ by
    # rounding alone would give the patients' rounding away.
    apart = (made[0].tensors["prior.mean"] - made[1].tensors["prior.mean"]).abs().mean()
    other = train(cfg, plan_of(cfg, 6), Cohort(6, (16, 16, 16)), key=bytes(32))
    independent = (made[0].tensors["prior.mean"] - other.tensors["prior.mean"]).abs().mean()
    assert 0.3 * independent < apart < 3 * independent


def test_a_checkpoint_of_earlier_mechanisms_is_left_aside() -> None:
    cfg = configuration()
    plan, cohort, store = plan_of(cfg, 6), Cohort(6, (16, 16, 16)), Memory()
    whole = train(cfg, plan, cohort, key=KEY, checkpoint=store)
    tensors, facts = unpack(store.data)
    assert facts.pop("format") == FORMAT
    old = Memory()
    old.data = pack({name: torch.zeros_like(one) for name, one in tensors.items()}, facts)
    assert same(train(cfg, plan, cohort, key=KEY, checkpoint=old), whole)


def test_the_gradient_scale_is_kept_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = configuration()
    plan, cohort, store = plan_of(cfg, 6), Cohort(6, (16, 16, 16)), Memory(stop_after=2)
    whole = train(cfg, plan, cohort, key=KEY)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, plan, cohort, key=KEY, checkpoint=store)
    # On another machine it would be measured a little differently.
    monkeypatch.setattr("medvae.train.finetune.gradient_scale", lambda *_: 123.0)
    store.stop_after = None
    assert same(train(cfg, plan, cohort, key=KEY, checkpoint=store), whole)


def test_another_key_gives_another_model() -> None:
    cfg = configuration()
    cohort = Cohort(5, cfg.data.size)
    plan = plan_of(cfg, 5)
    assert not same(train(cfg, plan, cohort, key=KEY), train(cfg, plan, cohort, key=bytes(32)))


def test_the_number_of_patients_must_be_the_plans() -> None:
    cfg = configuration()
    with pytest.raises(UsageError, match="5 patients"):
        train(cfg, plan_of(cfg, 5), Cohort(4, cfg.data.size), key=KEY)


def test_shares_of_left_out_stages_go_to_the_others() -> None:
    requests = stage_requests(configuration(finetune={"steps": 0}), 50)
    assert sum(one[1] for one in requests) == pytest.approx(1.0)
    assert not [one for one in requests if one[0] == "finetune"]
    with pytest.raises(UsageError, match="nothing to draw from"):
        stage_requests(configuration(finetune={"share": 1.0}, prior={"share": 0.0}), 50)


def test_a_prior_without_rank_pays_for_no_covariance() -> None:
    cfg = configuration(prior={"rank": 0, "share": 1.0}, finetune={"share": 0.0})
    plan = plan_of(cfg, 6)
    assert [one.name for one in plan.mechanisms] == ["prior.mean", "prior.shells"]
    made = train(cfg, plan, Cohort(6, cfg.data.size), key=KEY)
    first, second = (v.voxels for v in generate(made, 2, seed=5))
    assert not np.array_equal(first, second)


def test_with_vanishing_budget_noise_drowns_the_patients() -> None:
    """At a tiny epsilon two different cohorts end in almost the same numbers: the key's noise."""
    cfg = configuration(privacy={"epsilon": 0.01, "delta": 1e-9})
    plan = plan_of(cfg, 5)
    one, other = (
        train(cfg, plan, Cohort(5, cfg.data.size, stream), key=KEY) for stream in (77, 99)
    )
    assert not same(one, other)
    for name, value in one.tensors.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, other.tensors[name], atol=0.05, rtol=0.05)


def test_nothing_of_a_patient_is_in_the_progress_notes() -> None:
    class Notes:
        def __init__(self) -> None:
            self.heard: list[object] = []

        def start(self, stage: str, total: int) -> None:
            self.heard.append((stage, total))

        def advance(self, done: int, note: str = "") -> None:
            self.heard.append((done, note))

        def finish(self, note: str = "") -> None:
            self.heard.append(note)

    cfg = configuration()
    plan = plan_of(cfg, 5)
    heard = []
    for stream in (77, 99):
        notes = Notes()
        train(cfg, plan, Cohort(5, cfg.data.size, stream), key=KEY, progress=notes)
        heard.append(notes.heard)
    assert heard[0] == heard[1]
