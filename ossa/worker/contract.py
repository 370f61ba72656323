"""The task contract as the SDK finds it in its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ossa.api.base import JSONObject, first_problem
from ossa.api.contract import (
    ENV_AGENTS_PATH,
    ENV_ARTIFACTS_TOKEN,
    ENV_ARTIFACTS_URL,
    ENV_CAPABILITY,
    ENV_HANDLER,
    ENV_INPUT,
    ENV_OUTPUT,
    ENV_TASK,
    TaskIdentity,
)
from ossa.worker.errors import ContractBroken, InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a task is given. Paths are files, but for `agents_path`, a folder."""

    input_path: Path
    output_path: Path
    identity: TaskIdentity
    handler: str
    capability_path: Path | None
    artifacts_url: str | None
    artifacts_token_path: Path | None
    agents_path: Path | None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Contract:
        """Raises ContractBroken, naming the variable that is missing or wrong."""
        return cls(
            input_path=Path(_required(environ, ENV_INPUT)),
            output_path=Path(_required(environ, ENV_OUTPUT)),
            identity=_identity(_required(environ, ENV_TASK)),
            handler=_required(environ, ENV_HANDLER),
            capability_path=_path(environ, ENV_CAPABILITY),
            artifacts_url=environ.get(ENV_ARTIFACTS_URL) or None,
            artifacts_token_path=_path(environ, ENV_ARTIFACTS_TOKEN),
            agents_path=_path(environ, ENV_AGENTS_PATH),
        )

    def read_input(self) -> JSONObject:
        """The input, references unopened. Raises InvalidInput."""
        value = _read_json(self.input_path, ENV_INPUT)
        if not isinstance(value, dict):
            raise InvalidInput(f"the input is {_kind(value)}; a task takes a JSON object")
        return value

    def read_schemas(self) -> tuple[JSONObject | None, JSONObject | None]:
        """The capability's input and output schema, None where it has none."""
        if self.capability_path is None or not self.capability_path.exists():
            return None, None
        value = _read_json(self.capability_path, ENV_CAPABILITY)
        if not isinstance(value, dict):
            raise ContractBroken(f"{ENV_CAPABILITY} holds {_kind(value)} instead of a JSON object")
        return value.get("inputSchema"), value.get("outputSchema")

    def write_output(self, text: str) -> None:
        """In place: the file may be mounted, so that it can be neither replaced nor removed."""
        try:
            self.output_path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ContractBroken(f"{ENV_OUTPUT} ({self.output_path}): {error.strerror}") from error


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise ContractBroken(f"{name} is not set; the operator sets it in a task's pod")
    return value


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    value = environ.get(name)
    return Path(value) if value else None


def _identity(text: str) -> TaskIdentity:
    try:
        return TaskIdentity.model_validate_json(text)
    except ValidationError as error:
        raise ContractBroken(f"{ENV_TASK} is not a task's identity: {first_problem(error)}") from error


def _read_json(path: Path, name: str) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ContractBroken(f"{name} ({path}): {error.strerror}") from error
    try:
        value: object = json.loads(text)
    except ValueError as error:
        broken = InvalidInput if name == ENV_INPUT else ContractBroken
        raise broken(f"{name} ({path}) is not JSON: {error}") from error
    return value


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
