"""The gate: what must hold before a synthetic volume may leave.

Two halves. `check_privacy` asks what protects the patients, before anything is generated.
`VoxelGate` looks at every volume as it passes, in memory that does not grow with a volume's
number but for 16 bytes of digest each.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.config import DataConfig
from medvae.errors import BudgetError, InputError, UsageError
from medvae.grid import public_limits
from medvae.release.facts import Check, GateInputs, PrivacyFacts, ReleaseFacts
from medvae.volume import Volume

# Two accountants round differently; a claim may be this much below what is recomputed.
_ROUNDING = 1e-3


def check_declared(facts: ReleaseFacts) -> None:
    """Whether a person declared what the card states of the study: unit, labels, classes.

    Raises:
        UsageError: something was never declared, so that it could only have been measured.
    """
    if facts.privacy.training == "public":
        return
    missing = [
        name
        for name, declared in (
            ("who is a patient (privacy.unit)", facts.privacy.unit is not None),
            ("the label scheme (data.label_scheme)", facts.data.label_scheme is not None),
            ("the number of labels (data.labels)", facts.data.labels >= 0),
            ("the number of classes (data.classes)", facts.data.classes >= 0),
        )
        if not declared
    ]
    if missing:
        raise UsageError(
            f"the model's data set never declared {' nor '.join(missing)}: declare it (medvae "
            "dataset declare), train again, and release that model"
        )


def check_privacy(privacy: PrivacyFacts, gate: GateInputs) -> list[Check]:
    """Whether a model with these facts may be released at all.

    Raises:
        BudgetError: trained on patients without differential privacy, or with an epsilon
            that is not finite, not planned, not debited or above a limit.
    """
    if privacy.training == "public":
        return [Check("privacy", True, "the model was made from public and procedural data only")]
    if privacy.training == "unprotected":
        raise BudgetError(
            "this model was trained on patients without differential privacy and can never be "
            "released; train one with a finite epsilon (medvae train --epsilon)"
        )
    epsilon, delta = _guarantee(privacy)
    planned = _within_limits(privacy, epsilon, gate.epsilon_limit)
    cost = _recomputed(privacy, delta)
    if not cost <= epsilon * (1 + _ROUNDING):
        raise BudgetError(
            f"the model claims epsilon {epsilon:g}, but its mechanisms compose to {cost:g}; "
            "it cannot be released"
        )
    if privacy.debited is not True or privacy.account is None:
        raise BudgetError(
            "the ledger holds no debit for this model's plan; it cannot be released, because "
            "nothing says that its patients' budgets were charged"
        )
    if privacy.looks is None:
        raise BudgetError(
            "nobody counted how often figures on these patients were looked at; release the model "
            "with medvae release create, which counts them in the audit log"
        )
    return [
        Check(
            "privacy", True, f"({epsilon:g}, {delta:g})-differential privacy of one {privacy.unit}"
        ),
        Check("accounting", True, f"epsilon {cost:.4g} recomputed from the mechanisms"),
        Check("plan", True, f"within its target, {planned:g}"),
        Check("ledger", True, _charged(privacy)),
    ]


def _charged(privacy: PrivacyFacts) -> str:
    """Who says that the patients' budgets were charged."""
    if privacy.hospitals:
        return (
            f"{len(privacy.hospitals)} hospitals state over their signatures that their patients' "
            "budgets were charged beforehand; their ledgers were not seen here"
        )
    return "the patients' budgets were charged beforehand"


def _within_limits(privacy: PrivacyFacts, epsilon: float, asked: float | None) -> float:
    """The plan's target, once epsilon is seen to be within it and all other limits.

    asked: the limit that the release was asked to keep to; None: none.
    """
    planned = privacy.planned_epsilon
    if planned is None or privacy.tenant_limit is None:
        raise BudgetError(
            "nobody says what epsilon the model's plan was made for, or what limit its tenant has, "
            "so that nothing shows that it kept to them; release it with medvae release create"
        )
    limits = {
        "the plan's target": planned,
        "the tenant's limit": privacy.tenant_limit,
        "the limit asked for": asked,
    }
    for name, limit in limits.items():
        if limit is not None and not epsilon <= limit * (1 + _ROUNDING):
            raise BudgetError(f"the model's epsilon {epsilon:g} is above {name}, {limit:g}")
    return planned


