"""What can be learnt from synthetic volumes: train on them, test on real patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.grid import Gridded
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

_BATCH = 4
_WIDTHS = (8, 16, 32)


def segmentation_dice(
    train: Sequence[Gridded],
    test: Sequence[Gridded],
    labels: int,
    *,
    iterations: int = 300,
    seed: int = 0,
    progress: Progress = SILENT,
) -> list[float]:
    """Dice of each label 1..labels on `test`, of a small MONAI UNet trained on `train`.

    The task of the project's reference figures: widths (8, 16, 32), batches of 4, Adam at
    1e-2 annealed to 0, Dice and cross entropy together; no augmentation, nothing selected.
    Dice is over all voxels of all test volumes with the label, averaged over volumes; a
    volume without the label counts only where the label was wrongly found (as 0).
    """
    import torch
    from monai.losses import DiceCELoss

    images, masks = _tensors(train)
    model = _unet(images.shape[1], labels, seed)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    progress.start("downstream segmentation", iterations)
    for step in range(iterations):
        batch = torch.randint(len(images), (_BATCH,), generator=generator)
        optimizer.zero_grad()
        value = loss(model(images[batch]), masks[batch])
        value.backward()
        optimizer.step()
        schedule.step()
        progress.advance(step + 1)
    progress.finish()
    return _dice(model, test, labels)


def _unet(channels: int, labels: int, seed: int) -> torch.nn.Module:
    import torch
    from monai.networks.nets import UNet

    model: torch.nn.Module = UNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=labels + 1,
        channels=_WIDTHS,
        strides=(2, 2),
        num_res_units=1,
    )
    # Layers drew their first weights from torch's global generator: draw them again from ours.
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
        elif parameter.numel() > 1:
            torch.nn.init.zeros_(parameter)
    return model


def _tensors(pairs: Sequence[Gridded]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [n, C, X, Y, Z] float32 and masks [n, 1, X, Y, Z] int64, sides padded to fours."""
    import torch

    images, masks = [], []
    for pair in pairs:
        assert pair.mask is not None
        pad = [(0, -size % 4) for size in pair.mask.shape]
        image = pair.image.reshape(-1, *pair.mask.shape)
        images.append(np.pad(image, [(0, 0), *pad], mode="edge"))
        masks.append(np.pad(pair.mask, pad))
    return (
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(masks).astype(np.int64))[:, None],
    )


def _dice(model: torch.nn.Module, test: Sequence[Gridded], labels: int) -> list[float]:
    import torch

    model.eval()
    scores: list[list[float]] = [[] for _ in range(labels)]
    with torch.no_grad():
        for pair in test:
            image, mask = _tensors([pair])
            predicted = model(image).argmax(dim=1, keepdim=True)
            for label in range(1, labels + 1):
                ours, two = predicted == label, mask == label
                total = int(ours.sum() + two.sum())
                if total:
                    scores[label - 1].append(2 * int((ours & two).sum()) / total)
    return [float(np.mean(values)) if values else float("nan") for values in scores]


def classification_auc(
    train: npt.NDArray[np.float64],
    train_labels: Sequence[object],
    test: npt.NDArray[np.float64],
    test_labels: Sequence[object],
) -> float:
    """AUC of logistic regression on features [n, d], trained on one set, tested on another.

    For more than two classes the mean over pairs (Hand and Till 2001).

    Raises:
        ValueError: a class of the test set is missing from the training set.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = sorted({str(label) for label in train_labels})
    if not {str(label) for label in test_labels} <= set(classes) or len(classes) < 2:
        raise ValueError("training and test labels must be of the same two or more classes")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(train, [str(label) for label in train_labels])
    scores = model.predict_proba(test)
    truth = [classes.index(str(label)) for label in test_labels]
    if len(classes) == 2:
        return float(roc_auc_score(truth, scores[:, 1]))
    return float(roc_auc_score(truth, scores, multi_class="ovo", labels=range(len(classes))))
