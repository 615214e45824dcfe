"""How the command line starts."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("way", ["module", "script"])
def test_ctrl_c_while_modules_are_loaded_is_one_line(way: str) -> None:
    """The command line's module is replaced by one that is interrupted when it is asked."""
    start = {
        "module": "import runpy; runpy.run_module('medvae', run_name='__main__')",
        "script": "from medvae.__main__ import main; main()",
    }[way]
    code = (
        "import sys, types\n"
        "def interrupted(name): raise KeyboardInterrupt\n"
        "module = types.ModuleType('medvae.cli')\n"
        "module.__getattr__ = interrupted\n"
        f"sys.modules['medvae.cli'] = module\n{start}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "medvae: interrupted before anything was begun\n"
