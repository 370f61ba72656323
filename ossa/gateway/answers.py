"""Answers: JSON by orjson, and every error as a problem document."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ossa.gateway.arrival import arrival_of
from ossa.gateway.problems import MEDIA_TYPE, Problem

_E = TypeVar("_E", bound=Exception)
# What pydantic calls a body that is no JSON.
_NO_JSON = "json_invalid"


class JSON(Response):
    """An answer in JSON. Routes give it themselves: nothing is validated or copied on the way out."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body. Keys of records may be UUIDs, times are RFC 3339 in UTC."""
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)


def answer_of(problem: Problem, instance: str | None = None) -> Response:
    """The problem as RFC 9457 has it. instance: the id of the request."""
    document = problem.document()
    if instance is not None:
        document["instance"] = instance
    return Response(orjson.dumps(document), int(problem.status), headers=problem.headers, media_type=MEDIA_TYPE)


def problem_of(error: HTTPException) -> Problem:
    """What the framework says: no such path, a method that a path does not have, a body that could not be read."""
    # What our own reading of a body raises arrives wrapped.
    if isinstance(error.__cause__, Problem):
        return error.__cause__
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NOT_FOUND:
            detail = "there is nothing at this path; /openapi.json lists all that there is"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            detail = "this path does not have the method; the header Allow lists those that it has"
        case HTTPStatus.BAD_REQUEST:
            detail = "the body could not be read; send JSON in UTF-8"
        case _:
            detail = str(error.detail)
    return Problem(status, detail, headers=error.headers)


def invalid(errors: Sequence[Any]) -> Problem:
    """What pydantic found wrong with a request: 400 for what is no JSON, else 422; `errors` has one entry a field."""
    found = [{"field": _field(error["loc"]), "detail": _wrong(error)} for error in errors]
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    if any(error["type"] == _NO_JSON for error in errors):
        status = HTTPStatus.BAD_REQUEST
    first = found[0]
    more = f" (and {len(found) - 1} more, see errors)" if len(found) > 1 else ""
    return Problem(
        status, f"{first['field']}: {first['detail']}{more}", more={"field": first["field"], "errors": found}
    )


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem document."""

    async def on_problem(request: Request, error: Exception) -> Response:
        return answer_of(_as(Problem, error), arrival_of(request.scope).id)

    async def on_http(request: Request, error: Exception) -> Response:
        return answer_of(problem_of(_as(HTTPException, error)), arrival_of(request.scope).id)

    async def on_invalid(request: Request, error: Exception) -> Response:
        return answer_of(invalid(_as(RequestValidationError, error).errors()), arrival_of(request.scope).id)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)


def _as(kind: type[_E], error: Exception) -> _E:
    if not isinstance(error, kind):
        raise TypeError(f"{error!r} is no {kind.__name__}")
    return error


def _field(location: Sequence[str | int]) -> str:
    """('body', 'inputs', 0) as inputs[0]; a parameter by its name, the body as a whole as body."""
    place, *path = location
    if not path or (place == "body" and all(isinstance(part, int) for part in path)):
        return str(place)
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _wrong(error: Any) -> str:
    match error["type"]:
        case "json_invalid":
            return f"the body is no JSON: {error.get('ctx', {}).get('error', error['msg'])}"
        case "extra_forbidden":
            return "there is no such field; leave it out, or see /openapi.json for its right name"
        case "missing":
            return "is missing, and required"
        case "string_pattern_mismatch":
            return f"must match {error['ctx']['pattern']}"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")
