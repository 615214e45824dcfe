"""How the command line starts."""

from __future__ import annotations

import signal
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


def assert_interrupted_at_load(loading: str) -> None:
    """A start whose command line is loaded by this text, in the place of its module, is stopped."""
    code = (
        "import signal, sys, time, types\n"
        # Whoever runs the tests in the background ignores it for all of their processes.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{loading}\n"
        "module = types.ModuleType('medvae.cli')\n"
        "module.__getattr__ = load\n"
        "sys.modules['medvae.cli'] = module\n"
        "from medvae.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "medvae: interrupted before anything was begun\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["raise_signal", "text"])
def test_a_signal_while_modules_are_loaded_is_one_line_and_exit_code_130(
    number: int, way: str
) -> None:
    """Also one that comes while Python runs text, which it would answer by ending itself."""
    sent = f"signal.raise_signal({number})"
    assert_interrupted_at_load(
        f"def load(name): {sent if way == 'raise_signal' else f'exec({sent!r})'}"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_command_is_done_changes_nothing(number: int) -> None:
    """Python gives signals back to the system before it destroys the last objects."""
    code = (
        "import os, signal, sys, types\n"
        "class Last:\n"
        f"    def __del__(self, kill=os.kill, me=os.getpid()): kill(me, {number})\n"
        "sys.modules['last'] = types.ModuleType('last')\n"
        "sys.modules['last'].held = Last()\n"
        "sys.argv = ['medvae', '--version']\n"
        "from medvae.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_callback_that_cannot_raise_is_not_lost(number: int) -> None:
    """Python prints such an exception as ignored, and goes on."""
    assert_interrupted_at_load(
        "class Dropped:\n"
        f"    def __del__(self): signal.raise_signal({number})\n"
        "def load(name):\n"
        "    Dropped()\n"
        "    time.sleep(20)"
    )
