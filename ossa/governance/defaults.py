"""What policies fill in where a Workflow and its Agents leave it out: in the revision, never in the user's objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from ossa.api.agent import AgentSpec, ResourceRequirements
from ossa.api.base import JSONObject
from ossa.api.contract import MAIN_CONTAINER
from ossa.api.policy import PolicyDefaults
from ossa.api.task import Task
from ossa.api.workflow import WorkflowSpec
from ossa.engine.revision import AgentSnapshot, Revision
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question, spec_hash

T = TypeVar("T")
Quantities = Mapping[str, int | str]

_QUANTITY = re.compile(r"^([0-9.]+(?:[eE][+-]?[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_FACTORS = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def defaults_for(policies: PolicySet, question: Question, now: datetime) -> list[PolicyDefaults]:
    """Those of the policies that are about a Workflow, in the order of their names: the first to say a thing wins."""
    held = (policy.spec.defaults for policy in policies.concerned(question, now))
    return [defaults for defaults in held if defaults is not None]


def with_defaults(revision: Revision, defaults: Sequence[PolicyDefaults]) -> Revision:
    """The revision with what is left out filled in; the very same where nothing is."""
    if not defaults:
        return revision
    spec = _filled_workflow(revision.spec, defaults)
    agents = {name: _filled_agent(agent, defaults) for name, agent in revision.agents.items()}
    if spec == revision.spec and agents == revision.agents:
        return revision
    changed: JSONObject = {"spec": spec, "agents": agents}
    if spec != revision.spec:
        changed["spec_hash"] = spec_hash(revision.spec)
    return revision.model_copy(update=changed)


def _filled_workflow(spec: WorkflowSpec, defaults: Sequence[PolicyDefaults]) -> WorkflowSpec:
    changed: JSONObject = {
        "timeout": _first(spec.timeout, (held.timeout for held in defaults)),
        "parallelism": _first(spec.parallelism, (held.parallelism for held in defaults)),
        "tasks": [_filled_task(task, defaults) for task in spec.tasks],
        "finally_": [_filled_task(task, defaults) for task in spec.finally_],
    }
    return spec.model_copy(update=changed)


def _filled_task(task: Task, defaults: Sequence[PolicyDefaults]) -> Task:
    if task.approval is not None:
        return task  # it has a timeout of its own
    changed = {
        "timeout": _first(task.timeout, (held.task_timeout for held in defaults)),
        "pending_timeout": _first(task.pending_timeout, (held.task_pending_timeout for held in defaults)),
    }
    return task.model_copy(update=changed)


def _filled_agent(agent: AgentSnapshot, defaults: Sequence[PolicyDefaults]) -> AgentSnapshot:
    wanted = [held.resources for held in defaults if held.resources is not None]
    own = _resources(agent.spec)
    requests, limits = dict(own.requests or {}), dict(own.limits or {})
    for held in wanted:
        requests = {**(held.requests or {}), **requests}
        limits = {**(held.limits or {}), **limits}
    # What the Agent says itself holds: a default on the other side gives way, or the API server takes no such pod.
    limits |= {name: requests[name] for name in _beyond(requests, limits) if name not in (own.limits or {})}
    requests |= {name: limits[name] for name in _beyond(requests, limits) if name not in (own.requests or {})}
    filled = ResourceRequirements(requests=requests or None, limits=limits or None)
    if not wanted or filled == own:
        return agent
    runtime = agent.spec.runtime.model_copy(update={"resources": filled})
    spec = agent.spec.model_copy(update={"runtime": runtime})
    return agent.model_copy(update={"spec": spec, "spec_hash": spec_hash(agent.spec)})


def _resources(spec: AgentSpec) -> ResourceRequirements:
    """Those of the container `main`, wherever the Agent says them."""
    runtime = spec.runtime
    if runtime.resources is not None:
        return runtime.resources
    template = runtime.pod_template.spec if runtime.pod_template is not None else None
    containers = (template or {}).get("containers") or []
    main: JSONObject = next((held for held in containers if held.get("name") == MAIN_CONTAINER), {})
    held = main.get("resources") or {}
    return ResourceRequirements(requests=held.get("requests"), limits=held.get("limits"))


def _beyond(requests: Quantities, limits: Quantities) -> list[str]:
    """Names of resources of which more is requested than the limit is."""
    pairs = ((name, quantity(requests[name]), quantity(limits[name])) for name in requests if name in limits)
    return [name for name, least, most in pairs if least is not None and most is not None and least > most]


def quantity(text: int | str) -> Decimal | None:
    """A quantity of Kubernetes as a number; None where it is none."""
    found = _QUANTITY.match(str(text).strip())
    if found is None:
        return None
    try:
        return Decimal(found[1]) * _FACTORS.get(found[2] or "", Decimal(1))
    except InvalidOperation:
        return None


def _first(own: T | None, others: Iterable[T | None]) -> T | None:
    return own if own is not None else next((held for held in others if held is not None), None)
