"""What draws the picture of one public person in a new pose, and what it measures of patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing.pose import OutputGrid, Pose
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration import Alignment
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.related import Related
from medvae.anatomy.scan import Scan


class Renderer(Protocol):
    """How an entry's people look. One implementation for each kind of entry.

    The numbers that describe a patient's picture ("figures") are measured here and drawn from
    here, so that both sides mean the same. A figure is compared between people in units of
    `public_std`, around `public_mean`: the anatomy model releases the patients' mean deviation
    from the public mean, and the deviations' variance, under differential privacy.
    """

    @property
    def names(self) -> Sequence[str]:
        """[F] what each figure is, for people."""

    @property
    def public_mean(self) -> Array:
        """[F] figures of public people, or of a textbook."""

    @property
    def public_std(self) -> Array:
        """[F] how much they differ between people; positive."""

    @property
    def public_within(self) -> Array:
        """[F] how much people of one cohort differ; at most `public_std`, which is also what a
        cohort's mean may differ by from a textbook."""

    @property
    def public_correlation(self) -> Array:
        """[F, F] correlation between people; the identity where nothing is known of it."""

    @property
    def greys_apart(self) -> int:
        """How many figures, from the first on, are grey values that are released apart; 0: none."""

    def correlation_of(self, numbers: Numbers) -> Array:
        """[F, F] of the figures of people of a cohort of which these numbers were released."""

    @property
    def related(self) -> Related | None:
        """How the figures of cohorts' means go together; None where nothing is known of it."""

    def of_given_labels(self, figures: Array) -> Array:
        """[F] figures for a picture of labels that are given, whatever size they have."""

    def greys(self, figures: Array) -> Array:
        """[L] mean grey value of each cohort label in a picture of figures [F].

        Of several channels [C, L].
        """

    def measure(self, scan: Scan, alignment: Alignment) -> Array:
        """[F] figures of one patient from his or her own scan, registered to the template.

        NaN where the scan does not show it (no mask, or a structure beside the field of view).
        Depends on this scan and on public or released things alone. Raises nothing that
        depends on the voxels.
        """

    def draw(
        self,
        person: int,
        pose: Pose,
        grid: OutputGrid,
        figures: Array,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Public person `person` in a new pose, looking as `figures` [F] say.

        Returns:
            [X, Y, Z] image in [-1, 1], of several channels [C, X, Y, Z], and [X, Y, Z] labels 1..L
            of the cohort's scheme, on `grid`. The memory needed is a few times that of the
            result, whatever its size.
        """
