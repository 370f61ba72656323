"""Every request that the gateway takes, as data; and what its answer is. Neither sends anything."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from ossa.api import gateway as api
from ossa.api.approval import Verdict
from ossa.api.base import JSONObject
from ossa.api.execution import ExecutionPhase

T = TypeVar("T")
Parameters = dict[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One request. All may be sent again: what creates something has an Idempotency-Key."""

    method: str
    path: str
    parse: Callable[[bytes], T]
    params: Parameters = field(default_factory=dict)
    body: JSONObject | None = field(default=None, repr=False)  # may hold a password
    headers: Mapping[str, str] = field(default_factory=dict)
    signed_in: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which Executions a list is to have; unset: all. Times have a zone."""

    phase: ExecutionPhase | None = None
    workflow: str | None = None
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = Which()


def _parser(kind: type[T]) -> Callable[[bytes], T]:
    return TypeAdapter(kind).validate_json


def _nothing(_: bytes) -> None:
    return None


_accepted = _parser(api.Accepted)
_execution = _parser(api.ExecutionView)
_executions = _parser(api.Page[api.ExecutionSummary])
_tasks = _parser(api.Page[api.TaskView])
_approvals = _parser(api.Page[api.ApprovalView])
_agent = _parser(api.AgentView)
_agents = _parser(api.Page[api.AgentView])
_workflow = _parser(api.WorkflowView)
_workflows = _parser(api.Page[api.WorkflowView])
_tokens = _parser(api.Tokens)
_who = _parser(api.WhoAmI)


def path_of(template: str, **names: str) -> str:
    """A path with names put in; whatever is in a name stays in its segment."""
    return template.format(**{key: quote(name, safe="") for key, name in names.items()})


def given(**params: str | int | bool | None) -> Parameters:
    """Parameters without those that are unset."""
    return {name: value for name, value in params.items() if value not in (None, "")}


def orchestrate(request: api.OrchestrateRequest, *, key: str | None = None) -> Request[api.Accepted]:
    """Run a workflow. `key`: the same one leads to the same Execution; one is made where none is given."""
    headers = {api.IDEMPOTENCY_KEY: key or uuid.uuid4().hex}
    return Request("POST", api.ORCHESTRATE, _accepted, body=request.to_json(), headers=headers)


def request(id: str) -> Request[api.Accepted]:  # noqa: A002 - the API's word
    """What became of an accepted request."""
    return Request("GET", path_of(api.REQUEST, id=id), _accepted)


def executions(
    namespace: str = "", which: Which = EVERYTHING, *, cursor: str | None = None
) -> Request[api.Page[api.ExecutionSummary]]:
    """One page of Executions, the newest first."""
    params = given(
        phase=which.phase,
        workflow=which.workflow,
        author=which.author,
        since=which.since.isoformat() if which.since else None,
        until=which.until.isoformat() if which.until else None,
        cursor=cursor,
    )
    return Request("GET", _listed(api.EXECUTIONS, api.NAMESPACE_EXECUTIONS, namespace), _executions, params=params)


def execution(namespace: str, name: str) -> Request[api.ExecutionView]:
    """One Execution."""
    return Request("GET", path_of(api.EXECUTION, namespace=namespace, name=name), _execution)


def tasks(namespace: str, name: str, *, cursor: str | None = None) -> Request[api.Page[api.TaskView]]:
    """One page of an Execution's tasks."""
    path = path_of(api.TASKS, namespace=namespace, name=name)
    return Request("GET", path, _tasks, params=given(cursor=cursor))


def logs(
    namespace: str, name: str, *, task: str | None = None, index: int | None = None, follow: bool = False
) -> Request[None]:
    """A task's log; the answer is streamed, not parsed."""
    params = given(task=task, index=index, follow="true" if follow else None)
    return Request("GET", path_of(api.LOGS, namespace=namespace, name=name), _nothing, params=params)


def steer(namespace: str, name: str, action: Literal["pause", "resume", "cancel"]) -> Request[api.ExecutionView]:
    """Pause, resume or cancel."""
    return Request("POST", path_of(api.STEER, namespace=namespace, name=name, action=action), _execution)


def again(
    namespace: str, name: str, action: Literal["retry", "rerun"], *, key: str | None = None
) -> Request[api.Accepted]:
    """Another Execution: retry goes on with what a failed one completed, rerun starts anew."""
    path = path_of(api.STEER, namespace=namespace, name=name, action=action)
    return Request("POST", path, _accepted, headers={api.IDEMPOTENCY_KEY: key or uuid.uuid4().hex})


def approve(
    namespace: str, name: str, *, task: str | None = None, verdict: Verdict = "Approved", reason: str = ""
) -> Request[api.ApprovalView]:
    """Decide about what an Execution waits for."""
    body = api.ApproveRequest(task=task, verdict=verdict, reason=reason).to_json()
    return Request("POST", path_of(api.APPROVE, namespace=namespace, name=name), _parser(api.ApprovalView), body=body)


def approvals(namespace: str, name: str) -> Request[api.Page[api.ApprovalView]]:
    """What an Execution waits for, or waited for."""
    return Request("GET", path_of(api.APPROVALS, namespace=namespace, name=name), _approvals)


def agents(
    namespace: str = "", *, kind: str | None = None, capability: str | None = None, cursor: str | None = None
) -> Request[api.Page[api.AgentView]]:
    """One page of agents of a type, with a capability."""
    params = given(type=kind, capability=capability, cursor=cursor)
    return Request("GET", _listed(api.AGENTS, api.NAMESPACE_AGENTS, namespace), _agents, params=params)


def agent(namespace: str, name: str) -> Request[api.AgentView]:
    """One agent."""
    return Request("GET", path_of(api.AGENT, namespace=namespace, name=name), _agent)


def workflows(namespace: str = "", *, cursor: str | None = None) -> Request[api.Page[api.WorkflowView]]:
    """One page of workflows."""
    path = _listed(api.WORKFLOWS, api.NAMESPACE_WORKFLOWS, namespace)
    return Request("GET", path, _workflows, params=given(cursor=cursor))


def workflow(namespace: str, name: str) -> Request[api.WorkflowView]:
    """One workflow."""
    return Request("GET", path_of(api.WORKFLOW, namespace=namespace, name=name), _workflow)


def sign_in(name: str, password: str) -> Request[api.Tokens]:
    """Tokens for a local user."""
    body = api.SignInRequest(name=name, password=password).model_dump()
    return Request("POST", api.SIGN_IN, _tokens, body=body, signed_in=False)


def refresh(token: str) -> Request[api.Tokens]:
    """New tokens for a refresh token."""
    return Request(
        "POST", api.REFRESH, _tokens, body=api.RefreshRequest(refresh_token=token).model_dump(), signed_in=False
    )


def sign_out() -> Request[None]:
    """End the session."""
    return Request("POST", api.SIGN_OUT, _nothing)


def who_am_i() -> Request[api.WhoAmI]:
    """Whoever is signed in."""
    return Request("GET", api.WHO_AM_I, _who)


def _listed(everywhere: str, namespaced: str, namespace: str) -> str:
    return path_of(namespaced, namespace=namespace) if namespace else everywhere
