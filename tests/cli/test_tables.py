"""Tables of the command line: aligned, whole lines for programs, wrapped on a terminal."""

from __future__ import annotations

import io
import os
import sys

import pytest

from medvae.cli.output import table

LONG = "a sentence that is much longer than the terminal is wide, by some words"
ROWS = [("first [bold]x[/]", 1.25, LONG), ("磁共振", None, "\x1b[2Jshort")]


def test_columns_are_aligned_and_a_row_is_a_line() -> None:
    lines = table(("name", "n", "text"), ROWS)
    assert lines == [
        "name                 n  text",
        f"first [bold]x[/]  1.25  {LONG}",
        # A Chinese character is two columns wide, and an escape sequence is shown.
        "磁共振               -  \\x1b[2Jshort",
    ]


def test_numbers_are_to_the_right_and_headers_can_be_left_out() -> None:
    assert table(("", ""), [("a", 5), ("bcd", 12345)]) == ["a        5", "bcd  12345"]
    assert table(("a", "b"), []) == ["a  b"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_wraps_long_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((50, 24)))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    lines = table(("name", "n", "text"), ROWS)
    assert all(len(line) <= 50 for line in lines)
    assert len(lines) > 4
    text = " ".join(line[24:].strip() for line in lines)
    assert LONG in text
