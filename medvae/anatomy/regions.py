"""Registration of a whole region by shares of its labels: entries of label maps."""

from __future__ import annotations

import numpy as np
import torch

from medvae.anatomy.drawing.classes import ClassRenderer
from medvae.anatomy.registration import Appearance, Subject, Template, sampling
from medvae.anatomy.registration.subject import class_shares
from medvae.anatomy.scan import Scan

# Standard deviation of a patient's share from the mean one in its place.
SHARE_STD = 0.3
# Finer voxels than this part of the template's edge are not needed to place a region.
FINEST = 1.0 / 112.0


def class_template(renderer: ClassRenderer) -> Template:
    """What a cohort's patients are registered to: its labels' mean shares, and all tissues.

    Channel l is the mean share, over the aligned public people, of what cohort label l + 1 stands
    for; the appearance renders an image from every tissue.
    """
    channels = np.tensordot(renderer.components.to_cohort()[1:], renderer.shares, axes=1)
    return Template(
        renderer.group.template.box,
        np.asarray(channels, np.float32),
        "shares",
        np.full(len(channels), SHARE_STD),
        Appearance(renderer.class_shares, renderer.tissue_means),
    )


def class_subject(scan: Scan, count: int, template: Template) -> Subject:
    """A patient's shares of each label, and the image, in voxels that are fine enough.

    count: how many labels the cohort has. Without a mask, or labels, the image alone is compared.
    """
    finest = template.box.edge * FINEST
    factors = sampling.factors_for(scan.affine, scan.image.shape, finest)
    image = sampling.thin(torch.from_numpy(scan.image)[None], factors)[0].numpy()
    affine = sampling.thinned_affine(scan.affine, factors)
    if scan.mask is None or not count:
        # NaN would make every voxel unknown: nothing is labelled, and channels show nothing.
        return Subject(affine, np.zeros((count, *image.shape), np.float32), image)
    index = {number: number - 1 for number in range(1, count + 1)}
    shares, affine = class_shares(scan.mask, scan.affine, index, count, finest)
    return Subject(affine, shares, image)
