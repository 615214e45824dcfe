"""The privacy account of every patient of a tenant: durable, monotone, without refunds.

The journal beneath is append-only and sealed by its owner; this file decides what is written
into it and what the entries add up to. An entry charges a whole plan to a list of pseudonyms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from medvae.errors import AccessError, BudgetError, IntegrityError, UsageError
from medvae.privacy.accounting import (
    DEFAULT_DELTA,
    Mechanism,
    check_delta,
    epsilon,
    epsilon_of_events,
    events,
)
from medvae.privacy.plan import Plan, check_epsilon, mechanism_from_dict, mechanism_to_dict

# 1: each plan had a delta of its own. Such records are read and restated at the tenant's.
_VERSIONS = (1, 2)
_TRIES = 10


class AppendOnly(Protocol):
    """A journal: records are durable when `append` returns; entries come back in order."""

    def append(self, record: bytes, *, expected: int | None = None) -> int | None:
        """Add a record durably, in one transaction with the check that there are `expected`.

        Returns its number, or None, with nothing added, when there are more or fewer.
        """

    def confirm(self) -> None:
        """Make sure of every record that is there, after a crash while one was added too."""

    def entries(self) -> list[bytes]:
        """All records, oldest first; raises when the chain is broken."""


@dataclass(frozen=True)
class Spent:
    """Where the most exposed of some patients stands.

    Attributes:
        limit: the tenant's largest epsilon a patient.
        spent: the largest epsilon that any of the patients has been charged, at `delta`.
        remaining: limit - spent, never below 0. Epsilons do not add up: a plan of this epsilon
            usually fits with room to spare.
        events: number of ledger entries that touch these patients.
        delta: the tenant's, at which every figure is stated.
    """

    limit: float
    spent: float
    remaining: float
    events: int
    delta: float


@dataclass(frozen=True)
class _Entry:
    run: str
    plan: str
    dataset: str
    subjects: frozenset[str]
    mechanisms: tuple[Mechanism, ...]
    delta: float


class Ledger:
    """Accounts per patient over a journal.

    Formal guarantee: if every private step of a run follows a successful `debit` of its plan,
    then for every patient the composition of everything ever run on his or her data is
    (limit, delta)-DP; across data sets, versions, copies and re-imports, because the account
    is the pseudonym's and not the data set's.

    | case | what happens |
    |---|---|
    | the same run, plan, data set and subjects again | nothing: a resume is free |
    | the same run id with anything else | UsageError: it cannot be used to reset |
    | a crash before the record is durable | nothing was charged, nothing was run |
    | a crash after it | charged; the resumed run finds its entry |
    | another debit between the check and the record | checked again, with it |
    | a damaged or foreign record | IntegrityError: it is never skipped |
    """

    def __init__(self, journal: AppendOnly, limit: float, *, delta: float = DEFAULT_DELTA) -> None:
        """Args: the journal, the tenant's epsilon limit in (0, 50], and its delta.

        Raises:
            UsageError: the limit or the delta is out of range.
        """
        self._journal = journal
        self.limit = check_epsilon(limit, "the epsilon limit")
        self.delta = check_delta(delta)

    def debit(self, run_id: str, plan: Plan, subjects: Sequence[str], dataset: str) -> None:
        """Charge `plan` to every one of `subjects`, durably, or raise and charge nobody.

        Call it with the journal's writer lock held, and before the first private step.

        Args:
            run_id: the run's name; a second debit of the same run costs nothing.
            plan: the whole of what the run will do.
            subjects: pseudonyms; their number must be the plan's public number of patients.
            dataset: name and version, for the record.

        Raises:
            BudgetError: some patients would pass the limit.
            UsageError: no subjects, duplicates, a number other than the plan's, a delta other
                than the tenant's, or a run id that was used for something else.
            IntegrityError: the journal holds a record that cannot be read.
            AccessError: others keep writing to the journal.
        """
        entry = _new_entry(run_id, plan, subjects, dataset)
        for _ in range(_TRIES):
            entries = self._read()
            charged = next((old for old in entries if old.run == run_id), None)
            if charged is not None:
                _check_same(charged, entry)
                self._journal.confirm()
                return
            self._check_delta(entry)
            self._check_limit(entries, entry)
            if self._journal.append(_encode(entry, plan), expected=len(entries)) is not None:
                return
        raise AccessError(
            f"other processes kept writing to the privacy ledger; run {run_id!r} was not charged:"
            " try again when they are done"
        )

    def check(self, plan: Plan, subjects: Sequence[str]) -> None:
        """Raise what `debit` of a new run would raise, and charge nobody."""
        entry = _new_entry("(planned)", plan, subjects, "(planned)")
        self._check_delta(entry)
        self._check_limit(self._read(), entry)

    def spent(self, subjects: Sequence[str] | None = None) -> Spent:
        """The account of the most exposed of `subjects` (None: of all patients ever charged).

        Raises:
            IntegrityError: the journal holds a record that cannot be read.
        """
        patients = None if subjects is None else frozenset(subjects)
        entries = self._read()
        histories = _histories(entries, patients)
        worst = max((self._cost(entries, history) for history in histories), default=0.0)
        touched = {index for history in histories for index in history}
        return Spent(self.limit, worst, max(self.limit - worst, 0.0), len(touched), self.delta)

    def most(self) -> Spent:
        """What no patient has lost more than, whoever took part in what.

        All debits composed, as if one patient were charged with each: a figure of the plans alone,
        so that a release may state it. What the most exposed patient lost (`spent`) says who is in
        several data sets. Never above the limit, which every debit at this delta was held against.

        Raises:
            IntegrityError: the journal holds a record that cannot be read.
        """
        entries = self._read()
        cost = self._cost(entries, tuple(range(len(entries))))
        if all(entry.delta == self.delta for entry in entries):
            cost = min(cost, self.limit)
        left = max(self.limit - cost, 0.0)
        return Spent(self.limit, cost, left, len(entries), self.delta)

    def holds(self, run_id: str, plan: Plan) -> bool:
        """Whether exactly this plan was debited for this run."""
        digest = plan.digest().hex()
        return any(entry.run == run_id and entry.plan == digest for entry in self._read())

    def subjects(self) -> frozenset[str]:
        """Pseudonyms of all patients ever charged."""
        return frozenset(subject for entry in self._read() for subject in entry.subjects)

    def history(self, subjects: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The debits that touch any of `subjects` (None: all), oldest first, as JSON values."""
        patients = None if subjects is None else frozenset(subjects)
        return [
            {
                "run": entry.run,
                "dataset": entry.dataset,
                "patients": len(entry.subjects),
                "mechanisms": len(entry.mechanisms),
                "epsilon": epsilon(entry.mechanisms, self.delta),
                "delta": self.delta,
            }
            for entry in self._read()
            if patients is None or patients & entry.subjects
        ]

    def _cost(self, entries: Sequence[_Entry], history: tuple[int, ...]) -> float:
        merged = events(mechanism for index in history for mechanism in entries[index].mechanisms)
        return epsilon_of_events(merged, self.delta)

    def _check_delta(self, entry: _Entry) -> None:
        if entry.delta != self.delta:
            raise UsageError(
                f"the plan is made for delta {entry.delta:g} and the tenant's accounts are kept at"
                f" {self.delta:g}; make the plan at the tenant's delta"
            )

    def _check_limit(self, entries: list[_Entry], entry: _Entry) -> None:
        after = [*entries, entry]
        over, worst = 0, 0.0
        for history, count in _histories(after, entry.subjects).items():
            cost = self._cost(after, history)
            worst = max(worst, cost)
            over += count if cost > self.limit else 0
        if over:
            raise BudgetError(
                f"run {entry.run!r} would take {over} of {len(entry.subjects)} patients to epsilon"
                f" {worst:.3f}, past the limit of {self.limit:g}; lower --epsilon, or leave those"
                " patients out"
            )

    def _read(self) -> list[_Entry]:
        entries = [_decode(record) for record in self._journal.entries()]
        runs = [entry.run for entry in entries]
        if len(set(runs)) != len(runs):
            raise IntegrityError("the privacy ledger holds two entries of one run; restore it")
        return entries


