"""The software bill of materials: what medvae needs, with versions, licences and hashes.

Reads the metadata of what is installed beside this interpreter, follows the requirements of
medvae-private (without its test extra), and writes CycloneDX 1.6 JSON. The same environment
gives the same bytes. Fails when the result is not valid CycloneDX.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata as metadata
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medvae.release.solids import SHA256, VERSION

ROOT = "medvae-private"
SPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122, URLs


def requirements(name: str, extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    """What a distribution needs on this machine, with these extras."""
    for text in metadata.requires(name) or []:
        wanted = Requirement(text)
        environments = [{"extra": extra} for extra in (extras or {""})]
        if wanted.marker is None or any(wanted.marker.evaluate(one) for one in environments):
            yield canonicalize_name(wanted.name), set(wanted.extras)


def closure(root: str, extras: set[str]) -> dict[str, set[str]]:
    """Every distribution reached from `root` -> what it needs directly."""
    found: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(root), extras)]
    while waiting:
        name, wanted = waiting.pop()
        try:
            needs = dict(requirements(name, wanted))
        except metadata.PackageNotFoundError:
            continue  # needed on other systems, or an extra that is not installed
        new = set(needs) - found.get(name, set())
        if name not in found or new:
            found[name] = found.get(name, set()) | set(needs)
            waiting.extend(needs.items())
    return found


def licences(name: str) -> list[DisjunctiveLicense | LicenseExpression]:
    """What the metadata say: the SPDX expression, or the names of the classifiers."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return [LicenseExpression(expression)]
    marks = [mark for mark in about.get_all("Classifier") or [] if mark.startswith("License ::")]
    names = sorted({mark.rsplit(" :: ", 1)[1] for mark in marks})
    return [DisjunctiveLicense(name=one) for one in names]


def component(name: str) -> Component:
    """One distribution; its hash is that of the RECORD that lists all of its files."""
    installed = metadata.distribution(name)
    record = installed.read_text("RECORD") or ""
    version = installed.version
    url = PackageURL("pypi", None, name, version)
    return Component(
        type=ComponentType.APPLICATION if name == ROOT else ComponentType.LIBRARY,
        name=installed.metadata["Name"],
        version=version,
        purl=url,
        bom_ref=str(url),
        description=(installed.metadata["Summary"] or "")[:500] or None,
        licenses=licences(name),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest(record))] if record else [],
    )


def niivue() -> Component:
    """The one library that is a file of the package: the viewer in the report."""
    url = PackageURL("npm", "@niivue", "niivue", VERSION)
    return Component(
        type=ComponentType.LIBRARY,
        name="@niivue/niivue",
        version=VERSION,
        purl=url,
        bom_ref=str(url),
        description="dist/niivue.umd.js; the packages inside it are in NOTICES beside it",
        licenses=[LicenseExpression("BSD-2-Clause")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=SHA256)],
    )


def digest(text: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def build() -> Bom:
    """The whole bill."""
    graph = closure(ROOT, {"s3"})
    parts = {name: component(name) for name in sorted(graph)}
    viewer = niivue()
    bom = Bom(components=[*(part for name, part in parts.items() if name != ROOT), viewer])
    bom.metadata.component = parts[ROOT]
    for name, needs in graph.items():
        known = [parts[need] for need in sorted(needs) if need in parts]
        known += [viewer] if name == ROOT else []
        bom.register_dependency(parts[name], known)
    named = "\n".join(str(part.purl) for part in (*parts.values(), viewer))
    bom.serial_number = uuid.uuid5(SPACE, named)
    bom.metadata.timestamp = datetime.fromtimestamp(0, UTC)
    return bom


def main(target: Path | None) -> int:
    """Write the bill to `target`, or to standard output."""
    text = JsonV1Dot6(build()).output_as_string(indent=2)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        first = str(problem).splitlines()[0]
        print(f"the bill of materials is not valid CycloneDX: {first}", file=sys.stderr)
        return 1
    if target is None:
        print(text)
    else:
        target.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="sbom", description="The bill of materials of .venv.")
    parser.add_argument("target", nargs="?", type=Path, help="a file; otherwise stdout")
    sys.exit(main(parser.parse_args().target))
