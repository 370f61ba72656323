"""The client of the gateway, synchronous and asynchronous.

with Gateway("https://ossa.example.com", Session(name="alice", password=...)) as gateway:
    accepted = gateway.orchestrate(OrchestrateRequest(namespace="team", workflow="data-pipeline"))
    print(gateway.wait(accepted.namespace, accepted.execution).outputs)
"""

from ossa.api.gateway import OrchestrateRequest
from ossa.bus.messages import BEGINNING
from ossa.client.aio import AsyncGateway
from ossa.client.backoff import Backoff
from ossa.client.credentials import Credentials, FixedToken, Session, TokenFile
from ossa.client.errors import (
    Conflict,
    EventsClosed,
    Forbidden,
    GatewayError,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from ossa.client.following import Anew, Change, Occurred
from ossa.client.requests import Which
from ossa.client.sync import Gateway

__all__ = [
    "BEGINNING",
    "Anew",
    "AsyncGateway",
    "Backoff",
    "Change",
    "Conflict",
    "Credentials",
    "EventsClosed",
    "FixedToken",
    "Forbidden",
    "Gateway",
    "GatewayError",
    "Invalid",
    "NotFound",
    "Occurred",
    "OrchestrateRequest",
    "RateLimited",
    "Refused",
    "Session",
    "TokenFile",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Which",
]
