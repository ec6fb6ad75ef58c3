"""What goes wrong, said in one line: what was wrong, where, and what to do about it."""

from __future__ import annotations


class D2CError(Exception):
    """A failure the user can act on. The message is one line; the command prints it and exits 1."""


class D2CWarning(UserWarning):
    """Something asked for that makes no difference. One line; the command prints it on stderr."""


class UsageError(D2CError):
    """An argument that cannot be meant: an unknown strategy, a negative count. The command exits 2."""


class Cancelled(D2CError):
    """The user asked to stop. What was finished is kept, and the same call goes on from there."""
