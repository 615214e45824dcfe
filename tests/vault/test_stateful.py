"""The store against a model of it, in whatever order hypothesis thinks of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from medvae.errors import NotFoundError, UsageError
from medvae.vault import Vault

KINDS = st.sampled_from(["volume", "dataset"])
NAMES = st.sampled_from(["a", "b", "ä@1", "x" * 200])
DATA = st.one_of(st.binary(max_size=40), st.just(b"z" * 16384), st.just(b"y" * 40000))


class Store(RuleBasedStateMachine):
    """model: id -> (kind, name, data)."""

    @initialize()
    def make(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.vault = Vault(self.root / "vault")
        keys = {"identity": self.root / "id", "recovery": self.root / "recovery"}
        self.tenant = self.vault.create_tenant("clinic", **keys)
        self.model: dict[str, tuple[str, str | None, bytes]] = {}
        self.records: list[bytes] = []
        self.anchors = [self.tenant.anchor()]

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.tenant.close()
            shutil.rmtree(self.root)

    def named(self, kind: str, name: str) -> str | None:
        found = [key for key, one in self.model.items() if one[:2] == (kind, name)]
        return found[0] if found else None

    def put(self, model: dict, kind: str, name: str | None, data: bytes, replace: bool) -> None:
        old = None if name is None else self.named(kind, name)
        if old is not None and not replace:
            with pytest.raises(UsageError):
                self.tenant.put(kind, data, name=name)
            return
        key = self.tenant.put(kind, data, name=name, replace=replace)
        assert old is None or key == old
        model[key] = (kind, name, data)

    @rule(kind=KINDS, data=DATA, name=st.none() | NAMES, replace=st.booleans())
    def put_one(self, kind: str, data: bytes, name: str | None, replace: bool) -> None:
        self.put(self.model, kind, name, data, replace)

    @rule(at=st.integers(0, 20))
    def delete(self, at: int) -> None:
        if self.model:
            key = sorted(self.model)[at % len(self.model)]
            kind, _, _ = self.model.pop(key)
            self.tenant.delete(kind, key)
            with pytest.raises(NotFoundError):
                self.tenant.get(kind, key)

    @rule(
        changes=st.lists(st.tuples(KINDS, NAMES, DATA, st.booleans()), max_size=4),
        fails=st.booleans(),
    )
    def transaction(self, changes: list[tuple[str, str, bytes, bool]], fails: bool) -> None:
        before = dict(self.model)
        try:
            with self.tenant.transaction():
                for kind, name, data, remove in changes:
                    old = self.named(kind, name)
                    if remove and old is not None:
                        self.tenant.delete(kind, old)
                        del self.model[old]
                    else:
                        self.put(self.model, kind, name, data, True)
                    self.agree()
                if fails:
                    raise RuntimeError
        except RuntimeError:
            self.model = before

    @rule()
    def rotate(self) -> None:
        self.tenant.rotate()

    @rule()
    def reseal(self) -> None:
        assert self.tenant.reseal() == len(self.model)

    @rule(record=st.binary(max_size=30))
    def append(self, record: bytes) -> None:
        assert self.tenant.journal("ledger").append(record) == len(self.records)
        self.records.append(record)

    @rule()
    def reopen(self) -> None:
        self.tenant.close()
        self.tenant = self.vault.open("clinic", identity=self.root / "id")
        self.anchors.append(self.tenant.anchor())

    @rule()
    def care(self) -> None:
        assert self.tenant.gc(0).orphans == 0
        report = self.tenant.verify(read_data=True)
        assert (report.objects, report.damaged, report.orphans) == (len(self.model), [], [])
        for anchor in self.anchors:
            self.tenant.check_anchor(anchor)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        for kind in ("volume", "dataset"):
            names = sorted(name for one, name, _ in self.model.values() if one == kind and name)
            assert self.tenant.names(kind) == names
        for key, (kind, name, data) in self.model.items():
            assert self.tenant.get(kind, key) == data
            if name is not None:
                assert self.tenant.find(kind, name) == key
        assert self.tenant.journal("ledger").entries() == self.records


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
