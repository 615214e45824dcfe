"""SNOMED CT codes of structures, by the names that label schemes have for them.

The codes are those of pydicom's copy of DICOM's context groups (PS3.16); here is only which name
means which of them. A structure that is not listed gets a private code, never a guessed one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Designator of the private codes (PS3.16 chapter 8: "99" begins one).
PRIVATE: Final = "99MEDVAE"
_LONGEST: Final = 64
# Name without a side -> keyword of pydicom's table. A scheme's other spellings come by the public
# table of synonyms.
_KEYWORDS: Final = {
    "accumbens area": "NucleusAccumbens",
    "amygdala": "Amygdala",
    "aorta": "Aorta",
    "bladder": "Bladder",
    "brain": "Brain",
    "brain stem": "BrainStem",
    "caudate": "CaudateNucleus",
    "cerebellum": "Cerebellum",
    "duodenum": "Duodenum",
    "esophagus": "Esophagus",
    "gallbladder": "Gallbladder",
    "heart": "Heart",
    "hippocampus": "Hippocampus",
    "kidney": "Kidney",
    "lateral ventricle": "LateralVentricle",
    "left atrium": "LeftAtrium",
    "left ventricle": "LeftVentricle",
    "liver": "Liver",
    "lung": "Lung",
    "pallidum": "GlobusPallidus",
    "pancreas": "Pancreas",
    "prostate": "Prostate",
    "putamen": "Putamen",
    "right atrium": "RightAtrium",
    "right ventricle": "RightVentricle",
    "skull": "Skull",
    "spinal cord": "SpinalCord",
    "spleen": "Spleen",
    "stomach": "Stomach",
    "thalamus": "Thalamus",
    "trachea": "Trachea",
    "uterus": "Uterus",
}
_SIDE: Final = re.compile(r"^(left|right) (.+)$")


@dataclass(frozen=True)
class Code:
    """A coded concept: designator of its scheme, value, and meaning in words."""

    scheme: str
    value: str
    meaning: str


def coded(number: str, name: str) -> tuple[Code, Code | None]:
    """What a label is, and its side where the code of the structure does not say it.

    Args:
        number, name: in the label scheme.
    """
    from medvae.anatomy.synonyms import SYNONYMS

    plain = " ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())
    plain = SYNONYMS.get(plain, plain)
    if plain in _KEYWORDS:
        return _known(_KEYWORDS[plain]), None
    sided = _SIDE.match(plain)
    if sided is not None:
        bare = SYNONYMS.get(sided[2], sided[2])
        if bare in _KEYWORDS:
            return _known(_KEYWORDS[bare]), _known(sided[1].capitalize())
    return Code(PRIVATE, f"LABEL{number}", name[:_LONGEST].replace("\\", "/")), None


def _known(keyword: str) -> Code:
    from pydicom.sr.codedict import codes

    code = getattr(codes.SCT, keyword)
    return Code("SCT", str(code.value), str(code.meaning))
