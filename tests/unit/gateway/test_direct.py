"""The short way to routes leads where the framework's would, and their functions are called with the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Cookie, Depends, Query, Request, Response
from fastapi.dependencies.utils import get_dependant

from ossa.api.gateway import ApproveRequest
from ossa.gateway.answers import JSON
from ossa.gateway.direct import Direct
from ossa.gateway.guard import signed_in
from ossa.gateway.inputs import Inputs
from ossa.gateway.parameters import IdempotencyKey, Name, PageQuery
from tests.unit.gateway.lab import lab
from tests.unit.gateway.serving import SETTINGS, served

Limit = Annotated[int, Query(ge=1)]
SECOND = {"name": "second", "limit": 7, "key": None, "same": True}


@asynccontextmanager
async def asking(records_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with `things`, signed in."""
    async with lab(records_url) as gateway, served([things(gateway.collaborators)]) as port:
        headers = {"Authorization": "Bearer alice"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            yield client


def things(c: Any) -> APIRouter:
    """Routes that say what they were called with."""
    routes = APIRouter(route_class=signed_in(c), tags=["things"])

    @routes.get("/things/first")
    async def first(request: Request) -> Response:
        return JSON({"first": request.path_params})

    @routes.get("/things/{name}")
    async def one(request: Request, name: Name, limit: Limit = 7, idempotency_key: IdempotencyKey = None) -> Response:
        return JSON({**request.path_params, "limit": limit, "key": idempotency_key, "same": name in request.url.path})

    @routes.get("/things")
    async def some(_: Request, paging: PageQuery) -> Response:
        return JSON({"limit": paging.limit, "cursor": paging.cursor})

    @routes.post("/things/{name}")
    async def change(request: Request, name: Name, body: ApproveRequest) -> Response:
        return JSON({"name": name, "verdict": body.verdict, "method": request.method})

    return routes


async def test_the_first_route_that_matches_answers(records_url: str) -> None:
    async with asking(records_url) as client:
        assert (await client.get("/things/first")).json() == {"first": {}}
        assert (await client.get("/things/second")).json() == SECOND
        given = await client.get("/things/a%2Db?limit=1&limit=3", headers={"idempotency-key": "k-1234567"})
        assert given.json() == {"name": "a-b", "limit": 3, "key": "k-1234567", "same": True}
        answer = await client.post("/things/x", json={"verdict": "Rejected"})
        assert answer.json() == {"name": "x", "verdict": "Rejected", "method": "POST"}
        for path in ("/things/", "/things/x/y", "/thing", "/things/x%0A"):
            assert (await client.get(path)).status_code in (404, 422)
        answer = await client.delete("/things/x")
        assert (answer.status_code, answer.json()["status"]) == (405, 405)


async def test_all_that_is_wrong_is_told_at_once(records_url: str) -> None:
    async with asking(records_url) as client:
        answer = await client.get("/things/UPPER?limit=0", headers={b"idempotency-key": "é".encode()})
        assert answer.status_code == 422
        assert [one["field"] for one in answer.json()["errors"]] == ["name", "limit", "Idempotency-Key"]
        answer = await client.post("/things/x", headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["errors"]) == (
            422,
            [{"field": "body", "detail": "is missing, and required"}],
        )


async def test_a_model_takes_its_parameters_of_the_query(records_url: str) -> None:
    async with asking(records_url) as client:
        assert (await client.get("/things")).json() == {"limit": 50, "cursor": None}
        given = await client.get("/things?limit=1&cursor=a%20b&limit=3&other=1")
        assert given.json() == {"limit": 3, "cursor": "a b"}
        wrong = (await client.get("/things", params={"limit": "many", "cursor": "c" * 5000})).json()
        assert [one["field"] for one in wrong["errors"]] == ["limit", "cursor"]


async def depends(request: Request, held: Annotated[str, Depends(lambda: "")]) -> None:
    """Wants what no route of ours is given."""


async def bakes(request: Request, held: Annotated[str, Cookie()]) -> None:
    """Likewise."""


async def works_on(request: Request, held: BackgroundTasks) -> None:
    """Likewise."""


async def answers(request: Request, held: Response) -> None:
    """Likewise."""


async def twice(request: Request, one: Annotated[str, Body()], two: Annotated[str, Body()]) -> None:
    """Likewise."""


async def alone(name: str) -> None:
    """Does not ask for the request."""


async def of_many(request: Request, rest: str) -> None:
    """Takes what is left of a path."""


@pytest.mark.parametrize("function", [depends, bakes, works_on, answers, twice, alone])
def test_a_function_that_could_not_be_called_is_refused_at_once(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="/x"):
        Inputs(get_dependant(path="/x", call=function), max_depth=SETTINGS.max_depth)


async def test_a_parameter_of_many_segments_is_refused_at_once(records_url: str) -> None:
    async with lab(records_url) as gateway:
        route = signed_in(gateway.collaborators)("/x/{rest:path}", of_many)
        with pytest.raises(ValueError, match="one segment"):
            Direct(APIRouter(), [route])
