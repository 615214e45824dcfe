"""Registration of a template to one subject, in millimetres.

A point x of the subject (scanner millimetres, RAS+) goes to y = q + u(q) in the template's frame,
with q = A x. A is affine (12 numbers); u is a sum of cosines on a box that is fixed in
millimetres and has no affine part. `register` finds both by matrix-free Gauss-Newton steps.

The same code runs on CPU and GPU. On one kind of device the result is the same bit for bit,
whatever the number of threads.
"""

from medvae.anatomy.registration.cosines import CosineBasis
from medvae.anatomy.registration.distances import signed_distances
from medvae.anatomy.registration.fit import Alignment, Settings, register
from medvae.anatomy.registration.geometry import Box, BoxGrid
from medvae.anatomy.registration.mapping import pull_to_subject, pull_to_template
from medvae.anatomy.registration.subject import Subject
from medvae.anatomy.registration.template import Appearance, Template

__all__ = [
    "Alignment",
    "Appearance",
    "Box",
    "BoxGrid",
    "CosineBasis",
    "Settings",
    "Subject",
    "Template",
    "pull_to_subject",
    "pull_to_template",
    "register",
    "signed_distances",
]
