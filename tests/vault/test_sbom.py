"""The bill of materials is valid, the same twice, and names what matters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from medvae.release.solids import SHA256

SCRIPT = Path(__file__).parents[2] / "scripts" / "sbom.py"


def test_the_bill_of_materials(tmp_path: Path) -> None:
    texts = []
    for turn in range(2):
        target = tmp_path / f"{turn}.json"
        subprocess.run([sys.executable, str(SCRIPT), str(target)], check=True)
        texts.append(target.read_bytes())
    assert texts[0] == texts[1]
    helped = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], cwd=tmp_path, capture_output=True, check=True
    )
    assert b"usage" in helped.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "1.json"]
    bill = json.loads(texts[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    names = {part["name"]: part for part in bill["components"]}
    assert {"cryptography", "torch", "opacus", "pydicom"} <= set(names)
    assert not {"pytest", "pycryptodome-test-vectors", "cryptography-vectors"} & set(names)
    assert all(part["version"] and part["purl"] for part in names.values())
    assert names["cryptography"]["hashes"]
    (root,) = [
        one for one in bill["dependencies"] if one["ref"].startswith("pkg:pypi/medvae-private")
    ]
    assert names["cryptography"]["bom-ref"] in root["dependsOn"]
    viewer = names["@niivue/niivue"]
    assert viewer["hashes"][0]["content"] == SHA256
    assert viewer["licenses"] == [{"expression": "BSD-2-Clause"}]
    assert viewer["bom-ref"] in root["dependsOn"]
