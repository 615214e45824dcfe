"""Every error that a user can meet, and the exit code it ends with.

MedvaeError            1   a defect of ours
 |- UsageError         2   a flag or a configuration that cannot be right
 |- InputError         3   a file or a series that cannot be used
 |- IntegrityError     4   something stored is damaged or not what it claims
 |- AccessError        5   wrong or missing keys, or a permission
 |- BudgetError        6   a privacy budget would be passed
 `- NotFoundError      7   a tenant, data set, model or object that is not there

The message is one sentence: what is wrong, where, what was expected, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class MedvaeError(Exception):
    """A defect of medvae itself (exit code 1)."""

    exit_code: ClassVar[int] = 1

    @property
    def details(self) -> Mapping[str, Any]:
        """Further keys of the JSON object that the command line prints for the error."""
        return {}


class UsageError(MedvaeError):
    """A flag, an argument or a configuration key that cannot be right (exit code 2)."""

    exit_code = 2


class InputError(MedvaeError):
    """Input that cannot be used: corrupt, truncated, empty, not an image (exit code 3)."""

    exit_code = 3


class IntegrityError(MedvaeError):
    """Stored data that are damaged, missing or not what they claim to be (exit code 4)."""

    exit_code = 4


class AccessError(MedvaeError):
    """A key that is wrong or missing, or a permission that is refused (exit code 5)."""

    exit_code = 5


class BudgetError(MedvaeError):
    """A privacy budget that would be passed (exit code 6)."""

    exit_code = 6


class NotFoundError(MedvaeError):
    """A tenant, data set, model or object that does not exist (exit code 7)."""

    exit_code = 7
