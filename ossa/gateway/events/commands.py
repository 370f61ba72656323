"""Commands over a WebSocket: the same functions as REST's, the same audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ossa.api.gateway import ApproveRequest, OrchestrateRequest
from ossa.audit.entry import entry_of
from ossa.bus.frames import Command, Start
from ossa.gateway.arrival import request_id
from ossa.gateway.context import Call, Collaborators
from ossa.gateway.events.handshake import explain
from ossa.gateway.guard import problem_from
from ossa.gateway.identity import Identity
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.orchestrate.routes import spec_of
from ossa.gateway.problems import Problem, Unkept
from ossa.gateway.rest.approvals import decide
from ossa.gateway.rest.steering import change, repeat
from ossa.gateway.rest.views import approval_view, execution_view
from ossa.gateway.tracing import trace_from
from ossa.kube.errors import ApiError
from ossa.store.records.errors import RecordsUnavailable

M = TypeVar("M", bound=BaseModel)
Answer = tuple[int, Mapping[str, Any]]


class RestCommands:
    """Carries commands out."""

    def __init__(self, collaborators: Collaborators, acceptor: Acceptor) -> None:
        self._c, self._acceptor = collaborators, acceptor

    async def __call__(self, identity: Identity, address: str, command: Command) -> Answer:
        """Status and body as of the REST request. Raises Problem."""
        trace = trace_from(())
        call = Call(
            id=request_id(),
            identity=identity,
            address=address,
            traceparent=trace.traceparent,
            source="websocket",
            ask=lambda call: self._record(call, command, 0, ""),
        )
        try:
            status, body = await self._run(call, command)
        except Unkept:
            raise  # nothing was done
        except (Problem, ApiError, RecordsUnavailable) as error:
            problem = problem_from(error)
            await self._record(call, command, int(problem.status), problem.detail)
            raise problem from error
        await self._record(call, command, status, "")
        call.settle()
        return status, body

    async def refused(self, identity: Identity | None, address: str, asked: Start | Command, problem: Problem) -> None:
        """A socket or a command that was refused, into the audit trail. Raises Problem."""
        await self._c.trail.record(
            entry_of(
                id=request_id(),
                time=self._c.clock(),
                user=identity.user if identity is not None else "",
                address=address,
                verb=asked.action if isinstance(asked, Command) else "watch",
                resource=_resource(asked),
                namespace=asked.namespace,
                name=asked.execution,
                status=int(problem.status),
                reason=problem.detail,
            )
        )

    async def _run(self, call: Call, command: Command) -> Answer:
        match command.action:
            case "orchestrate":
                body = _read(OrchestrateRequest, command)
                accepted = await self._acceptor.accept(call, body.namespace, spec_of(body), key=command.key)
                return HTTPStatus.ACCEPTED, accepted.to_json()
            case "retry" | "rerun":
                namespace, name = _named(command)
                accepted = await repeat(self._c, self._acceptor, call, namespace, name, command.action, command.key)
                return HTTPStatus.ACCEPTED, accepted.to_json()
            case "approve":
                namespace, name = _named(command)
                decided = await decide(self._c, call, namespace, name, _read(ApproveRequest, command))
                return HTTPStatus.OK, approval_view(decided).to_json()
            case "pause" | "resume" | "cancel":
                namespace, name = _named(command)
                item = await change(self._c, call, namespace, name, command.action)
                return HTTPStatus.OK, execution_view(item).to_json()

    async def _record(self, call: Call, command: Command, status: int, reason: str) -> None:
        access = call.access
        await self._c.trail.record(
            entry_of(
                id=call.id,
                time=self._c.clock(),
                user=call.identity.user,
                address=call.address,
                verb=command.action,
                resource=_resource(command),
                namespace=access.namespace if access is not None else command.namespace,
                name=(access.name if access is not None else "") or command.execution,
                status=status,
                reason=reason,
                trace_id=call.trace_id,
            )
        )


def _resource(asked: Start | Command) -> str:
    return "approvals" if isinstance(asked, Command) and asked.action == "approve" else "executions"


def _named(command: Command) -> tuple[str, str]:
    if not command.namespace or not command.execution:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{command.action} needs `namespace` and `execution`")
    return command.namespace, command.execution


def _read(kind: type[M], command: Command) -> M:
    try:
        return kind.model_validate(command.body)
    except ValidationError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"body.{explain(error)}") from error
