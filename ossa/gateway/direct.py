"""The short way to routes for those who are signed in.

FastAPI describes the routes, and leads to the others. Its way passes nested routers, eight middlewares and three exit
stacks: half of what a read costs, and nothing of it is for these routes, which answer their own errors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ossa.gateway.guard import SignedIn


@dataclass(frozen=True, slots=True)
class _Place:
    pattern: re.Pattern[str]
    route: SignedIn


class Direct:
    """Plain ASGI: answers what one of `routes` is for, the first one that matches; `app` answers the rest."""

    def __init__(self, app: ASGIApp, routes: Iterable[SignedIn]) -> None:
        self._app = app
        # By method and number of slashes: few patterns are left to try.
        self._places: defaultdict[tuple[str, int], list[_Place]] = defaultdict(list)
        for route in routes:
            if ":" in route.path:
                raise ValueError(f"{route.path}: a parameter is one segment of a path")
            for method in route.methods or ():
                self._places[method, route.path.count("/")].append(_Place(route.path_regex, route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            for place in self._places.get((scope["method"], path.count("/")), ()):
                if found := place.pattern.match(path):
                    scope["route"], scope["path_params"] = place.route, found.groupdict()
                    response = await place.route.attend(Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
