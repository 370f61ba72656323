"""What a handshake says: whose it is, from where, and what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.types import Scope

from ossa.bus.frames import SUBPROTOCOL, TOKEN_SUBPROTOCOL, Start
from ossa.gateway.problems import Problem

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Handshake:
    """The parts of the request that matter."""

    address: str
    origin: str | None
    token: str | None = field(repr=False)  # None: the first frame brings it
    subprotocol: str | None  # to answer with
    query: str

    def start(self) -> Start:
        """What the query asks for, where the token came with the handshake. Raises Problem."""
        given = parse_qs(self.query, keep_blank_values=True)
        asked: dict[str, object] = {name: values[-1] for name, values in given.items() if name in _QUERY}
        if "types" in given:
            asked["types"] = [name for value in given["types"] for name in value.split(",") if name]
        return read_start(asked)


_QUERY = ("namespace", "execution", "after")


def read_handshake(scope: Scope) -> Handshake:
    """From an ASGI scope."""
    headers = Headers(scope=scope)
    offered: Sequence[str] = scope.get("subprotocols") or ()
    return Handshake(
        address=str(scope["client"][0]) if scope.get("client") else "",
        origin=headers.get("origin"),
        token=_token(headers.get("authorization"), offered),
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
        query=scope.get("query_string", b"").decode("latin-1"),
    )


def read_start(asked: object) -> Start:
    """Raises Problem: 400 with the field that is wrong."""
    try:
        return Start.model_validate(asked)
    except ValidationError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, explain(error)) from error


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, with its field. No value is repeated: one may be a token."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _token(authorization: str | None, offered: Sequence[str]) -> str | None:
    if authorization is not None and authorization.lower().startswith(_BEARER):
        return authorization[len(_BEARER) :].strip()
    return next((p[len(TOKEN_SUBPROTOCOL) :] for p in offered if p.startswith(TOKEN_SUBPROTOCOL)), None)
