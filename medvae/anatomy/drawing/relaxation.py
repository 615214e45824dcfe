"""How fast the magnetisation of tissues relaxes, by words in the names of structures.

Published figures, in ms at 1.5 and 3 T: white and grey matter, muscle, optic nerve, cord and blood
(Stanisz et al. 2005), white and grey matter of the living, which relax faster (Wansapura et al.
1999; between the two), deep grey matter (Gelman et al. 2001), fat, marrow and abdominal organs
(de Bazelaire et al. 2004). Proton densities are relative to water.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing.tissues import words
from medvae.anatomy.registration.geometry import Array


@dataclass(frozen=True)
class Relaxation:
    """Attributes:
    t1_low, t1_high: longitudinal, ms at 1.5 and 3 T.
    t2: transverse, ms.
    density: of protons, relative to water.
    fat: where the sequence suppresses fat, this has no signal.
    fluid: of spaces so narrow that a voxel shows their walls, too.
    flows: what has left the slice by the echo gives no signal.
    """

    t1_low: float
    t1_high: float
    t2: float
    density: float
    fat: bool = False
    fluid: bool = False
    flows: bool = False

    def t1(self, is_high: npt.NDArray[np.bool_]) -> Array:
        """[N] ms of scanners of 3 T (`is_high` [N]) or of 1.5 T."""
        return np.where(is_high, self.t1_high, self.t1_low)


WHITE: Final = Relaxation(720.0, 940.0, 74.0, 0.70)
GREY: Final = Relaxation(1050.0, 1500.0, 97.0, 0.82)
MUSCLE: Final = Relaxation(950.0, 1350.0, 40.0, 0.80)
# Trains of refocusing pulses leave fat brighter than its own T2 (about 60 ms) does.
FAT: Final = Relaxation(320.0, 380.0, 85.0, 0.95, fat=True)
FLUID: Final = Relaxation(4000.0, 4100.0, 1500.0, 1.0, fluid=True)
_NERVE: Final = Relaxation(815.0, 1083.0, 78.0, 0.75)
_STEM: Final = Relaxation(740.0, 980.0, 76.0, 0.73)

# The first pattern that occurs decides, as in `tissues`; what is not here has no figure.
_TABLE: Final[tuple[tuple[re.Pattern[str], Relaxation], ...]] = tuple(
    (re.compile(pattern), relaxation)
    for pattern, relaxation in (
        # Half fat, between trabeculae without signal.
        (r"marrow|cancellous|spong", Relaxation(450.0, 480.0, 50.0, 0.45, fat=True)),
        (r"choroid plexus", Relaxation(1500.0, 2200.0, 150.0, 0.90)),
        (r"optic|chiasm|nerve", _NERVE),
        (r"ventric|\bvent\b|csf|fluid|cistern|\bcyst", FLUID),
        (r"white matter|\bwm\b|callosum|fornix|capsule", WHITE),
        (r"brain.?stem|pons|medulla|midbrain|spinal|\bcord\b|ventral ?dc", _STEM),
        (r"pallidum", Relaxation(800.0, 1040.0, 60.0, 0.73)),
        (r"thalam", Relaxation(880.0, 1220.0, 80.0, 0.78)),
        (r"putamen", Relaxation(940.0, 1340.0, 75.0, 0.80)),
        (r"caudate|accumb|basal", Relaxation(1000.0, 1480.0, 80.0, 0.81)),
        (r"lesion", Relaxation(1000.0, 1300.0, 130.0, 0.85)),
        (r"cerebell|cortex|gr[ae]y matter|\bgm\b|hippoc|amygd|gyrus|insula", GREY),
        (r"eye|vitreous|globe", FLUID),
        # Thin, so that a voxel holds air, too; mucosa likewise.
        (r"skin|scalp", Relaxation(650.0, 800.0, 40.0, 0.50)),
        (r"fat|adipose", FAT),
        (r"muscle|rectus|myocard|heart", MUSCLE),
        (r"mucosa", Relaxation(900.0, 1200.0, 60.0, 0.55)),
        (
            r"vein|vessel|aorta|cava|blood|atrium",
            Relaxation(1440.0, 1930.0, 150.0, 0.85, flows=True),
        ),
        (r"liver|pancreas|stomach|bowel|colon", Relaxation(580.0, 800.0, 45.0, 0.75)),
        (r"bladder", Relaxation(3000.0, 3000.0, 800.0, 1.0)),
        (r"spleen|kidney|gland", Relaxation(1000.0, 1250.0, 75.0, 0.80)),
    )
)


def relaxation(name: str) -> Relaxation | None:
    """Of a structure; None where no figure is known of its name."""
    return next((known for pattern, known in _TABLE if pattern.search(words(name))), None)
