"""A schema whose text was changed: damage, or no effect, and never a defect."""

from __future__ import annotations

from medvae.errors import IntegrityError


def test_a_schema_that_is_no_text_is_damage_or_has_no_effect(place) -> None:
    """SQLite quotes it in its message, which Python then cannot decode."""
    tenant = place.create("clinic")
    stored = tenant.put("volume", b"data")
    tenant.close()
    path = tenant.root / "catalogue.db"
    whole = path.read_bytes()
    begin, end = whole.index(b"CREATE TABLE"), 4096
    assert whole.rindex(b"CREATE TABLE meta") < end
    places = [at for at in range(begin, end) if 32 < whole[at] < 127]
    found = 0
    for at in places[::4]:
        changed = bytearray(whole)
        changed[at] |= 0x80
        path.write_bytes(changed)
        try:
            opened = place.open("clinic")
            assert opened.get("volume", stored) == b"data"
            found += bool(opened.verify().damaged)
            opened.close()
        except IntegrityError as error:
            assert "catalogue of tenant clinic" in str(error)  # noqa: PT017
            found += 1
    assert found > len(places) // 5