def _histories(
    entries: Sequence[_Entry], selected: frozenset[str] | None
) -> dict[tuple[int, ...], int]:
    """Distinct histories (indices of entries) and how many patients share each."""
    of_patient: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        patients = entry.subjects if selected is None else entry.subjects & selected
        for subject in patients:
            of_patient.setdefault(subject, []).append(index)
    counts: dict[tuple[int, ...], int] = {}
    for indices in of_patient.values():
        key = tuple(indices)
        counts[key] = counts.get(key, 0) + 1
    return counts


def _check_same(charged: _Entry, entry: _Entry) -> None:
    if charged != entry:
        raise UsageError(
            f"run {entry.run!r} was charged with another plan, data set or patients, and there is"
            " no refund; resume it with the configuration and the data set that it was begun with"
        )


def _new_entry(run_id: str, plan: Plan, subjects: Sequence[str], dataset: str) -> _Entry:
    if not isinstance(run_id, str) or not run_id:
        raise UsageError("a debit needs the run's name")
    if not isinstance(dataset, str) or not dataset:
        raise UsageError("a debit needs the data set's name and version")
    unique = frozenset(subjects)
    if (
        not unique
        or len(unique) != len(subjects)
        or not all(_is_name(subject) for subject in unique)
    ):
        raise UsageError("a debit needs the patients' pseudonyms, each of them once")
    if len(unique) != plan.patients:
        raise UsageError(
            f"the plan was made for {plan.patients} patients and the data set {dataset} has"
            f" {len(unique)}; make the plan again"
        )
    if not plan.mechanisms:
        raise UsageError("a plan without mechanisms cannot be charged; make it with make_plan")
    return _Entry(run_id, plan.digest().hex(), dataset, unique, plan.mechanisms, plan.delta)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _encode(entry: _Entry, plan: Plan) -> bytes:
    document = {
        "version": _VERSIONS[-1],
        "run": entry.run,
        "plan": entry.plan,
        "dataset": entry.dataset,
        "subjects": sorted(entry.subjects),
        "mechanisms": [mechanism_to_dict(mechanism) for mechanism in entry.mechanisms],
        "delta": entry.delta,
        "epsilon": plan.epsilon,
    }
    return json.dumps(document, sort_keys=True, allow_nan=False).encode()


def _decode(record: bytes) -> _Entry:
    try:
        raw: dict[str, Any] = json.loads(record)
        if raw["version"] not in _VERSIONS:
            raise ValueError(f"version {raw['version']!r}")
        subjects, texts = raw["subjects"], (raw["run"], raw["plan"], raw["dataset"])
        if not subjects or len(set(subjects)) != len(subjects):
            raise ValueError("subjects")
        if not all(_is_name(name) for name in (*subjects, *texts)):
            raise ValueError("names")
        mechanisms = tuple(mechanism_from_dict(mechanism) for mechanism in raw["mechanisms"])
        if not mechanisms:
            raise ValueError("no mechanisms")
        return _Entry(*texts, frozenset(subjects), mechanisms, check_delta(raw["delta"]))
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise IntegrityError(
            f"the privacy ledger holds a record that cannot be read ({error}); restore the tenant"
            " from a copy whose log verifies"
        ) from error
