"""Errors that a user sees: one clear message, what to do about it, and an exit code.

Everything that a user can cause derives from `UserError`; the command line prints it without a
traceback. Anything else that escapes is a defect of the project.
"""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake or a missing prerequisite, said in one message.

    `message` says what is wrong and where, `hint` what to do (may be empty), `exit_code` is the
    status that the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
