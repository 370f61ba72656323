"""What policies are asked about a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from controllers.admission.plans import Plans
from controllers.cache import bare
from ossa.api.agent import AgentSpec
from ossa.api.base import JSONObject
from ossa.api.execution import ExecutionSpec
from ossa.api.validation import parse_spec
from ossa.api.workflow import WorkflowSpec
from ossa.governance.inline import INLINE_NAME, workflow_of
from ossa.governance.plan import is_complete
from ossa.governance.question import Question, Subject, SubjectKind, request_of, spec_hash

Object = Mapping[str, Any]
KINDS: Mapping[str, SubjectKind] = {"agents": "Agent", "workflows": "Workflow", "executions": "Execution"}
SPECS: Mapping[str, type[AgentSpec | WorkflowSpec | ExecutionSpec]] = {
    "agents": AgentSpec,
    "workflows": WorkflowSpec,
    "executions": ExecutionSpec,
}
# What a change may be judged by: nothing, the policies that see metadata, those that name UPDATE themselves, or all.
Scope = Literal["nothing", "metadata", "stop", "all"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request about an Agent, a Workflow or an Execution; `plural` says which."""

    plural: str
    operation: Literal["CREATE", "UPDATE"]
    body: Object
    old: Object | None
    user: str
    groups: Sequence[str] = ()
    dry_run: bool = False
    execution: Object | None = None  # whose own workflow is asked about as if it were a Workflow

    @property
    def kind(self) -> SubjectKind:
        return KINDS[self.plural]

    @property
    def namespace(self) -> str:
        return str(self.body["metadata"].get("namespace") or "")

    @property
    def name(self) -> str:
        """Empty where the API server has yet to make one of generateName."""
        return str(self.body["metadata"].get("name") or "")


def inline_of(request: Request) -> Request | None:
    """What is asked about the workflow that an Execution has of its own, as if it were a Workflow; None of others."""
    made = workflow_of(request.body) if request.kind == "Execution" else None
    if made is None:
        return None
    return replace(request, plural="workflows", body=made, old=workflow_of(request.old), execution=request.body)


def scope_of(request: Request) -> Scope:
    """What a request is judged by.

    What is being deleted, and what loses a finalizer or changes its owners, always passes. So does the stopping of an
    Execution (cancel, suspend), whatever has come to be asked of Executions since it was made, unless a policy is about
    UPDATE by name.
    """
    if request.old is None:
        return "all"
    old, new = request.old["metadata"], request.body["metadata"]
    if new.get("deletionTimestamp"):
        return "nothing"
    relabelled = any((old.get(part) or {}) != (new.get(part) or {}) for part in ("labels", "annotations"))
    before, after = request.old.get("spec") or {}, request.body.get("spec") or {}
    if before == after:
        return "metadata" if relabelled else "nothing"
    if request.kind == "Execution" and not relabelled and _only_stops(before, after):
        return "stop"
    return "all"


def _only_stops(before: Object, after: Object) -> bool:
    changed = {key for key in before.keys() | after.keys() if (before.get(key) or False) != (after.get(key) or False)}
    return changed <= {"cancel", "suspend"} and all(after.get(key) is True for key in changed)


def question_of(
    request: Request, plans: Plans, *, namespace: JSONObject | None, planned: bool, subjects: bool
) -> Question:
    """Raises InvalidSpecError or CompileError where the object does not make sense.

    namespace: the root namespaceObject. planned: whether somebody reads the plan. subjects: whether there is an
    exception that might name one.
    """
    plan: JSONObject | None = None
    named: list[Subject] = []
    spec = parse_spec(SPECS[request.plural], request.body.get("spec") or {})
    if isinstance(spec, WorkflowSpec) and planned:
        plan = plans.of(request.namespace, INLINE_NAME if request.execution else request.name, spec)
    if isinstance(spec, ExecutionSpec) and spec.workflow_spec is not None:
        plan = plans.of(request.namespace, INLINE_NAME, spec.workflow_spec) if planned else None
    elif isinstance(spec, ExecutionSpec) and (planned or subjects):
        found = plans.of_named(request.namespace, spec.workflow_name)
        plan = None if found is None else found.plan
        named = [] if found is None else [found.subject]
    if subjects:
        uid = str(request.body["metadata"].get("uid") or "")
        held = parse_spec(ExecutionSpec, request.execution["spec"]) if request.execution is not None else spec
        kind: SubjectKind = request.kind if request.execution is None else "Execution"
        named = [Subject(kind, request.namespace, request.name, uid, spec_hash(held)), *named]
    question = Question(
        kind=request.kind,
        operation=request.operation,
        namespace=request.namespace,
        name=request.name,
        labels=request.body["metadata"].get("labels") or {},
        namespace_labels={} if namespace is None else namespace["metadata"]["labels"],
        user=request.user,
        groups=request.groups,
        complete=request.kind == "Agent" or is_complete(plan),
        subjects=tuple(named),
    )
    bindings: dict[str, object] = {
        "object": bare(request.body),
        "oldObject": None if request.old is None else bare(request.old),
        "request": request_of(question, dry_run=request.dry_run),
        "namespaceObject": namespace,
    }
    return replace(question, bindings=bindings if request.kind == "Agent" else {**bindings, "plan": plan})
