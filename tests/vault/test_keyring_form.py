"""A key ring has one form, byte for byte; and a rotation makes nobody fail who waits a moment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from medvae.errors import IntegrityError


def upper_mac(text: str) -> str:
    mac = json.loads(text)["mac"]
    return text.replace(mac, mac.upper())


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        ring = json.loads(text)
        change(ring)
        return json.dumps(ring, indent=1) + "\n"

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        upper_mac,
        changed(lambda ring: ring.update(unknown=1)),
        changed(lambda ring: ring["epochs"][0].update(number=str(ring["epochs"][0]["number"]))),
        changed(lambda ring: ring["epochs"][0].update(number=ring["epochs"][0]["number"] + 0.5)),
        changed(lambda ring: ring["epochs"][0].update(unknown=1)),
        lambda text: text.replace('"tenant": "clinic"', '"tenant": "x",\n "tenant": "clinic"'),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\r\n"),
    ],
)
def test_another_spelling_of_a_key_ring_is_damage(place: Any, edit: Callable[[str], str]) -> None:
    tenant = place.create("clinic")
    tenant.close()
    path = tenant.root / "keyring.json"
    text = path.read_text()
    assert edit(text) != text
    path.write_bytes(edit(text).encode())
    with pytest.raises(IntegrityError, match=r"keyring|key ring"):
        place.open("clinic")
    path.write_text(text)
    place.open("clinic").close()


def test_a_writer_waits_for_a_lock_that_is_held_for_a_moment(place: Any) -> None:
    place.create("clinic").close()
    first, second = place.open("clinic"), place.open("clinic")
    held = threading.Event()

    def hold() -> None:
        with first.writer():
            held.set()
            time.sleep(0.4)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    began = time.monotonic()
    with second.writer():
        assert time.monotonic() - began > 0.2
    thread.join()
    first.close()
    second.close()
