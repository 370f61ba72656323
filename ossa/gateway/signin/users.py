"""Local users, for those who may administer them: the virtual resource `users` of ossa.dev says who.

Whoever may create or update users may make one of any name and group, and so become anybody who signs in by
password: give it to those whom you would give these groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from ossa.api.gateway import USERS
from ossa.gateway.answers import JSON
from ossa.gateway.context import Call, Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import PREFIX, Access
from ossa.gateway.problems import Problem
from ossa.gateway.signin import bodies
from ossa.gateway.signin.outages import records_needed
from ossa.gateway.signin.passwords import Passwords
from ossa.gateway.signin.sessions import Sessions
from ossa.store.records.accountrows import User
from ossa.store.records.accounts import Accounts, NameTaken

RESOURCE = "users"
Name = Annotated[str, Path(max_length=300, pattern=r"^[^\x00]+$")]


@dataclass(frozen=True, slots=True)
class Users:
    """What the routes of users work with."""

    accounts: Accounts
    passwords: Passwords
    sessions: Sessions


def router(parts: Users, c: Collaborators) -> APIRouter:
    """The routes; each asks Kubernetes for the verb on users.ossa.dev, in the whole cluster."""
    routes = APIRouter(prefix=USERS, tags=[RESOURCE], route_class=signed_in(c))

    async def require(request: Request, verb: str, name: str = "") -> Call:
        call = call_of(request)
        await call.require(c.authorizer, Access(verb, RESOURCE, "", name))
        return call

    @routes.get("", response_model=bodies.UserList)
    async def list_users(
        request: Request,
        after: Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """Local users, by name."""
        await require(request, "list")
        with records_needed("list users"):
            found = await parts.accounts.users(after=after, limit=limit)
        following = found[-1].name if len(found) == limit else None
        return JSON({"items": [_view(user) for user in found], "next": following})

    @routes.post("", status_code=201, response_model=bodies.UserView, openapi_extra={"x-problems": [409]})
    async def create(body: bodies.NewUser, request: Request) -> Response:
        """Add a local user."""
        call = await require(request, "create", body.name)
        password_hash = await parts.passwords.hash(body.password.get_secret_value())
        await call.announce()
        try:
            with records_needed("add a user"):
                user = await parts.accounts.add_user(
                    body.name, password_hash, groups=body.groups, created_by=call.identity.user
                )
        except NameTaken as error:
            raise Problem(
                HTTPStatus.CONFLICT, f"there is a user {body.name!r}; PATCH /api/v1/users/{body.name} changes them"
            ) from error
        return JSON(_view(user), HTTPStatus.CREATED, headers={"Location": f"{USERS}/{user.name}"})

    @routes.get("/{name}", response_model=bodies.UserView)
    async def get(name: Name, request: Request) -> Response:
        """One local user."""
        await require(request, "get", name)
        with records_needed("read a user"):
            user = await parts.accounts.user(name)
        return JSON(_view(_found(user, name)))

    @routes.patch("/{name}", response_model=bodies.UserView)
    async def update(name: Name, body: bodies.UserChange, request: Request) -> Response:
        """Change groups or password, disable or enable. New groups come with the next refresh of a token."""
        call = await require(request, "update", name)
        password_hash = None
        if body.password is not None:
            password_hash = await parts.passwords.hash(body.password.get_secret_value())
        await call.announce()
        with records_needed("change a user"):
            changed = await parts.accounts.change_user(
                name, password_hash=password_hash, groups=body.groups, disabled=body.disabled
            )
        user, ended = changed or (None, [])
        await parts.sessions.were_ended(ended)
        return JSON(_view(_found(user, name)))

    @routes.delete("/{name}", status_code=204)
    async def delete(name: Name, request: Request) -> Response:
        """Remove a local user; ends their sessions."""
        await (await require(request, "delete", name)).announce()
        with records_needed("remove a user"):
            ended = await parts.accounts.delete_user(name)
        if ended is None:
            raise _unknown(name)
        await parts.sessions.were_ended(ended)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @routes.delete("/{name}/sessions", response_model=bodies.Ended)
    async def end_sessions(name: Name, request: Request) -> Response:
        """End all sessions of a user: a local one by name, one of an issuer as Kubernetes knows them (ossa:oidc:…)."""
        await (await require(request, "update", name)).announce()
        user = name if name.startswith(PREFIX) else PREFIX + name
        return JSON({"ended": await parts.sessions.end_all(user, "revoked")})

    return routes


def _found(user: User | None, name: str) -> User:
    if user is None:
        raise _unknown(name)
    return user


def _unknown(name: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, f"there is no local user {name!r}")


def _view(user: User) -> dict[str, object]:
    shown = ("name", "groups", "disabled", "created_by", "created_at", "updated_at")
    return {name: getattr(user, name) for name in shown}
