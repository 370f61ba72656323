"""Whether the process lives, and whether it should be sent requests."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from ossa.gateway.problems import Problem

HEALTHZ, READYZ = "/healthz", "/readyz"


@dataclass(slots=True)
class Health:
    """Ready from the start until it drains.

    That PostgreSQL, Redis or the API server is away makes no replica unready: all would be at once, and what works
    without it would not any more.
    """

    draining: bool = False

    def router(self) -> APIRouter:
        """/healthz and /readyz, for everybody."""
        router = APIRouter(tags=["health"])

        @router.get(HEALTHZ, summary="Whether the process lives", response_class=PlainTextResponse)
        async def healthz() -> Response:
            return PlainTextResponse("ok")

        @router.get(
            READYZ,
            summary="Whether the process should be sent requests",
            response_class=PlainTextResponse,
            openapi_extra={"x-problems": [503]},
        )
        async def readyz() -> Response:
            if self.draining:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "this replica is shutting down; ask another",
                    headers={"Retry-After": "1"},
                )
            return PlainTextResponse("ok")

        return router
