"""The little of a source's description that may stay with a volume (META_KEYS), as bounded
numbers and fixed words. No text of the source passes through here.
"""

from __future__ import annotations

import math
import re
from typing import Any

# Key -> (lowest, highest, decimals); out of range is dropped. Times in ms, angles in
# degrees, thickness in mm, field in tesla, kvp in kilovolt.
NUMBERS: dict[str, tuple[float, float, int]] = {
    "slice_thickness": (0.01, 100.0, 2),
    "echo_time": (0.0, 2000.0, 1),
    "repetition_time": (0.0, 60000.0, 0),
    "inversion_time": (0.0, 20000.0, 0),
    "flip_angle": (0.0, 360.0, 0),
    "field_strength": (0.01, 25.0, 1),
    "kvp": (20.0, 300.0, 0),
}
SEXES = ("M", "F", "O")
# Whole words: the first letter of a word of another language may be that of the other sex.
SEX_WORDS = {
    "male": "M",
    "man": "M",
    "boy": "M",
    "female": "F",
    "woman": "F",
    "girl": "F",
    "other": "O",
}
OLDEST = 90
# How many there are in a year (PS3.5 6.2, AS).
AGE_UNITS = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
ABOVE = re.compile(r"\s*(?:>=?|≥)\s*(\d{2,3})\s*Y?\s*|\s*(\d{2,3})\s*Y?\s*[+]\s*")

KERNELS = ("soft", "sharp", "other")
SOFT = ("STANDARD", "SOFT", "SMOOTH", "BODY", "BRAIN")
SHARP = ("BONE", "LUNG", "EDGE", "DETAIL", "SHARP", "YA", "YB", "YC", "YD")
# Siemens (B31f, Br40d, H60s, Qr49) and Canon/Toshiba (FC52) number their kernels by sharpness.
SIEMENS = re.compile(r"^[A-Z][a-z]?(\d{2})")
CANON = re.compile(r"^FC(\d{2})")
SHARP_FROM = 50
PHILIPS = {"A": "soft", "B": "soft", "C": "soft", "D": "sharp", "E": "sharp", "L": "sharp"}


def number(key: str, value: Any) -> float | None:
    """The value of a numeric key, rounded; None where it is no number in its range."""
    low, high, decimals = NUMBERS[key]
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(parsed) or not low <= parsed <= high:
        return None
    return round(parsed, decimals)


def allowed(meta: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether every value is one that this module makes (and label, class and site as `expected`).

    The worker has read foreign bytes, so what it says is checked once more.
    """
    for key, value in meta.items():
        if key in NUMBERS:
            good = isinstance(value, float | int) and number(key, value) == value
        elif key == "convolution_kernel_class":
            good = value in KERNELS
        elif key == "age_group":
            good = (
                isinstance(value, str) and re.fullmatch(r"[0-8]?0-[0-8]?9|90\+", value) is not None
            )
        elif key == "sex":
            good = value in SEXES
        else:
            good = key in ("label", "class", "site") and key in expected and value == expected[key]
        if not good:
            return False
    return True


def kernel_class(text: str) -> str:
    """ "soft", "sharp" or "other" for a CT convolution kernel's name."""
    text = text.strip()
    if text in PHILIPS:
        return PHILIPS[text]
    numbered = CANON.match(text) or SIEMENS.match(text)
    if numbered:
        return "sharp" if int(numbered.group(1)) >= SHARP_FROM else "soft"
    upper = text.upper()
    if upper.startswith(SHARP):
        return "sharp"
    return "soft" if upper.startswith(SOFT) else "other"


def age_group(text: str) -> str | None:
    """A ten-year group ("40-49", from 90 on "90+") for "045Y", "45", "18M", "89+"; else None."""
    if above := ABOVE.fullmatch(text):
        # Data sets often have one value for all ages above 89.
        return f"{OLDEST}+" if int(above.group(1) or above.group(2)) >= OLDEST - 1 else None
    match = re.fullmatch(r"\s*(\d{1,5})(?:[.,]\d+)?\s*([YMWD]?)\s*", text)
    if not match or (len(match.group(1)) > 3 and match.group(2) in ("", "Y")):
        return None
    years = int(int(match.group(1)) / AGE_UNITS[match.group(2) or "Y"])
    if years >= OLDEST:
        return f"{OLDEST}+"
    return f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def sex(text: str) -> str | None:
    """M, F or O for a letter or an English word; None for anything else."""
    word = text.strip().lower()
    return word.upper() if word.upper() in SEXES else SEX_WORDS.get(word)


def demographics(age: str, sex_text: str) -> dict[str, str]:
    """`age_group` and `sex`, where they are clear."""
    groups = {"age_group": age_group(age), "sex": sex(sex_text)}
    return {key: value for key, value in groups.items() if value is not None}
