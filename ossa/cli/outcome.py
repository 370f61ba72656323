"""How the command ends: exit codes, and errors for the person at the terminal."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `ossa`; scripts may rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMEOUT = 3
    CLUSTER = 4


class Stop(Exception):
    """Ends the command with one message for the person at the terminal, and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.CLUSTER) -> None:
        super().__init__(message)
        self.code = code