def _recomputed(privacy: PrivacyFacts, delta: float) -> float:
    """Epsilon of the mechanisms by this program's own accountant, whatever the model says."""
    from medvae.privacy import Mechanism, epsilon

    try:
        mechanisms = [Mechanism(**mechanism) for mechanism in privacy.mechanisms]
        return epsilon(mechanisms, delta)
    except (TypeError, UsageError) as error:
        raise BudgetError(f"the model's mechanisms cannot be accounted for: {error}") from error


def _guarantee(privacy: PrivacyFacts) -> tuple[float, float]:
    epsilon, delta = privacy.epsilon, privacy.delta
    if epsilon is None or not math.isfinite(epsilon) or epsilon <= 0:
        raise BudgetError(
            f"a release needs a model with a finite epsilon above 0, and this one says {epsilon}"
        )
    if delta is None or not 0 < delta < 1:
        raise BudgetError(f"a release needs a delta between 0 and 1, and this model says {delta}")
    if not privacy.patients or not privacy.mechanisms:
        raise BudgetError("the model does not say how many patients and which mechanisms it had")
    return epsilon, delta


@dataclass
class VoxelGate:
    """Looks at volumes one by one; `close` gives the checks.

    Attributes:
        expected, expected_public: how many synthetic and public ones must come; None: one or more.
        count, public: how many came.
        masks: label maps of both.

    Raises (from `look` and `close`):
        InputError: a volume is not finite, constant, out of the public range, on another
            grid, a copy of an earlier one, or the number is wrong. The release stops there.
    """

    data: DataConfig
    expected: int | None = None
    expected_public: int = 0
    count: int = 0
    public: int = 0
    masks: int = 0
    _seen: dict[bytes, str] = field(default_factory=dict)

    def look(self, volume: Volume, *, public: bool = False) -> None:
        """Refuse what must not go out; volumes are counted from 1 in messages."""
        self.public += public
        self.count += not public
        where = f"public image {self.public}" if public else f"synthetic volume {self.count}"
        source = "the anatomy entry" if public else "the model"
        self._geometry(volume, where)
        if not public:
            # Of public people no class is known.
            self._class(volume, where)
            self._site(volume, where)
        values = volume.voxels
        if not np.isfinite(values).all():
            raise InputError(f"{where} holds voxels that are not finite; {source} is not usable")
        least, most = float(values.min()), float(values.max())
        if least == most:
            raise InputError(f"{where} is constant ({least:g}); {source} is not usable")
        for values, own in self._by_range(volume):
            self._within(values, own, where, source)
        self._distinct(volume, where)
        self._labels(volume, where)

    def _by_range(self, volume: Volume) -> list[tuple[npt.NDArray[Any], DataConfig]]:
        """The parts of a volume that have public limits of their own: all of it, or channels."""
        if not self.data.modalities:
            return [(volume.voxels, self.data)]
        return list(zip(volume.voxels, self.data.of_channels, strict=True))

    def _within(self, values: npt.NDArray[Any], data: DataConfig, where: str, source: str) -> None:
        (low, high), modality = public_limits(data), modalities.get(data.modality)
        least, most = float(values.min()), float(values.max())
        # Intensities were rounded to steps, at the limits by at most half of one.
        slack = 0.51 * modality.step
        if least < low - slack or most > high + slack:
            part = f"the {modality.title} of " if self.data.modalities else ""
            raise InputError(
                f"{part}{where} runs from {least:g} to {most:g}, outside the public range "
                f"{low:g} to {high:g}; {source} is not usable"
            )

    @property
    def range(self) -> tuple[float, float]:
        """Public limits of the voxels, in their modality's units; of channels of the first."""
        return self.ranges[0]

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Public limits of each channel, in its own modality's units."""
        return tuple(public_limits(own) for own in self.data.of_channels)

    def close(self) -> list[Check]:
        """The checks, once all volumes have passed."""
        if self.count == 0:
            raise InputError("the model gave no volume; there is nothing to release")
        if self.expected is not None and self.count != self.expected:
            raise InputError(f"{self.expected} volumes were asked for and {self.count} came")
        if self.public != self.expected_public:
            raise InputError(f"{self.expected_public} public images must come, not {self.public}")
        distinct = dict.fromkeys(self.ranges)
        within = " and ".join(f"{low:g} to {high:g}" for low, high in distinct)
        checks = [
            Check("number", True, f"{self.count} volumes, as asked for"),
            Check("voxels", True, f"finite, not constant, within {within}"),
            Check("distinct", True, "no two volumes are identical"),
            Check("geometry", True, "every volume is on the public grid"),
        ]
        if self.public:
            checks.append(Check("public", True, f"{self.public} images of public people"))
        if self.masks:
            checks.append(Check("masks", True, f"{self.masks} label maps, labels as declared"))
        return checks

    def _geometry(self, volume: Volume, where: str) -> None:
        own, expected = (of.modalities or (of.modality,) for of in (volume, self.data))
        if own != expected:
            raise InputError(f"{where} is {', '.join(own)}, not {', '.join(expected)}")
        if volume.channels != self.data.channels:
            raise InputError(
                f"{where} has the channels {volume.channels}, not {self.data.channels}"
            )
        if volume.shape != self.data.size:
            raise InputError(f"{where} is {volume.shape}, not on the public grid {self.data.size}")
        if self.data.spacing is not None and not np.allclose(
            volume.spacing, self.data.spacing, rtol=1e-3
        ):
            raise InputError(f"{where} has voxels of {volume.spacing} mm, not {self.data.spacing}")
        header = set(volume.meta) - {"class", "site"}
        if header:
            # A header value can only have come from a patient: synthetic ones have none.
            raise InputError(f"{where} carries header facts {sorted(header)}; none may leave")

    def _class(self, volume: Volume, where: str) -> None:
        """The class is what the volume was drawn as, in a model that has classes."""
        if (volume.category is not None) != (self.data.classes > 0):
            raise InputError(
                f"{where} is of class {volume.category}, and the model has "
                f"{max(self.data.classes, 0)} classes"
            )
        if volume.category is not None and not 0 <= volume.category < self.data.classes:
            raise InputError(
                f"{where} is of class {volume.category}, but {self.data.classes} are declared"
            )

    def _site(self, volume: Volume, where: str) -> None:
        """The site is one of those declared, in a model that has sites."""
        sites = self.data.sites or ()
        if volume.site not in (sites or (None,)):
            raise InputError(
                f"{where} is of the site {volume.site}, and the model has "
                f"{', '.join(sites) or 'none'}"
            )

    def _distinct(self, volume: Volume, where: str) -> None:
        digest = hashlib.sha256(np.ascontiguousarray(volume.voxels).data).digest()[:16]
        first = self._seen.setdefault(digest, where)
        if first != where:
            # A model that draws an image itself has collapsed, and an entry that holds one twice
            # does not have as many people as it says.
            raise InputError(f"{where} is identical to {first}; neither is of use in a release")

    def _labels(self, volume: Volume, where: str) -> None:
        before = self.count + self.public - 1
        if self.masks != (before if volume.mask is not None else 0):
            raise InputError(f"{where}: either all volumes have a mask or none")
        if volume.mask is None:
            return
        self.masks += 1
        undeclared = set(np.unique(volume.mask).tolist()) - {0, *self.data.label_numbers}
        if undeclared:
            raise InputError(f"{where} has label {max(undeclared)}, which is not declared")
