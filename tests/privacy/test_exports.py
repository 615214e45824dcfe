"""The public names of the privacy engine."""

from __future__ import annotations

import subprocess
import sys

import medvae.privacy as privacy


def test_every_public_name_is_there_and_documented() -> None:
    for name in privacy.__all__:
        assert getattr(privacy, name).__doc__, name
    assert set(privacy.__all__) == set(privacy._HOMES)


def test_plans_and_ledgers_do_not_import_torch() -> None:
    code = "import sys; from medvae.privacy import Ledger, Plan; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
