"""Routes of those who sign in, and of those who are signed in about their own sessions."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from ossa.api.gateway import AUTH, REFRESH, SIGN_IN, SIGN_OUT, WHO_AM_I
from ossa.gateway.answers import JSON
from ossa.gateway.context import Collaborators, call_of
from ossa.gateway.guard import address_of, signed_in
from ossa.gateway.identity import PREFIX, Identity
from ossa.gateway.problems import Problem
from ossa.gateway.signin import bodies, users
from ossa.gateway.signin.keys import KeyRing
from ossa.gateway.signin.login import LocalUsers
from ossa.gateway.signin.oidc import CALLBACK, LIFETIME, Oidc
from ossa.gateway.signin.sessions import Pair, ReusedToken, Sessions
from ossa.gateway.signin.trail import SignInTrail, Step
from ossa.store.records.accountrows import Session

Text = Annotated[str, Query(min_length=1, max_length=4096)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What the routes of sign-in work with."""

    local: LocalUsers
    sessions: Sessions
    ring: KeyRing
    trail: SignInTrail
    users: users.Users
    token_lifetime: float  # seconds
    oidc: Oidc | None = None


def router(parts: SignIn, c: Collaborators) -> APIRouter:
    """All routes of sign-in, sessions and users."""
    whole = APIRouter()
    whole.include_router(_open_routes(parts))
    if parts.oidc is not None:
        whole.include_router(_oidc_routes(parts, parts.oidc))
    whole.include_router(_session_routes(parts, c))
    whole.include_router(users.router(parts.users, c))
    return whole


def _open_routes(parts: SignIn) -> APIRouter:
    """For whoever is not signed in."""
    routes = APIRouter(tags=["sessions"])

    @routes.post(SIGN_IN, response_model=bodies.TokenPair, openapi_extra={"x-problems": [401, 429]})
    async def sign_in(body: bodies.Login, request: Request) -> Response:
        """Sign in with the name and the password of a local user."""
        async with parts.trail.of(request, Step(verb="sign-in", how="password", name=body.name)) as step:
            password = body.password.get_secret_value()
            who = await parts.local.sign_in(
                body.name, password, address=address_of(request), client=request.headers.get("user-agent", "")
            )
            step.user = who.user
            await parts.trail.announce(request, step)
            pair = await parts.sessions.begin(who)
        return _tokens(parts, pair)

    @routes.post(REFRESH, response_model=bodies.TokenPair, openapi_extra={"x-problems": [401, 429]})
    async def refresh(body: bodies.RefreshRequest, request: Request) -> Response:
        """Exchange a refresh token for the next pair. It works once; used again later, it ends the session."""
        async with parts.trail.of(request, Step(verb="refresh", how="refresh", changes=False)) as step:
            await parts.local.limit_refresh(address_of(request))
            try:
                pair = await parts.sessions.refresh(body.refresh_token.get_secret_value())
            except ReusedToken as reused:
                step.user, step.name = reused.session.user_name, str(reused.session.id)
                raise
        return _tokens(parts, pair)

    @routes.get(f"{AUTH}/jwks")
    async def public_keys() -> Response:
        """The keys that access tokens are signed with (RFC 7517)."""
        return JSON(parts.ring.jwks(), headers={"Cache-Control": "public, max-age=60"})

    return routes


