"""What the pod of a task wrote to $OSSA_OUTPUT, checked against the contract."""

from __future__ import annotations

import json
from typing import NoReturn

from pydantic import ValidationError

from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef, find_references
from ossa.api.base import JSONObject
from ossa.api.contract import OUTPUT_LIMIT, OUTPUT_LIMIT_ALL_CONTAINERS
from ossa.api.schema import violations
from ossa.engine.attempt import Attempt
from ossa.engine.snapshot import PodView
from ossa.engine.values import NotJSONError, plain, shorten


class InvalidOutput(ValueError):
    """The output breaks the contract; the text says how, and what to do."""


def task_output(attempt: Attempt) -> JSONObject:
    """What the pod of an attempt gave. Raises InvalidOutput."""
    pod = attempt.pod
    output = _parse(pod)
    broken = violations(attempt.capability.output_schema, output)
    if broken:
        raise InvalidOutput(f"the output breaks the outputSchema of {_capability(attempt)}: {'; '.join(broken)}")
    _check_references(output, attempt)
    return output


def _parse(pod: PodView) -> JSONObject:
    text = pod.message or ""
    size = len(text.encode(errors="surrogatepass"))
    limit = min(OUTPUT_LIMIT, OUTPUT_LIMIT_ALL_CONTAINERS // max(1, pod.containers))
    if size >= limit:
        raise InvalidOutput(
            f"the output reached the limit of {limit} bytes at which the kubelet cuts it: write less to "
            "$OSSA_OUTPUT, and upload large values to the artifact service, as the SDK does by itself"
        )
    if not text.strip():
        return {}
    try:
        output = plain(json.loads(text, parse_constant=_refuse_constant))
    except NotJSONError as error:
        raise InvalidOutput(f"the output cannot be kept: {error}") from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidOutput(f"the output is not JSON ({why}): write one JSON object to $OSSA_OUTPUT") from error
    if not isinstance(output, dict):
        raise InvalidOutput('the output is JSON, but not an object: write an object, such as {"result": …}')
    return output


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_references(output: JSONObject, attempt: Attempt) -> None:
    received = _Received(attempt)
    for value in find_references(output):
        try:
            reference = ArtifactRef.model_validate(value)
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise InvalidOutput(
                f"an artifact reference in the output is malformed at {field!r}: "
                "pass on what the artifact service answered, unchanged"
            ) from error
        if not attempt.issued(reference, attempt.pod.uid) and reference not in received:
            raise InvalidOutput(
                f"the artifact reference {shorten(reference.id, 64)!r} in the output is forged: this task "
                "neither uploaded that artifact nor received it"
            )


class _Received:
    """The references in the pod's own input, and in the values that its input refers to; each looked at when needed."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._given: frozenset[ArtifactRef] | None = None
        self._within: frozenset[ArtifactRef] | None = None

    def __contains__(self, reference: ArtifactRef) -> bool:
        if self._given is None:
            self._given = _parsed(json.loads(self._attempt.pod.input_json))
        if reference in self._given:
            return True
        if self._within is None:
            moved = any(given.media_type == VALUE_MEDIA_TYPE for given in self._given)
            self._within = _parsed(self._attempt.whole_input()) if moved else frozenset()
        return reference in self._within


def _parsed(value: object) -> frozenset[ArtifactRef]:
    return frozenset(ArtifactRef.model_validate(found) for found in find_references(value))


def _capability(attempt: Attempt) -> str:
    return f"capability {attempt.capability.name!r} of Agent {attempt.agent.name!r}"
