"""The application: routers, and what every request passes on its way to them."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.middleware.cors import CORSMiddleware

from ossa.gateway import answers, openapi
from ossa.gateway.direct import Direct
from ossa.gateway.frame import BodyGuard, Frame
from ossa.gateway.guard import SignedIn
from ossa.gateway.health import Health
from ossa.gateway.metrics import Metrics
from ossa.gateway.settings import Settings
from ossa.gateway.tracing import Traced
from ossa.tracing import Tracing

_EXPOSED = ("X-Request-Id", "traceparent", "Location", "Retry-After")


def create(
    settings: Settings,
    metrics: Metrics,
    routers: Iterable[APIRouter],
    *,
    health: Health,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The application over routers, whose paths are whole. tracing: where its spans go; None: nowhere.

    It has no lifespan: whoever serves it opens and closes what the routers work with. There are no pages of
    documentation, which would load scripts from elsewhere; the OpenAPI document is at /openapi.json.
    """
    app = FastAPI(
        title=openapi.TITLE,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `Traced` and `Frame` see to these
    )
    for router in (health.router(), *routers):
        app.include_router(router)
    answers.install(app)
    openapi.publish(app)

    @app.get(openapi.PATH, include_in_schema=False)
    async def document(_: Request) -> Response:
        return answers.JSON(app.openapi(), headers={"Cache-Control": "public, max-age=300"})

    # The last one added is the outermost.
    found = [context.original_route for context in iter_route_contexts(app.routes)]
    app.add_middleware(Direct, routes=[route for route in found if isinstance(route, SignedIn)])
    app.add_middleware(BodyGuard, most=settings.max_body, seconds=settings.body_timeout)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "traceparent"],
            expose_headers=_EXPOSED,
            max_age=600,
        )
    app.add_middleware(Frame, metrics=metrics, health=health)
    app.add_middleware(Traced, tracing=tracing)
    return app
