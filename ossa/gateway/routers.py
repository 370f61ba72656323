"""All routes of resources."""

from __future__ import annotations

from fastapi import APIRouter

from ossa.gateway.context import Collaborators
from ossa.gateway.orchestrate import routes as orchestrate
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.registry import Registry
from ossa.gateway.rest import approvals, catalogue, executions, logs, steering


def rest(c: Collaborators, acceptor: Acceptor, registry: Registry) -> list[APIRouter]:
    """In order: of two that match a path the first one counts."""
    return [
        orchestrate.router(c, acceptor),
        executions.router(c),
        logs.router(c),
        approvals.router(c),
        steering.router(c, acceptor),
        catalogue.router(c, registry),
    ]
