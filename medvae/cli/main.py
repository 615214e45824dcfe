"""The way in: global options anywhere on the line, verbs, and one sentence an error."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

import typer

from medvae.cli import storage
from medvae.cli.app import build
from medvae.cli.settings import hoist, settings
from medvae.errors import AccessError, MedvaeError, UsageError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: list[str]) -> int:
    """Run one command; returns the exit code instead of leaving.

    0 done, 1 a defect, 2 usage, 3 input, 4 integrity, 5 keys, 6 budget, 7 not found, and
    130 after Ctrl-C (as shells have it). No traceback without -v.
    """
    previous = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        line = hoist(argv)
        outcome = build(line)(line, prog_name="medvae", standalone_mode=False)
        if outcome == INTERRUPTED:
            # typer turns Ctrl-C into this code and says nothing.
            raise KeyboardInterrupt
        return outcome if isinstance(outcome, int) else 0
    except MedvaeError as error:
        return _fail(str(error), error.exit_code, error.details)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(_message(error), file=sys.stderr)
            return _fail("a command is missing (the commands are above)", UsageError.exit_code)
        return _fail(f"{_message(error)} (see medvae --help)", UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(
            "interrupted; what was committed is kept, and the same command goes on from there "
            "(train: with --resume)",
            INTERRUPTED,
        )
    except BrokenPipeError:
        # The reader of our output has gone (head, less): nothing is wrong.
        sys.stderr.close()
        return 0
    except OSError as error:
        refused = error.errno in storage.REFUSALS
        code = AccessError.exit_code if refused else MedvaeError.exit_code
        return _fail(storage.sentence(error, argv, settings.vault_path), code)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _fail(
            f"a defect of medvae: {type(error).__name__}: {error}; run again with -v and report it",
            MedvaeError.exit_code,
        )
    finally:
        signal.signal(signal.SIGTERM, previous)


def _as_interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _message(error: typer.TyperException) -> str:
    formatted = getattr(error, "format_message", None)
    return str(formatted() if formatted else error).rstrip(".")


def _fail(sentence: str, code: int, details: Mapping[str, Any] | None = None) -> int:
    sentence = " ".join(sentence.split())
    if settings.verbose:
        traceback.print_exc()
    print(f"medvae: {sentence}", file=sys.stderr)
    if settings.json:
        print(json.dumps({"error": sentence, "exit_code": code, **(details or {})}))
    return code
