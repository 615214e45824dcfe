"""Grey values of tissues from textbooks, by words in the names of structures.

MRI: signal of a T1-weighted gradient echo relative to white matter, as its physics orders tissues
(T1 at 3 T: Stanisz et al. 2005; fat and marrow: de Bazelaire et al. 2004): fat, then white matter,
grey matter, muscle, fluid, and cortical bone and air without signal; marrow between trabeculae has
half of the signal of fat, arteries are bright by inflow. CT: Hounsfield units of the
usual tables (Hofer 2007). What no word names is in the middle, and may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from medvae.anatomy.registration.geometry import Array

AIR: Final = "air"
# How much people and protocols differ: a known tissue, one without a known name, air. Fat, marrow
# and blood depend on the sequence (suppression of fat, inflow), and are as good as unknown.
KNOWN_STD, UNKNOWN_STD, AIR_STD = 0.15, 0.3, 0.01
_UNSURE: Final = re.compile(
    r"marrow|cancellous|spong|skin|scalp|fat|adipose|soft (\w+ )?tissue|mucosa|vein|artery|vessel"
    r"|muscle|rectus|optic|nerve"
)
# White matter on the scale of [-1, 1] of an MRI whose brightest part, 1, is fat.
_WHITE_MATTER: Final = 2.0 / 1.4 - 1.0

# The first pattern that occurs decides. (pattern, T1 relative to white matter, HU)
_TABLE: Final[tuple[tuple[re.Pattern[str], float, float], ...]] = tuple(
    (re.compile(pattern), signal, hounsfield)
    for pattern, signal, hounsfield in (
        (r"^air$", 0.0, -1000.0),
        (r"sinus|airway|trachea|bronch", 0.05, -900.0),
        (r"lung", 0.1, -800.0),
        (r"marrow|cancellous|spong", 0.6, 250.0),
        (r"bone|skull|rib|vertebra|femur|hip\b|sacrum|clavicula|scapula", 0.2, 700.0),
        (r"choroid plexus", 0.5, 35.0),
        (r"optic|chiasm|nerve", 0.75, 30.0),
        (r"ventric|\bvent\b|csf|fluid|cistern|\bcyst", 0.25, 8.0),
        (r"white matter|\bwm\b|callosum|fornix|capsule", 1.0, 28.0),
        (r"brain.?stem|pons|medulla|midbrain|spinal|\bcord\b|ventral ?dc", 0.9, 30.0),
        (r"pallidum|thalam", 0.85, 34.0),
        (r"lesion", 0.8, 25.0),
        (r"cerebell", 0.7, 36.0),
        (
            r"cortex|gr[ae]y matter|\bgm\b|hippoc|amygd|caudate|putamen|accumb|gyrus|insula|basal",
            0.7,
            37.0,
        ),
        (r"eye|vitreous|globe", 0.25, 15.0),
        (r"skin|scalp", 0.6, 20.0),
        (r"fat|adipose", 1.4, -90.0),
        (r"soft (\w+ )?tissue", 0.9, 20.0),
        (r"muscle|rectus|myocard|heart", 0.55, 55.0),
        (r"mucosa", 0.6, 40.0),
        (r"artery", 1.1, 45.0),
        (r"vein|vessel|aorta|cava|blood|ventricle|atrium", 0.6, 45.0),
        (r"liver|spleen|kidney|pancreas|stomach|bowel|colon|bladder|gland", 0.7, 45.0),
    )
)


def words(name: str) -> str:
    """A structure's name in lower case: atlases write Left-Cerebral-White-Matter."""
    return re.sub(r"[-_]+", " ", name.lower())


def of_white(name: str) -> float:
    """Signal of a structure in a T1-weighted MRI, relative to white matter."""
    in_middle = 1.0 / (_WHITE_MATTER + 1.0)
    return next((found for pattern, found, _ in _TABLE if pattern.search(words(name))), in_middle)


def is_unsure(name: str) -> bool:
    """Whether the signal of a structure depends on fat, flow or partial voxels."""
    return bool(_UNSURE.search(words(name)))


def textbook(
    names: Sequence[str], window: tuple[float, float] | None = None
) -> tuple[Array, Array]:
    """[K] mean and [K] standard deviation of structures on the scale of [-1, 1].

    window: of a CT, in Hounsfield units; None: a T1-weighted MRI.
    """
    means, stds = np.zeros(len(names)), np.full(len(names), UNKNOWN_STD)
    for at, name in enumerate(names):
        for pattern, signal, hounsfield in _TABLE:
            if pattern.search(words(name)):
                if window is None:
                    means[at] = (_WHITE_MATTER + 1.0) * signal - 1.0
                else:
                    low, high = window
                    means[at] = 2.0 * (hounsfield - low) / (high - low) - 1.0
                if not is_unsure(name):
                    stds[at] = AIR_STD if name == AIR else KNOWN_STD
                break
    return np.clip(means, -1.0, 1.0), stds
