"""What the routes of sign-in take and give, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ossa.api.gateway import Tokens, WhoAmI
from ossa.gateway.signin.names import MAX_GROUPS, NAME_PATTERN
from ossa.gateway.signin.passwords import MAX_LENGTH, MIN_LENGTH
from ossa.store.records.accountrows import EndedBy, Method

Name = Annotated[str, Field(pattern=NAME_PATTERN, description="Lower-case letters, digits and . _ @ -")]
Groups = Annotated[list[Name], Field(max_length=MAX_GROUPS)]
# PostgreSQL has no text with the character 0.
Password = Annotated[SecretStr, Field(min_length=1, max_length=MAX_LENGTH)]
NewPassword = Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]


class Body(BaseModel):
    """What comes in: a field that nobody knows is an error of whoever sent it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Login(Body):
    """A local user's name and password."""

    name: str = Field(min_length=1, max_length=128, pattern=r"^[^\x00]*$")
    password: Password


class RefreshRequest(Body):
    """The refresh token of the last answer; it works once."""

    refresh_token: SecretStr = Field(min_length=1, max_length=128)


class PasswordChange(Body):
    """One's own."""

    old: Password
    new: NewPassword


class NewUser(Body):
    """A local user. Kubernetes knows them and their groups with the prefix `ossa:`."""

    name: Name
    password: NewPassword
    groups: Groups = []


class UserChange(Body):
    """What is given is changed. A new password, or being disabled, ends the user's sessions."""

    password: NewPassword | None = None
    groups: Groups | None = None
    disabled: bool | None = None


class TokenPair(Tokens):
    """A session's tokens, named as in RFC 6749."""

    refresh_token: str = Field(repr=False, description="Gives the next pair, once.")
    session: UUID
    groups: list[str]


class Me(WhoAmI):
    """Who asks, as Kubernetes knows them."""

    session: UUID | None


class SessionView(BaseModel):
    """One sign-in."""

    id: UUID
    method: Method
    address: str
    client: str = Field(description="The User-Agent that signed in.")
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    ended_by: EndedBy | None = None
    current: bool = Field(description="Whether this request belongs to it.")


class SessionList(BaseModel):
    """Those that live."""

    items: list[SessionView]


class Ended(BaseModel):
    """How many sessions were ended."""

    ended: int


class UserView(BaseModel):
    """A local user."""

    name: str
    groups: list[str]
    disabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


class UserList(BaseModel):
    """A page of users, by name."""

    items: list[UserView]
    next: str | None = Field(default=None, description="To be given as `after` for the next page.")
