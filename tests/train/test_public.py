"""The public stage: what it draws, that it learns, that it can be interrupted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError
from medvae.generate import generate
from medvae.model import VAE, Artifact, imagenet, load_model
from medvae.model.lora import add_lora, merge_lora
from medvae.model.procedural import batch, random_volume
from medvae.train import pretrain
from medvae.train.optimizer import orthogonal
from medvae.train.public import start

WITH_NETWORK = pytest.mark.skipif(
    not imagenet.available(), reason="the extra metrics (an ImageNet network) is not installed"
)
SIZES = st.lists(st.integers(1, 20), min_size=2, max_size=3).map(tuple)


def configuration(**pretraining: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": {"size": (16, 16, 16)},
            "model": {"preset": "tiny"},
            "pretrain": {"init": None, "batch": 4, "steps": 4} | pretraining,
        }
    )


@settings(max_examples=25, deadline=None)
@given(size=SIZES, modality=st.sampled_from(["mri", "ct"]), index=st.integers(0, 1 << 40))
def test_procedural_volumes_are_on_the_scale_and_repeat(
    size: tuple[int, ...], modality: str, index: int
) -> None:
    one = random_volume(size, modality, 3, index)
    assert one.shape == size
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 1.0
    assert np.array_equal(one, random_volume(size, modality, 3, index))


def test_a_batch_is_its_volumes() -> None:
    made = batch((8, 8, 8), "ct", 1, 5, 3)
    assert np.array_equal(made[2, 0], random_volume((8, 8, 8), "ct", 1, 7))


def psnr(model: VAE, volumes: torch.Tensor, noise: float) -> float:
    with torch.no_grad():
        latents = model.encode(volumes)[0]
        drawn = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        restored = model.decode(latents + noise * drawn)
    return float(10 * torch.log10(4 / (restored - volumes).square().mean()))


def test_it_learns_to_bear_latent_noise_on_volumes_it_never_saw() -> None:
    cfg = configuration(steps=60, learning_rate=3e-3, latent_noise=0.5)
    unseen = torch.from_numpy(batch((16, 16, 16), "mri", 999, 0, 16))
    before = psnr(start(cfg), unseen, 0.5)
    after = psnr(load_model(pretrain(cfg)), unseen, 0.5)
    assert after > before + 0.1


class Interrupted:
    """A store that stops the work after its first save."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.stop = True

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
        if self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "losses",
    [
        {},
        {"adversarial": 0.05},
        pytest.param({"adversarial": 0.05, "perceptual": 0.1}, marks=WITH_NETWORK),
    ],
)
def test_an_interrupted_stage_ends_in_the_same_weights(
    losses: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvae.train import adversarial as module
    from medvae.train import loop

    monkeypatch.setattr(loop.Schedule, "save_every", 3)
    monkeypatch.setattr(loop.Schedule.__init__, "__defaults__", (3, False))
    monkeypatch.setattr(module, "SILENT_STEPS", 1)
    cfg = configuration(**losses, steps=5, batch=1)
    whole = pretrain(cfg)
    store = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        pretrain(cfg, checkpoint=store)
    store.stop = False
    assert pretrain(cfg, checkpoint=store).to_bytes() == whole.to_bytes()


@WITH_NETWORK
def test_the_perceptual_loss_sees_blur_but_not_a_perfect_copy() -> None:
    from scipy.ndimage import gaussian_filter

    from medvae.train.perceptual import Perceptual

    loss = Perceptual(1.0, 0, torch.device("cpu"))
    x = torch.from_numpy(batch((24, 24, 24), "mri", 5, 0, 2))
    blurred = [torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, s, s, s))) for s in (0.6, 2.0)]
    assert float(loss(x, x, 0)) == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < float(loss(x, blurred[0], 0)) < float(loss(x, blurred[1], 0))
    assert float(loss(x, blurred[0], 0)) == float(loss(x, blurred[0], 0))
    assert float(loss(x, blurred[0], 0)) != float(loss(x, blurred[0], 1))
    restored = blurred[0].clone().requires_grad_(True)
    loss(x, restored, 0).backward()  # type: ignore[no-untyped-call]
    assert restored.grad is not None
    assert bool(restored.grad.any())
    flat = loss(x[:, :, 12], blurred[1][:, :, 12], 0)
    assert float(flat) > 0.0


@WITH_NETWORK
def test_the_perceptual_loss_changes_what_is_learnt() -> None:
    plain, seeing = (pretrain(configuration(perceptual=w)).to_bytes() for w in (0.0, 0.5))
    assert plain != seeing


def test_without_the_network_the_perceptual_loss_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imagenet, "available", lambda: False)
    with pytest.raises(UsageError, match=r"metrics.*or set it to 0") as caught:
        pretrain(configuration(perceptual=0.1))
    assert "\n" not in str(caught.value)
    pretrain(configuration(steps=1))


def test_a_checkpoint_of_another_stage_is_refused() -> None:
    from medvae.train.state import pack

    store = Interrupted()
    store.data = pack({}, {"stage": "elsewhere", "step": 1})
    with pytest.raises(IntegrityError, match="elsewhere"):
        pretrain(configuration(), checkpoint=store)
    store.data = b"nonsense"
    with pytest.raises(IntegrityError, match="checkpoint"):
        pretrain(configuration(), checkpoint=store)


def test_a_public_model_has_nothing_to_draw_from() -> None:
    made = pretrain(configuration())
    assert made.facts["kind"] == "public"
    assert not made.facts["private"]
    with pytest.raises(UsageError, match="train it on a data set"):
        generate(made, 1, 0)


def test_orthogonal_updates_have_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((8, 216), (32, 96), (64, 16)):
        found = orthogonal(torch.randn(shape, generator=generator))
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        values = torch.linalg.svdvals(found) / scale
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.3


def test_low_rank_updates_start_at_nothing_and_merge_into_plain_weights() -> None:
    model = start(configuration())
    x = torch.from_numpy(batch((16, 16, 16), "mri", 4, 0, 1))
    for parameter in model.parameters():
        parameter.data += 0.01
    before, names = model.encode(x)[0], set(model.state_dict())
    add_lora(model)
    torch.testing.assert_close(model.encode(x)[0], before)
    for name, parameter in model.named_parameters():
        if "lora_out" in name:
            parameter.data += 0.3
    changed = model.encode(x)[0]
    assert not torch.allclose(changed, before)
    merge_lora(model)
    torch.testing.assert_close(model.encode(x)[0], changed)
    assert set(model.state_dict()) == names


def test_shipped_weights_are_those_of_their_recipe() -> None:
    from medvae.model.weights import shipped

    for path in shipped.FOLDER.glob("*.safetensors"):
        made = shipped.read(path)
        assert made.facts["kind"] == "public"
        assert isinstance(Artifact.from_bytes(made.to_bytes()), Artifact)
        assert len(path.read_bytes()) < 5e6
