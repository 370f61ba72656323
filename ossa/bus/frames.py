"""What goes over a WebSocket of the gateway: one JSON object a text frame, told apart by `type`.

A client sends `start` (or says in the handshake what it would), then any number of `token` and `command`. The gateway
sends `hello`, then `event` and, when nothing else was sent for a while, `ping`; `answer` to each command; and where
events were missed, `reset` with `snapshot`s after it. Both ignore fields of the other that they do not know; a change
that older ones would misread raises the version of the subprotocol.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from ossa.api.base import DNS_SUBDOMAIN, JSONObject
from ossa.api.gateway import IDEMPOTENCY_KEY_PATTERN, ExecutionView, TaskView
from ossa.bus.messages import Event, EventType

# What client and gateway agree on in Sec-WebSocket-Protocol. A browser, which cannot set headers, adds a second one:
# this prefix and its token.
SUBPROTOCOL = "ossa.v1"
TOKEN_SUBPROTOCOL = "ossa.bearer."  # noqa: S105 - the part before it
# Of an entry of the stream: milliseconds and a sequence number.
POSITION = r"^\d{1,20}-\d{1,20}$"

Name = Annotated[str, Field(pattern=DNS_SUBDOMAIN, max_length=253)] | Literal[""]
Position = Annotated[str, Field(pattern=POSITION)]
CommandName = Literal["orchestrate", "pause", "resume", "cancel", "retry", "rerun", "approve"]


class Close(IntEnum):
    """Why the gateway closed a socket: 44xx is about the client, as HTTP's 4xx are."""

    INTERNAL = 1011
    RESTART = 1012  # this replica ends; connect again and resume
    TRY_LATER = 1013  # as many sockets as it holds, or its events cannot be had now
    BAD_FRAME = 4400
    UNAUTHENTICATED = 4401  # no token, a bad one, or one that ended or was revoked meanwhile
    FORBIDDEN = 4403
    NO_START = 4408  # `start` did not come in time
    TOO_SLOW = 4420  # did not read what was sent; may connect again and resume
    TOO_MANY = 4429  # more sockets than one user may have, or more handshakes than the limit


# After these it makes sense to connect again with the same token.
RESUMABLE = frozenset(
    {1001, 1005, 1006, Close.INTERNAL, Close.RESTART, Close.TRY_LATER, Close.TOO_SLOW, Close.TOO_MANY}
)


class _FromClient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Start(_FromClient):
    """Which events, and from where on."""

    type: Literal["start"] = "start"
    token: str | None = Field(default=None, max_length=16384, repr=False, description="Where no header carries it.")
    namespace: Name = Field(default="", description="Events of this namespace; empty: of all.")
    execution: Name = Field(default="", description="Events of this Execution of the namespace; empty: of all.")
    types: frozenset[EventType] = Field(default=frozenset(), description="Only these types of events; empty: all.")
    after: Position | None = Field(
        default=None, description="Resumes after the event with this `id`; unset: from now on; 0-0: a snapshot first."
    )

    @model_validator(mode="after")
    def _execution_of_a_namespace(self) -> Self:
        if self.execution and not self.namespace:
            raise ValueError("`execution` needs its `namespace`")
        return self


class Token(_FromClient):
    """A newer token of the same user, before the last one ends."""

    type: Literal["token"] = "token"
    token: str = Field(min_length=1, max_length=16384, repr=False)


class Command(_FromClient):
    """Something to do, as the REST request of that name would."""

    type: Literal["command"] = "command"
    id: str = Field(min_length=1, max_length=64, description="Comes back in the answer.")
    action: CommandName
    namespace: Name = Field(default="", description="Of the Execution; orchestrate says it in its body.")
    execution: Name = Field(default="", description="Name of the Execution; not for orchestrate.")
    key: str | None = Field(
        default=None, pattern=IDEMPOTENCY_KEY_PATTERN, description="Of orchestrate: the Idempotency-Key."
    )
    body: JSONObject = Field(default_factory=dict, description="The body of the REST request.")


class _FromGateway(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Hello(_FromGateway):
    """The first frame: what was asked for is allowed, and events follow."""

    type: Literal["hello"] = "hello"
    id: Position = Field(description="Where the stream was; resumes from here where no event came yet.")
    heartbeat: float = Field(description="Seconds: a frame comes at least so often, else the connection is dead.")


class EventFrame(_FromGateway):
    """Something happened."""

    type: Literal["event"] = "event"
    id: Position = Field(description="Resumes after this event.")
    event: Event


class Reset(_FromGateway):
    """Events were missed: what is known is to be thrown away. Snapshots follow, then events after `id`."""

    type: Literal["reset"] = "reset"
    id: Position
    reason: str = ""


class Standing(BaseModel):
    """One Execution in a snapshot."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    execution: ExecutionView
    tasks: list[TaskView] = Field(default_factory=list, description="Where one Execution was asked for.")


class Snapshot(_FromGateway):
    """Where the Executions that were asked for stand; as new as the reset, or newer."""

    type: Literal["snapshot"] = "snapshot"
    executions: list[Standing] = Field(default_factory=list)
    last: bool = Field(description="false: another one follows.")
    complete: bool = Field(default=True, description="false: there are more, older ones; list them.")


class Ping(_FromGateway):
    """Nothing happened that was asked for. `id` moves on all the same, so that no gap becomes too old."""

    type: Literal["ping"] = "ping"
    id: Position


class Answer(_FromGateway):
    """What became of a command: the status and the body that the REST request would have had."""

    type: Literal["answer"] = "answer"
    id: str = Field(description="Of the command; empty where the frame had none.")
    status: int
    body: dict[str, Any] = Field(default_factory=dict)


ClientFrame = Annotated[Start | Token | Command, Field(discriminator="type")]
ServerFrame = Annotated[Hello | EventFrame | Reset | Snapshot | Ping | Answer, Field(discriminator="type")]
CLIENT_FRAMES: TypeAdapter[Start | Token | Command] = TypeAdapter(ClientFrame)
SERVER_FRAMES: TypeAdapter[Hello | EventFrame | Reset | Snapshot | Ping | Answer] = TypeAdapter(ServerFrame)
SERVER_TYPES = frozenset({"hello", "event", "reset", "snapshot", "ping", "answer"})


def event_frame(position: str, event: str) -> str:
    """The text of an `event` frame around JSON that is one already: it is sent to many, and parsed by none here."""
    return f'{{"type":"event","id":"{position}","event":{event}}}'
