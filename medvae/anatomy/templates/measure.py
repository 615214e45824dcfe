"""What one patient's volume shows of the mean maps, on the way to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medvae.anatomy.organs import distance_subject
from medvae.anatomy.registration import Alignment, Settings, Subject, pull_to_template, register
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates.maps import Templates

Maps = npt.NDArray[np.float32]


def centred(scan: Scan, templates: Templates) -> Maps:
    """[L, X, Y, Z] distances around the middle of the patient's own mask.

    Raises:
        ValueError: no voxel is labelled.
    """
    subject = distance_subject(scan, templates.labels, templates.template)
    inside = np.argwhere((subject.channels < 0).any(axis=0))
    if not len(inside):
        raise ValueError("no voxel is labelled")
    affine = np.eye(4)
    affine[:3, 3] = -(subject.affine[:3, :3] @ inside.mean(axis=0) + subject.affine[:3, 3])
    return _pulled(subject, affine, templates)


def registered(scan: Scan, templates: Templates) -> Maps:
    """[L + 1, X, Y, Z] distances and picture, registered to the templates by a similarity.

    A coarse template is long where fields of view cut organs off: stretched to it, patients would
    make the next one longer.

    Raises:
        ValueError: no voxel is labelled.
    """
    template = templates.template
    subject = distance_subject(scan, templates.labels, template)
    if not (subject.channels < 0).any():
        raise ValueError("no voxel is labelled")
    found = register(subject, template, Settings(max_frequency=0.0))
    picture = Subject(scan.affine, scan.image[None])
    affine = similarity(found.affine, subject.centre)
    return np.concatenate([_pulled(one, affine, templates) for one in (subject, picture)])


def similarity(affine: Array, fixed: Array) -> Array:
    """[4, 4] rotation, one scale and shift nearest to an affine map; `fixed` [3] goes where it did.

    The scale is the middle one of the three.
    """
    left, sizes, right = np.linalg.svd(affine[:3, :3])
    found = np.eye(4)
    found[:3, :3] = sizes[1] * (left @ right)
    found[:3, 3] = affine[:3, :3] @ fixed + affine[:3, 3] - found[:3, :3] @ fixed
    return found


def _pulled(subject: Subject, affine: Array, templates: Templates) -> Maps:
    """Channels in the box; beside the field of view their border repeats."""
    pose = Alignment(templates.box, 0.0, affine, np.zeros((3, 0)), 0.0, 1.0)
    values, _ = pull_to_template(subject, pose, templates.fine.grid)
    return values
