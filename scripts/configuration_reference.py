"""Write docs/configuration.md from the configuration's own model. Run it after changing a key."""

from __future__ import annotations

from pathlib import Path

from medvae.config_keys import reference

OUT = Path(__file__).parents[1] / "docs" / "configuration.md"

if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(reference(), encoding="utf-8")
    print(OUT)
