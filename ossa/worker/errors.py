"""What can go wrong in a task, each with the exit code that keeps its reason."""

from __future__ import annotations

from ossa.api.contract import EXIT_INVALID_INPUT, EXIT_INVALID_OUTPUT


class WorkerError(Exception):
    """The task fails; the message is for the person who reads the execution's error."""

    reason = "Error"
    exit_code = 1


class ContractBroken(WorkerError):
    """The environment does not follow the task contract; the message names the variable or file."""


class HandlerNotFound(WorkerError):
    """$OSSA_HANDLER names nothing that can be called."""


class ArtifactRefused(WorkerError):
    """The artifact service refused, in its own words, or an artifact is not what its reference says."""


class InvalidInput(WorkerError):
    """The input does not fit the capability. A handler may raise it for what no schema can say."""

    reason = "InvalidInput"
    exit_code = EXIT_INVALID_INPUT


class InvalidOutput(WorkerError):
    """The output is no JSON object, does not fit the capability, or is too large even by reference."""

    reason = "InvalidOutput"
    exit_code = EXIT_INVALID_OUTPUT
