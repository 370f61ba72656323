"""The published OpenAPI document: every route with the problems that it may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ossa.gateway.problems import MEDIA_TYPE

TITLE, VERSION = "OSSA gateway", "v1"
PATH = "/openapi.json"
DESCRIPTION = """\
Agents, workflows and executions over HTTP. Errors are problem documents (RFC 9457) whose `detail` says what to do.
Every answer has `X-Request-Id`, under which logs and the audit trail tell of it.
"""
# What any request may meet, and what any that needs somebody signed in may.
ANY = (431, 500, 503)
SIGNED_IN = (401, 403, 429)
WITH_BODY = (400, 408, 413, 415, 422)
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "about:blank: the status says what kind of error it is."},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "field": {"type": "string", "description": "The field or parameter that is wrong, where one is."},
        "policy": {"type": "string", "description": "The policy that refuses it, where one does."},
        "instance": {"type": "string", "description": "The id of the request, as in X-Request-Id."},
        "errors": {
            "type": "array",
            "description": "All fields that are wrong.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}


def publish(app: FastAPI) -> None:
    """Have `app.openapi()` give the document. A route adds codes of its own by `x-problems` in its openapi_extra."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(
                get_openapi(
                    title=TITLE, version=VERSION, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes
                )
            )
            _complete(made)
        return made

    setter: Callable[[], dict[str, Any]] = openapi
    app.openapi = setter  # type: ignore[method-assign] # as FastAPI's documentation says


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for operation in _operations(document):
        responses = operation.setdefault("responses", {})
        responses.pop("422", None)
        for code in sorted({*operation.pop("x-problems", ()), *_codes(operation)}):
            responses[str(code)] = {
                "description": HTTPStatus(code).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }


def _codes(operation: dict[str, Any]) -> Iterator[int]:
    yield from ANY
    if operation.get("security"):
        yield from SIGNED_IN
    if "requestBody" in operation:
        yield from WITH_BODY
    if operation.get("parameters"):
        yield 422
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        yield 404


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document.get("paths", {}).values():
        yield from path.values()
