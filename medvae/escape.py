"""Text of others, made safe to show: a file name, a label or a log entry may be an attacker's."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Control and unpaired characters as escapes: nobody forges a line or leads the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
