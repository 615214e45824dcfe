"""CARD.md and README.md: what somebody chose stays text."""

from __future__ import annotations

import re
from pathlib import Path

from medvae.release import create
from tests.release.made import MRI, Key, facts, synthetic


def test_what_somebody_chose_is_text_and_no_markup(tmp_path: Path) -> None:
    chosen = "x <script>alert(1)</script> y ![p](http://tracker/p.png) `z` &copy; \\"
    model = {"name": chosen, "kind": "conv"}
    key = Key()
    result = create(
        volumes=synthetic(1, MRI),
        out=tmp_path / "release",
        facts=facts(name=chosen, license=chosen, model=model),
        sign=key.sign,
        public_key=key.public,
    )
    for name in ("CARD.md", "README.md"):
        body = (result.path / name).read_text().rpartition("\n---\n")[2]
        assert "alert" in body
        assert re.search(r"(?<!\\)[<\[]", body.replace("```", "")) is None, name
        assert r"\`z\` \&copy; \\" in body