def _oidc_routes(parts: SignIn, oidc: Oidc) -> APIRouter:
    routes = APIRouter(tags=["sessions"])

    @routes.get(
        f"{AUTH}/oidc/login", status_code=302, response_class=RedirectResponse, openapi_extra={"x-problems": [429]}
    )
    async def begin_oidc(request: Request) -> Response:
        """Send a browser to the OpenID Connect issuer."""
        async with parts.trail.of(request, Step(verb="sign-in", changes=False)):
            await parts.local.limit_refresh(address_of(request))
            begun = await oidc.begin()
        answer = RedirectResponse(begun.location, HTTPStatus.FOUND)
        answer.set_cookie(
            oidc.cookie_name, begun.cookie, max_age=LIFETIME, secure=oidc.secure, httponly=True, samesite="lax"
        )
        return answer

    @routes.get(CALLBACK, response_model=bodies.TokenPair, openapi_extra={"x-problems": [400, 401, 403, 429, 502]})
    async def end_oidc(
        request: Request, state: Text, code: Text | None = None, error: Annotated[str, Query(max_length=4096)] = ""
    ) -> Response:
        """Where the issuer sends the browser back to; answers with the session's tokens."""
        async with parts.trail.of(request, Step(verb="sign-in", how="oidc")) as step:
            await parts.local.limit_refresh(address_of(request))
            if code is None:
                raise Problem(HTTPStatus.UNAUTHORIZED, f"the issuer did not sign you in: {error[:200] or 'no code'}")
            who = await oidc.end(
                code,
                state=state,
                cookie=request.cookies.get(oidc.cookie_name),
                address=address_of(request),
                client=request.headers.get("user-agent", ""),
            )
            step.user = step.name = who.user
            await parts.trail.announce(request, step)
            pair = await parts.sessions.begin(who)
        answer = _tokens(parts, pair)
        answer.delete_cookie(oidc.cookie_name, secure=oidc.secure, httponly=True, samesite="lax")
        return answer

    return routes


def _session_routes(parts: SignIn, c: Collaborators) -> APIRouter:
    """For whoever is signed in, about themselves."""
    routes = APIRouter(tags=["sessions"], route_class=signed_in(c))

    @routes.get(WHO_AM_I, response_model=bodies.Me)
    async def who_am_i(request: Request) -> Response:
        """Who you are, as Kubernetes is asked about you."""
        me = call_of(request).identity
        return JSON({"user": me.user, "groups": me.groups, "kind": me.kind, "session": me.session})

    @routes.get(f"{AUTH}/sessions", response_model=bodies.SessionList)
    async def list_sessions(request: Request) -> Response:
        """Your sessions that live, newest first."""
        me = call_of(request).identity
        return JSON({"items": [_view(session, me) for session in await parts.sessions.of(me.user)]})

    @routes.post(SIGN_OUT, status_code=204)
    async def sign_out(request: Request) -> Response:
        """End this session: its tokens are good for nothing from now on."""
        call = call_of(request)
        me = _person(call.identity)
        await call.announce()
        await parts.sessions.end(UUID(me.session), "logout")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @routes.delete(f"{AUTH}/sessions", response_model=bodies.Ended)
    async def sign_out_everywhere(request: Request) -> Response:
        """End all your sessions, this one too."""
        call = call_of(request)
        me = _person(call.identity)
        await call.announce()
        return JSON({"ended": await parts.sessions.end_all(me.user, "logout")})

    @routes.delete(f"{AUTH}/sessions/{{name}}", status_code=204)
    async def end_session(name: UUID, request: Request) -> Response:
        """End one of your sessions."""
        call = call_of(request)
        me = _person(call.identity)
        await call.announce()
        if await parts.sessions.end(name, "revoked", user=me.user) is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"you have no live session {name}")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @routes.post(f"{AUTH}/password", status_code=204)
    async def change_password(body: bodies.PasswordChange, request: Request) -> Response:
        """Change your own password, where you are a local user. Ends all your sessions."""
        call = call_of(request)
        name = _person(call.identity).user.removeprefix(PREFIX)
        proved = await parts.local.prove(name, body.old.get_secret_value(), address=call.address)
        await call.announce()
        await parts.local.change_password(proved, body.new.get_secret_value())
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return routes


def _person(identity: Identity) -> Identity:
    if identity.session is None:
        raise Problem(
            HTTPStatus.FORBIDDEN, "an agent has no session here; its token ends with its pod, or by its expiry"
        )
    return identity


def _tokens(parts: SignIn, pair: Pair) -> Response:
    return JSON(
        {
            "access_token": pair.access_token,
            "token_type": "Bearer",
            "expires_in": int(parts.token_lifetime),
            "refresh_token": pair.refresh_token,
            "session": str(pair.session.id),
            "user": pair.session.user_name,
            "groups": pair.session.groups,
        }
    )


def _view(session: Session, me: Identity) -> dict[str, object]:
    shown = ("method", "address", "client", "created_at", "refreshed_at", "expires_at")
    own = str(session.id)
    return {"id": own, **{name: getattr(session, name) for name in shown}, "current": own == me.session}
