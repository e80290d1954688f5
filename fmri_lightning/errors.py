"""Errors that end a command: one line for the user, one exit code for the script around it."""


class StageError(Exception):
    """Ends a command with one line: what was wrong, where, and what to do next."""

    exit_code: int = 1


class UsageError(StageError):
    """A wrong flag, command or configuration."""

    exit_code = 2


class BadInputError(StageError):
    """An input that is missing, unreadable, of another run, or wrong in its contents."""

    exit_code = 3


class ResourceError(StageError):
    """Not enough memory, disk or devices, or a folder that another job holds."""

    exit_code = 4


class InterruptedRunError(StageError):
    """Stopped by a signal after finishing what was in flight; the same command resumes."""

    exit_code = 75
