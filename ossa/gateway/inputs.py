"""What a route's function is called with, made of a request.

FastAPI reads the signature, and describes it in the OpenAPI document. Its own way from a request to arguments costs as
much as all checks of a request together: it looks for dependencies, forms and cookies, which no route of ours has, and
validates what was not sent.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from ossa.gateway.answers import invalid
from ossa.gateway.arrival import header
from ossa.gateway.problems import Problem

_ESCAPE, _STRING = re.compile(rb"\\.", re.DOTALL), re.compile(rb'"[^"]*"')
_NO_BRACKETS, _ONE_KIND = bytes(set(range(256)) - set(b"[]{}")), bytes.maketrans(b"{}", b"[]")
_UNSET: Any = object()
Errors = list[Mapping[str, Any]]


class NotUnderstood(Exception):
    """The request makes no sense: nothing was done, and `problem` says what is wrong with it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Inputs:
    """Of one route, whose function takes the request, parameters of path, query and headers, and a JSON body.
    A model may stand for several parameters of the query.

    max_depth: how deep the body's JSON may be nested.
    """

    def __init__(self, dependant: Dependant, *, max_depth: int) -> None:
        given, request = dependant, dependant.request_param_name
        fields = [*given.path_params, *given.query_params, *given.header_params, *given.body_params[:1]]
        if given.call is None or request is None or {request, *(field.name for field in fields)} != _named(given.call):
            raise TypeError(f"{given.path}: a route takes the request, parameters and at most one body, and no more")
        self._request, self._max_depth = request, max_depth
        self._path = _fields(given.path_params)
        self._query = _fields([field for field in given.query_params if _model_of(field) is None])
        self._models = [(_aliases(kind), field) for field in given.query_params if (kind := _model_of(field))]
        self._headers = [(alias.lower().encode(), *more) for alias, *more in _fields(given.header_params)]
        self._body = next(iter(_fields(given.body_params)), None)

    @property
    def takes_body(self) -> bool:
        """Whether there is a body to send."""
        return self._body is not None

    async def of(self, request: Request) -> dict[str, Any]:
        """The arguments by name. Raises NotUnderstood."""
        values: dict[str, Any] = {self._request: request}
        errors: Errors = []
        path = request.path_params
        for alias, name, field in self._path:
            _take(field, path[alias], ("path", alias), into=values, name=name, errors=errors)
        query: Mapping[str, str] = request.query_params if request.scope["query_string"] else {}
        for alias, name, field in self._query:
            _take(field, query.get(alias, _UNSET), ("query", alias), into=values, name=name, errors=errors)
        for aliases, field in self._models:
            found = {alias: query[alias] for alias in aliases if alias in query}
            _take(field, found, ("query",), into=values, name=field.name, errors=errors)
        for lower, name, field in self._headers:
            sent = header(request.scope, lower)
            value = _UNSET if sent is None else sent.decode("latin-1")
            _take(field, value, ("header", field.alias), into=values, name=name, errors=errors)
        if self._body is not None:
            _, name, field = self._body
            _take(field, await self._json(request), ("body",), into=values, name=name, errors=errors)
        if errors:
            raise NotUnderstood(invalid(errors))
        return values

    async def _json(self, request: Request) -> Any:
        try:
            body = await request.body()
            if not body:
                return _UNSET
            check_depth(body, self._max_depth)
            return orjson.loads(body)
        except Problem as problem:
            raise NotUnderstood(problem) from problem
        except ClientDisconnect as error:
            raise NotUnderstood(Problem(HTTPStatus.BAD_REQUEST, "the body ended before it was whole")) from error
        except json.JSONDecodeError as error:
            found = {"type": "json_invalid", "loc": ("body", error.pos), "msg": error.msg, "ctx": {"error": error.msg}}
            raise NotUnderstood(invalid([found])) from error


def check_depth(body: bytes, most: int) -> None:
    """Raises Problem 400 where JSON is nested deeper than `most`. Most bodies have too few brackets to need a look."""
    if body.count(b"[") + body.count(b"{") > most and is_deeper(body, most):
        raise Problem(HTTPStatus.BAD_REQUEST, f"the JSON is nested deeper than {most} levels; make it flatter")


def is_deeper(body: bytes, most: int) -> bool:
    """Whether JSON is nested deeper than `most`; brackets in strings do not count."""
    brackets = _STRING.sub(b"", _ESCAPE.sub(b"", body)).translate(_ONE_KIND, _NO_BRACKETS)
    # Each round takes away the innermost level, at the speed of C.
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _named(call: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(call).parameters)


def _fields(of: Sequence[Any]) -> list[tuple[str, str, Any]]:
    """As (name in the request, name of the argument, FastAPI's field)."""
    return [(field.alias, field.name, field) for field in of]


def _model_of(field: Any) -> type[BaseModel] | None:
    """The model, where a field of FastAPI's stands for several parameters."""
    kind = field.field_info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _aliases(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _take(  # noqa: PLR0913 - each by name
    field: Any, value: Any, place: tuple[str, ...], *, into: dict[str, Any], name: str, errors: Errors
) -> None:
    """What was sent is validated, and what was not is its default."""
    if value is _UNSET:
        if field.field_info.is_required():
            errors.append({"type": "missing", "loc": place, "msg": "Field required"})
        else:
            into[name] = copy.copy(field.default)
        return
    into[name], found = field.validate(value, loc=place)
    errors += found
