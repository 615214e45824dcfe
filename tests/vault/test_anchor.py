"""A whole tenant put back, or forked, against an anchor that was kept elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medvae.errors import IntegrityError, UsageError


def put_back(place, saved: Path) -> None:
    folder = place.root / "vault/clinic"
    shutil.rmtree(folder)
    shutil.copytree(saved, folder)


def test_growth_is_no_rollback(place) -> None:
    tenant = place.create("clinic")
    anchors = [tenant.anchor()]
    tenant.put("volume", b"data")
    anchors.append(tenant.anchor())
    tenant.rotate()
    tenant.reseal()
    tenant.journal("ledger").append(b"debit")
    for anchor in anchors:
        place.open("clinic").check_anchor(anchor)


def test_a_rollback_is_found(place) -> None:
    tenant = place.create("clinic")
    tenant.journal("ledger").append(b"first debit")
    tenant.close()
    saved = place.root / "saved"
    shutil.copytree(place.root / "vault/clinic", saved)
    tenant = place.open("clinic")
    tenant.journal("ledger").append(b"second debit")
    anchor, head = tenant.anchor(), tenant.journal("ledger").head()
    tenant.close()
    put_back(place, saved)
    again = place.open("clinic")
    assert again.verify(read_data=True).damaged == []  # nothing inside can tell
    with pytest.raises(IntegrityError, match="rolled back: it is at commit"):
        again.check_anchor(anchor)
    with pytest.raises(IntegrityError, match="rolled back"):
        again.journal("ledger").check(head)
    # It goes on differently, and past the anchor.
    for _ in range(5):
        again.journal("ledger").append(b"another debit")
    with pytest.raises(IntegrityError, match="went on differently"):
        again.check_anchor(anchor)
    with pytest.raises(IntegrityError, match="went on differently"):
        again.journal("ledger").check(head)


def test_anchors_are_signed(place) -> None:
    one, two = place.create("one"), place.create("two")
    anchor = json.loads(one.anchor())
    with pytest.raises(UsageError, match="not an anchor made by tenant two"):
        two.check_anchor(json.dumps(anchor))
    for field, value in {"sequence": 1, "head": "00" * 32, "signature": "00" * 64}.items():
        with pytest.raises(UsageError, match="not an anchor"):
            one.check_anchor(json.dumps({**anchor, field: value}))
    for text in ("", "{}", "[]", "1"):
        with pytest.raises(UsageError, match="not an anchor"):
            one.check_anchor(text)
