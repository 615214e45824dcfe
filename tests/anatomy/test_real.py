"""Real public people: labels carried from one to another fit better after each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae.anatomy.collection import AlignedEntry, PersonMaps, align, unnamed
from medvae.anatomy.registration import Alignment, Subject, pull_to_subject, pull_to_template
from medvae.anatomy.registration.subject import class_shares
from medvae.ingest.normalise import closest_canonical

pytestmark = pytest.mark.slow


def people(folder: Path, pattern: str) -> list[PersonMaps]:
    found = []
    for path in sorted(folder.glob(pattern))[:3]:
        image = nib.load(path)
        labels = np.asarray(image.dataobj).round().astype(np.int16)
        found.append(PersonMaps(*closest_canonical(labels, image.affine)))
    assert len(found) >= 2
    return found


def carried(
    group: Sequence[PersonMaps], aligned: AlignedEntry, places: Sequence[Alignment], labels: list
) -> float:
    """Mean Dice of `labels`, each person's carried to each other's grid of 2 mm or coarser."""
    grid = aligned.group.template.grid
    classes = {number: at for at, number in enumerate(labels)}
    maps = [class_shares(p.labels, p.affine, classes, len(labels), 2.0) for p in group]
    scores = []
    for i, (own, affine) in enumerate(maps):
        for j, (other, frame) in enumerate(maps):
            if i == j:
                continue
            there, _ = pull_to_template(Subject(frame, other), places[j], grid)
            x, y, z = own.shape[1:]
            back = pull_to_subject(there, places[i], affine, (x, y, z)) > 0.5
            both = (back & (own > 0.5)).sum(axis=(1, 2, 3))
            sizes = back.sum(axis=(1, 2, 3)) + (own > 0.5).sum(axis=(1, 2, 3))
            scores.append(float((2.0 * both / sizes).mean()))
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("pattern", "kind", "labels", "least"),
    [
        ("public_heart/labels/*.nii.gz", "images", [1, 2, 3], 0.80),
        # Cortex, white matter, stem, skull; the second head is cut off at the neck.
        ("public_head_labels/head_0[13].nii.gz", "labels", [3, 2, 16, 514], 0.50),
    ],
)
def test_people_come_to_lie_on_one_another(real_data, pattern, kind, labels, least):
    group = people(real_data, pattern)
    numbers = {int(n) for person in group for n in np.unique(person.labels)}
    aligned = align(group, kind, unnamed(numbers))
    deformed = aligned.group.alignments
    affine = [replace(one, max_frequency=0.0, coefficients=np.zeros((3, 0))) for one in deformed]
    before, after = (carried(group, aligned, places, labels) for places in (affine, deformed))
    assert after > before + 0.05
    assert after > least
