"""`ossa suspend`, `resume` and `cancel`, `retry` and `rerun`: what becomes of an Execution that there is."""

from __future__ import annotations

import json

from ossa.api.base import JSONObject
from ossa.api.contract import GROUP
from ossa.api.execution import Execution
from ossa.cli.outcome import Stop
from ossa.cli.run import create
from ossa.cli.session import Session, get_object, parse_execution
from ossa.engine.states import EXECUTION_TERMINAL

# The change of the spec, and how it is told.
CHANGES: dict[str, tuple[str, bool, str]] = {
    "suspend": ("suspend", True, "suspended"),
    "resume": ("suspend", False, "resumed"),
    "cancel": ("cancel", True, "cancelled"),
}
# What a new Execution has of the one before it, besides its inputs.
KEPT = ("workflow", "workflowSpec", "priority", "ttlSecondsAfterFinished", "pendingTimeout")


async def steer(session: Session, name: str, command: str, *, as_json: bool) -> None:
    """Suspend, resume or cancel an Execution. Raises Stop where that is not possible any more, or not there."""
    field, value, told = CHANGES[command]
    found = await get_object(session, "Execution", name)
    why = obstacle(found, command)
    if why is not None:
        raise Stop(f"Execution '{name}' cannot be {told}: {why}")
    already = bool(found["spec"].get(field, False)) == value
    if not already:
        found = await session.api.patch(session.path("Execution", name), {"spec": {field: value}})
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(f"execution.{GROUP}/{name} {_already(command) if already else told}")


def obstacle(found: JSONObject, command: str) -> str | None:
    """Why an Execution cannot be suspended, resumed or cancelled, and what to do; None where it can."""
    execution = parse_execution(found)
    phase = execution.status.phase
    if phase in EXECUTION_TERMINAL:
        again = "run what is left with" if phase == "Failed" else "run it once more with"
        then = "retry" if phase == "Failed" else "rerun"
        return f"it has ended, and is {phase}; {again}: ossa {then} {execution.metadata.name}"
    if command != "cancel" and execution.spec.cancel:
        return "it is being cancelled"
    above = _parent(found)
    if command != "cancel" and above is not None:
        return f"it is a part of Execution '{above}' and follows that one: ossa {command} {above}"
    return None


async def retry(session: Session, name: str, *, new: str | None) -> JSONObject:
    """Create an Execution that resumes a failed one. Raises Stop where there is nothing to resume."""
    found = await get_object(session, "Execution", name)
    execution = parse_execution(found)
    phase = execution.status.phase
    if phase not in EXECUTION_TERMINAL:
        raise Stop(f"Execution '{name}' is {phase}: what has failed can be retried. Watch it: ossa watch {name}")
    if phase == "Completed":
        raise Stop(f"Execution '{name}' is Completed: nothing is left to run. Run it once more: ossa rerun {name}")
    if not execution.status.revision:
        raise Stop(f"Execution '{name}' never started: nothing can be taken over. Run it anew: ossa rerun {name}")
    return await _create(session, execution, new=new, more={"retryOf": name})


async def rerun(session: Session, name: str, *, new: str | None) -> JSONObject:
    """Create an Execution of the same workflow with the same inputs."""
    found = await get_object(session, "Execution", name)
    return await _create(session, parse_execution(found), new=new, more={"inputs": inputs_of(found)})


def inputs_of(found: JSONObject) -> JSONObject:
    """The inputs that were asked for. One that resumes another has those that it took over."""
    spec: JSONObject = found["spec"]
    given = spec.get("inputs") if not spec.get("retryOf") else (found.get("status") or {}).get("inputs")
    return dict(given or {})


async def _create(session: Session, execution: Execution, *, new: str | None, more: JSONObject) -> JSONObject:
    inputs, wanted = more.pop("inputs", {}), execution.spec.to_json()
    runs = {field: wanted[field] for field in KEPT if wanted.get(field)} | more
    prefix = execution.spec.workflow or execution.metadata.name
    return await create(session, runs, prefix=prefix, name=new, inputs=inputs)


def _parent(found: JSONObject) -> str | None:
    owners = found["metadata"].get("ownerReferences") or []
    above = (owner["name"] for owner in owners if owner.get("kind") == "Execution" and owner.get("controller"))
    return next(above, None)


def _already(command: str) -> str:
    return {"suspend": "is suspended already", "resume": "is not suspended", "cancel": "is being cancelled already"}[
        command
    ]
