"""The ledger: durable, idempotent, without refunds, per patient across everything."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from medvae.errors import AccessError, BudgetError, IntegrityError, MedvaeError, UsageError
from medvae.privacy import Ledger, Mechanism, Plan, epsilon

DELTA = 1e-5


class Memory:
    """A journal in memory that can lose power before or after a record is durable."""

    def __init__(self, records: list[bytes] | None = None, anchor: int = 0) -> None:
        self.records = list(records or [])
        self.crash: str | None = None
        self.confirmed = 0
        self.meanwhile: list[bytes] = []  # what others append just before us
        self.anchor = anchor  # records that a head anchored outside vouches for

    def append(self, record: bytes, *, expected: int | None = None) -> int | None:
        if self.meanwhile:
            self.records.append(self.meanwhile.pop())
        if self.crash == "before":
            raise OSError("power lost")
        if expected not in (None, len(self.records)):
            return None
        self.records.append(bytes(record))
        if self.crash == "after":
            raise OSError("power lost")
        self.confirm()
        return len(self.records) - 1

    def confirm(self) -> None:
        self.confirmed = len(self.records)

    def entries(self) -> list[bytes]:
        if len(self.records) < self.anchor:
            raise IntegrityError("the journal is older than its anchor")
        return list(self.records)


def plan_of(patients: int, *mechanisms: Mechanism, delta: float = DELTA) -> Plan:
    return Plan(epsilon(mechanisms, delta), delta, patients, tuple(mechanisms), {})


ONE = Mechanism("a", 1.0, 1, 1.0)
WHO = ["S1", "S2", "S3"]


def test_a_debit_is_spent_and_never_given_back() -> None:
    journal = Memory()
    book = Ledger(journal, 20.0)
    plan = plan_of(3, ONE)
    assert book.spent() == book.spent(WHO)
    assert (book.spent().spent, book.spent().events, book.spent().remaining) == (0.0, 0, 20.0)
    book.debit("run", plan, WHO, "d@1")
    after = book.spent(["S2"])
    assert after.spent == pytest.approx(plan.epsilon)
    assert after.remaining == pytest.approx(20 - plan.epsilon)
    assert (after.events, after.delta) == (1, DELTA)
    assert book.spent(["S9"]).spent == 0.0
    assert not any(hasattr(book, name) for name in ("refund", "credit", "remove", "reset"))


def test_the_record_is_complete_and_holds_no_names_but_pseudonyms() -> None:
    journal = Memory()
    plan = plan_of(3, ONE, Mechanism("b", 0.5, 10, 3.0))
    Ledger(journal, 20.0).debit("run", plan, WHO, "d@1")
    raw = json.loads(journal.records[0])
    assert raw["run"] == "run"
    assert raw["plan"] == plan.digest().hex()
    assert raw["dataset"] == "d@1"
    assert raw["subjects"] == WHO
    assert [one["name"] for one in raw["mechanisms"]] == ["a", "b"]
    assert raw["delta"] == DELTA


def test_resuming_costs_nothing_and_cannot_reset() -> None:
    journal = Memory()
    book = Ledger(journal, 20.0)
    plan = plan_of(3, ONE)
    for _ in range(3):
        book.debit("run", plan, list(reversed(WHO)), "d@1")
    assert len(journal.records) == 1
    for changed in [
        ("run", plan_of(3, Mechanism("a", 1.0, 1, 1.1)), WHO, "d@1"),
        ("run", plan, ["S1", "S2", "S4"], "d@1"),
        ("run", plan, WHO, "d@2"),
    ]:
        with pytest.raises(UsageError, match="there is no refund; resume it"):
            book.debit(*changed)
    assert len(journal.records) == 1


def test_accounts_are_the_patients_across_datasets_and_runs() -> None:
    book = Ledger(Memory(), 50.0)
    book.debit("r1", plan_of(2, ONE), ["S1", "S2"], "ct@1")
    book.debit("r2", plan_of(2, ONE), ["S2", "S3"], "copy-of-ct@7")
    both = epsilon([ONE, ONE], DELTA)
    assert book.spent(["S1"]).spent == book.spent(["S3"]).spent == epsilon([ONE], DELTA)
    assert book.spent(["S2"]).spent == book.spent().spent == both
    assert both < 2 * epsilon([ONE], DELTA)


@pytest.mark.parametrize(("part", "fits"), [(1 - 1e-6, False), (1.0, True), (1 + 1e-6, True)])
def test_the_limit_is_exact(part: float, fits: bool) -> None:
    """A plan fits a limit of exactly its cost, and one a millionth smaller refuses it."""
    both = epsilon([ONE, ONE], DELTA)
    book = Ledger(Memory(), part * both)
    book.debit("r1", plan_of(1, ONE), ["S1"], "d@1")
    if fits:
        book.debit("r2", plan_of(1, ONE), ["S1"], "d@1")
        assert book.spent(["S1"]).spent == both
    else:
        with pytest.raises(BudgetError):
            book.debit("r2", plan_of(1, ONE), ["S1"], "d@1")
        assert book.spent(["S1"]).spent == epsilon([ONE], DELTA)


def test_the_limit_is_each_patients() -> None:
    journal = Memory()
    limit = epsilon([ONE], DELTA) + 0.1
    book = Ledger(journal, limit)
    book.debit("r1", plan_of(2, ONE), ["S1", "S2"], "d@1")
    with pytest.raises(BudgetError, match="1 of 3 patients") as caught:
        book.debit("r2", plan_of(3, ONE), ["S2", "S3", "S4"], "e@1")
    assert caught.value.exit_code == 6
    with pytest.raises(BudgetError):
        book.check(plan_of(3, ONE), ["S2", "S3", "S4"])
    assert len(journal.records) == 1
    book.check(plan_of(2, ONE), ["S3", "S4"])
    book.debit("r2", plan_of(2, ONE), ["S3", "S4"], "e@1")


@pytest.mark.parametrize("second", [["a", "b"], ["b", "c"], ["c", "d"]])
def test_what_nobody_lost_more_than_says_not_who_took_part(second: list[str]) -> None:
    ledger = Ledger(Memory(), 20.0, delta=DELTA)
    one = Mechanism("x", 1.0, 1, 1.0)
    plan = plan_of(2, one)
    ledger.debit("r1", plan, ["a", "b"], "d@1")
    ledger.debit("r2", plan, second, "e@1")
    most = ledger.most()
    assert (most.spent, most.events) == (epsilon([one, one], DELTA), 2)
    assert most.spent >= ledger.spent().spent
    # However many trainings of others there were, the limit held for each patient.
    for number in range(20):
        ledger.debit(f"s{number}", plan, [f"p{number}", f"q{number}"], "f@1")
    assert ledger.most().spent == 20.0


def test_every_account_is_at_the_tenants_delta() -> None:
    journal = Memory()
    book = Ledger(journal, 50.0, delta=1e-6)
    book.debit("r1", plan_of(1, ONE, delta=1e-6), ["S1"], "d@1")
    for use in (book.check, lambda plan, who: book.debit("r2", plan, who, "d@1")):
        with pytest.raises(UsageError, match="accounts are kept at 1e-06"):
            use(plan_of(1, ONE, delta=1e-5), ["S1"])
    spent = book.spent(["S1"])
    assert (spent.spent, spent.delta) == (epsilon([ONE], 1e-6), 1e-6)
    assert book.spent(["S9"]).delta == 1e-6


def test_records_of_the_first_version_are_restated_and_nothing_is_refunded() -> None:
    """There each plan had a delta of its own, and one in a large delta looked cheap."""
    journal = Memory()
    old = plan_of(1, ONE, delta=1e-2)
    Ledger(journal, 50.0, delta=1e-2).debit("r1", old, ["S1"], "d@1")
    raw = json.loads(journal.records[0])
    assert raw["version"] == 2
    journal.records[0] = json.dumps(raw | {"version": 1}).encode()
    book = Ledger(journal, 50.0)
    assert book.spent().spent == epsilon([ONE], DELTA) > old.epsilon
    assert [(one["epsilon"], one["delta"]) for one in book.history()] == [
        (epsilon([ONE], DELTA), DELTA)
    ]
    book.debit("r1", old, ["S1"], "d@1")  # a resume of a run that was begun then
    assert len(journal.records) == 1
    assert book.holds("r1", old)
    book.debit("r2", plan_of(1, ONE), ["S1"], "d@1")
    assert book.spent().spent == epsilon([ONE, ONE], DELTA)
    with pytest.raises(BudgetError):
        Ledger(journal, epsilon([ONE, ONE], DELTA) - 0.01).check(plan_of(1, ONE), ["S1"])


def test_a_debit_that_comes_in_between_is_counted() -> None:
    """Two runs that each would fit alone: the second one's check sees the first one's record."""
    first = Memory()
    Ledger(first, 20.0).debit("other", plan_of(1, ONE), ["S1"], "d@1")
    journal = Memory()
    journal.meanwhile = list(first.records)
    limit = epsilon([ONE], DELTA) + 0.1
    with pytest.raises(BudgetError):
        Ledger(journal, limit).debit("mine", plan_of(1, ONE), ["S1"], "d@1")
    assert len(journal.records) == 1
    journal.meanwhile = [
        json.dumps(json.loads(first.records[0]) | {"run": f"other {mark}"}).encode()
        for mark in range(30)
    ]
    with pytest.raises(AccessError, match="not charged"):
        Ledger(journal, 50.0).debit("mine", plan_of(1, ONE), ["S9"], "d@1")
    assert all(json.loads(record)["run"] != "mine" for record in journal.records)


def test_a_resume_confirms_the_debit_that_a_crash_left() -> None:
    journal = Memory()
    book, plan = Ledger(journal, 20.0), plan_of(3, ONE)
    journal.crash = "after"
    with pytest.raises(OSError, match="power lost"):
        book.debit("run", plan, WHO, "d@1")
    assert (len(journal.records), journal.confirmed) == (1, 0)
    journal.crash = None
    book.debit("run", plan, WHO, "d@1")
    assert (len(journal.records), journal.confirmed) == (1, 1)


def test_volumes_do_not_matter_patients_do() -> None:
    # A patient's volumes enter through one clipped gradient: the plan has no number of volumes.
    once, twice = Ledger(Memory(), 20.0), Ledger(Memory(), 20.0)
    once.debit("r", plan_of(3, ONE), WHO, "one-volume-each@1")
    twice.debit("r", plan_of(3, ONE), WHO, "every-volume-twice@1")
    assert once.spent() == twice.spent()


@pytest.mark.parametrize("limit", [0, -1, 50.1, math.nan, math.inf, "20", None, True])
def test_a_limit_that_cannot_be_is_refused(limit) -> None:
    with pytest.raises(UsageError, match="limit"):
        Ledger(Memory(), limit)


@pytest.mark.parametrize(
    ("run", "subjects", "dataset"),
    [
        ("", WHO, "d@1"),
        ("r", [], "d@1"),
        ("r", ["S1", "S1", "S2"], "d@1"),
        ("r", ["S1", "S2"], "d@1"),
        ("r", ["S1", "S2", ""], "d@1"),
        ("r", WHO, ""),
    ],
)
def test_bad_debits_are_refused(run, subjects, dataset) -> None:
    journal = Memory()
    with pytest.raises(UsageError):
        Ledger(journal, 20.0).debit(run, plan_of(3, ONE), subjects, dataset)
    assert journal.records == []


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("subjects"),
        lambda raw: raw.update(subjects=[]),
        lambda raw: raw.update(subjects=["S1", "S1"]),
        lambda raw: raw.update(delta=-1.0),
        lambda raw: raw.update(delta=math.nan),
        lambda raw: raw.update(mechanisms=[]),
        lambda raw: raw["mechanisms"][0].update(noise_multiplier=math.inf),
        lambda raw: raw["mechanisms"][0].update(noise_multiplier=-1.0),
        lambda raw: raw["mechanisms"][0].update(steps=0),
        lambda raw: raw["mechanisms"][0].update(sample_rate=-0.5),
        lambda raw: raw.update(version=9),
        lambda raw: raw.update(run=7),
    ],
)
def test_a_record_that_cannot_be_is_never_skipped(change) -> None:
    journal = Memory()
    Ledger(journal, 20.0).debit("run", plan_of(3, ONE), WHO, "d@1")
    raw = json.loads(journal.records[0])
    change(raw)
    book = Ledger(Memory([json.dumps(raw).encode()]), 20.0)
    for use in (book.spent, lambda: book.debit("new", plan_of(3, ONE), WHO, "d@1")):
        with pytest.raises(IntegrityError):
            use()


def test_records_that_are_no_records_are_never_skipped() -> None:
    for record in (b"", b"\xff\x00", b"[]", b"{}", b"null"):
        with pytest.raises(IntegrityError):
            Ledger(Memory([record]), 20.0).spent()
    journal = Memory()
    Ledger(journal, 20.0).debit("run", plan_of(3, ONE), WHO, "d@1")
    with pytest.raises(IntegrityError, match="two entries"):
        Ledger(Memory(journal.records * 2), 20.0).spent()


def test_a_hundred_thousand_patients_are_fast() -> None:
    book = Ledger(Memory(), 50.0, delta=1e-6)
    everyone = [f"S{index:06d}" for index in range(100_000)]
    book.debit("r1", plan_of(100_000, ONE, delta=1e-6), everyone, "d@1")
    half = plan_of(50_000, Mechanism("a", 0.5, 20, 4.0), delta=1e-6)
    book.debit("r2", half, everyone[::2], "d@2")
    began = time.process_time()
    assert book.spent().events == 2
    assert time.process_time() - began < 5.0


class LedgerLife(RuleBasedStateMachine):
    """Train, copy, rename, re-import, restore, crash and resume, in any order.

    The model beside the ledger knows which mechanisms really ran on which patient. At no time
    may that exceed the limit, nor the ledger's figure.
    """

    limit = 9.0
    people = ("S1", "S2", "S3", "S4")
    menu = (
        plan_of(1, Mechanism("a", 1.0, 1, 1.5)),
        plan_of(1, Mechanism("b", 0.5, 10, 3.0)),
        plan_of(1, Mechanism("c", 1.0, 2, 4.0), Mechanism("d", 0.25, 20, 3.0)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.journal = Memory()
        self.datasets: dict[str, tuple[str, ...]] = {"d@1": self.people[:2]}
        self.ran: dict[str, list[Mechanism]] = {name: [] for name in self.people}
        self.runs: dict[str, tuple] = {}
        self.backup: list[bytes] = []
        self.count = 0

    def _train(self, run: str, plan: Plan, subjects: tuple[str, ...], dataset: str) -> None:
        """What a stage does: debit first, and only then touch the data, once per run."""
        Ledger(self.journal, self.limit).debit(run, plan, subjects, dataset)
        if run not in self.runs:
            self.runs[run] = (plan, subjects, dataset)
            for name in subjects:
                self.ran[name] += plan.mechanisms

    @rule(
        data=st.data(), plan=st.sampled_from(menu), crash=st.sampled_from([None, "before", "after"])
    )
    def train(self, data, plan, crash) -> None:
        dataset = data.draw(st.sampled_from(sorted(self.datasets)))
        subjects = self.datasets[dataset]
        plan = replace(plan, patients=len(subjects))
        self.count += 1
        run = f"run{self.count}"
        self.journal.crash = crash
        try:
            self._train(run, plan, subjects, dataset)
        except BudgetError:
            return
        except OSError:
            self.journal.crash = None
            try:
                self._train(run, plan, subjects, dataset)  # the user resumes
            except BudgetError:
                # Only if the record was lost and never became durable.
                assert crash == "before"
        finally:
            self.journal.crash = None

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def resume(self, data) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        before = len(self.journal.records)
        self._train(run, *self.runs[run])
        assert len(self.journal.records) == before

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), plan=st.sampled_from(menu))
    def reuse_a_name(self, data, plan) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        _, subjects, dataset = self.runs[run]
        other = replace(plan, patients=len(subjects), constants={"changed": self.count})
        with pytest.raises(MedvaeError):
            self._train(run, other, subjects, dataset)

    @rule(data=st.data(), extra=st.sampled_from(people))
    def copy_rename_or_reimport(self, data, extra) -> None:
        source = data.draw(st.sampled_from(sorted(self.datasets)))
        members = tuple(sorted({*self.datasets[source], extra}))
        self.datasets[f"copy{len(self.datasets)}@1"] = members

    @rule()
    def back_up(self) -> None:
        self.backup = list(self.journal.records)

    @rule(data=st.data(), plan=st.sampled_from(menu))
    def restore(self, data, plan) -> None:
        # The vault's journal refuses a rollback when its head is anchored outside: a copy that
        # has lost a debit lets nobody train, and the newest one is put back.
        newest = self.journal.records
        self.journal = Memory(self.backup, anchor=len(newest))
        if len(self.backup) >= len(newest):
            return
        dataset = data.draw(st.sampled_from(sorted(self.datasets)))
        subjects = self.datasets[dataset]
        self.count += 1
        with pytest.raises(IntegrityError):
            self._train(
                f"run{self.count}", replace(plan, patients=len(subjects)), subjects, dataset
            )
        self.journal = Memory(newest)

    @rule()
    def reopen(self) -> None:
        self.journal = Memory(self.journal.entries())

    @invariant()
    def nobody_is_overspent(self) -> None:
        book = Ledger(self.journal, self.limit)
        for name, mechanisms in self.ran.items():
            truth = epsilon(mechanisms, DELTA)
            assert truth <= self.limit
            assert book.spent([name]).spent >= truth - 1e-9


LedgerLife.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestLedgerLife = LedgerLife.TestCase
