"""The package as others import it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import medvae
from medvae.config_files import presets


def test_every_exported_name_is_there() -> None:
    assert all(getattr(medvae, name) is not None for name in medvae.__all__)


def test_importing_is_light() -> None:
    code = "import sys, medvae, medvae.api, medvae.vault; print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavies = ("torch", "monai", "opacus", "pydicom", "nibabel", "scipy", "medvae.evaluate")
    assert not [heavy for heavy in heavies if f"'{heavy}'" in out.stdout]


def test_modules_that_draw_and_audit_load_neither_monai_nor_opacus() -> None:
    """Nor do those of a run, which a drawing shares, until a network is built or trained."""
    code = (
        "import sys, medvae.train.run, medvae.train.requests, medvae.generate, medvae.audit.run\n"
        "print(sorted(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'torch'" in out.stdout
    assert not [heavy for heavy in ("monai", "opacus") if f"'{heavy}'" in out.stdout]


def test_the_wheel_holds_presets_pages_and_the_one_version(tmp_path: Path) -> None:
    """Built from a copy, as `pip wheel` does it."""
    root = Path(__file__).parents[1]
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(root / "medvae", tmp_path / "medvae", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path)
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('out'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert f"-{medvae.__version__}-" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"medvae/configs/{name}.yaml" for name in presets()} <= names
    assert "medvae/release/page/report.html" in names


# Used without being imported by name: MONAI's attention, and plugins that pydicom finds.
UNNAMED = {"einops", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(table: list[str]) -> set[str]:
    return {normal(re.split(r"[\s\[<>=!~;]", one)[0]) for one in table}


def imported() -> set[str]:
    """Top-level modules that medvae imports, in functions too."""
    found = set()
    for path in (Path(__file__).parents[1] / "medvae").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {one.name.partition(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"medvae", "__future__"}


def test_what_is_imported_is_declared_and_what_is_declared_is_used() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    required = declared(project["dependencies"])
    extras = project["optional-dependencies"]
    doors = ("s3", "metrics", "pacs", "torchio")
    optional = declared([one for name in doors for one in extras[name]])
    owners = packages_distributions()
    used = set()
    for module in imported():
        names = {normal(one) for one in owners.get(module, [module])}
        assert names & (required | optional), f"{module} is imported and not declared"
        used |= names
    assert required - used == UNNAMED
