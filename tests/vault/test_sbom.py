"""The bill of materials is valid, the same twice, and names what matters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "sbom.py"


def test_the_bill_of_materials(tmp_path: Path) -> None:
    texts = []
    for turn in range(2):
        target = tmp_path / f"{turn}.json"
        subprocess.run([sys.executable, str(SCRIPT), str(target)], check=True)
        texts.append(target.read_bytes())
    assert texts[0] == texts[1]
    bill = json.loads(texts[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    names = {part["name"]: part for part in bill["components"]}
    assert {"cryptography", "torch", "opacus", "pydicom"} <= set(names)
    assert "pytest" not in names
    assert all(part["version"] and part["purl"] for part in names.values())
    assert names["cryptography"]["hashes"]
    (root,) = [
        one for one in bill["dependencies"] if one["ref"].startswith("pkg:pypi/medvae-private")
    ]
    assert names["cryptography"]["bom-ref"] in root["dependsOn"]
