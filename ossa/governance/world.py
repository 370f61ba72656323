"""Objects, as they lie in files or in a cluster, and the questions that policies are asked about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic import ValidationError

from ossa.api.agent import AgentSpec
from ossa.api.base import JSONObject, Model
from ossa.api.contract import API_VERSION
from ossa.api.execution import ExecutionSpec
from ossa.api.policy import AgentPolicy, Operation
from ossa.api.policyexception import AgentPolicyException
from ossa.api.workflow import WorkflowSpec
from ossa.engine.authors import author_of
from ossa.engine.expressions import CompileError
from ossa.engine.states import is_finished
from ossa.governance.inline import INLINE_NAME, workflow_of
from ossa.governance.plan import Agents, is_complete, plan_of
from ossa.governance.policies import CompiledPolicy, InvalidPolicyError, compile_policy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question, Subject, SubjectKind, request_of, spec_hash

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name
SUBJECTS: tuple[SubjectKind, ...] = ("Agent", "Workflow", "Execution")
SPECS: Mapping[str, type[Model]] = {"Agent": AgentSpec, "Workflow": WorkflowSpec, "Execution": ExecutionSpec}
NAMESPACE_NAME = "kubernetes.io/metadata.name"  # a label that the API server puts on each namespace


@dataclass(frozen=True, slots=True)
class Asked:
    """How a question is asked: the operation, who asks, and the object before a change.

    operation None: what is there already is looked at. user None: the recorded author.
    """

    operation: Operation | None = None
    user: str | None = None
    groups: Sequence[str] = ()
    old: Object | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """What there is, by kind, namespace and name. Objects are as the API server holds them, defaults written."""

    objects: Mapping[str, Mapping[Key, Object]] = field(default_factory=dict)
    _agents: dict[str, Agents] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, items: Iterable[Object]) -> World:
        """Of objects of any kinds; of two with one name the last one counts."""
        held: dict[str, dict[Key, Object]] = {}
        for item in items:
            held.setdefault(str(item.get("kind")), {})[key_of(item)] = item
        return cls(held)

    def all(self, kind: str) -> Iterator[Object]:
        """All of a kind, in the order of their namespaces and names."""
        held = self.objects.get(kind, {})
        return (held[key] for key in sorted(held))

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object; None where it is not there."""
        return self.objects.get(kind, {}).get((namespace, name))

    def namespace(self, name: str) -> JSONObject:
        """The Namespace, with the label that the API server puts on each."""
        found = self.get("Namespace", "", name) or {"apiVersion": "v1", "kind": "Namespace"}
        metadata = metadata_of(found)
        labels = {**labels_of(found), NAMESPACE_NAME: name}
        return {**found, "metadata": {**metadata, "name": name, "labels": labels}}

    def agents(self, namespace: str) -> Agents:
        """The agents of a namespace, as plans are made with; without those whose spec is none."""
        if namespace not in self._agents:
            found = {}
            for (where, name), item in self.objects.get("Agent", {}).items():
                if where != namespace:
                    continue
                try:
                    spec = AgentSpec.model_validate(item.get("spec") or {})
                except ValidationError:
                    continue
                found[name] = (spec, (item.get("status") or {}).get("image"))
            self._agents[namespace] = found
        return self._agents[namespace]

    def plan(self, workflow: Object, *, name: str | None = None) -> JSONObject | None:
        """The plan of a Workflow, which need not be one of these; None where it makes no sense.

        name: what the plan calls it; None: its own.
        """
        namespace, own = key_of(workflow)
        try:
            spec = WorkflowSpec.model_validate(workflow.get("spec") or {})
            return plan_of(own if name is None else name, spec, self.agents(namespace))
        except (ValidationError, CompileError):
            return None

    def policies(self) -> tuple[tuple[CompiledPolicy, ...], Mapping[str, list[str]]]:
        """Those that compile, and of the others by name what is wrong."""
        good, bad = [], {}
        for item in self.all("AgentPolicy"):
            try:
                # Without its status: what a newer operator wrote there keeps nobody from judging.
                held = {field: value for field, value in item.items() if field != "status"}
                good.append(compile_policy(AgentPolicy.model_validate(held)))
            except InvalidPolicyError as error:
                bad[key_of(item)[1]] = error.problems
            except ValidationError as error:
                bad[key_of(item)[1]] = [f"{held['loc']}: {held['msg']}" for held in error.errors()]
        return tuple(good), bad

    def policy_set(self, params: Mapping[Key, Mapping[str, str]] | None = None) -> PolicySet:
        """The policies that compile, with the ConfigMaps and the exceptions that there are; `params` win."""
        maps = {key: dict(item.get("data") or {}) for key, item in self.objects.get("ConfigMap", {}).items()}
        exceptions = []
        for item in self.all("AgentPolicyException"):
            try:
                exceptions.append(AgentPolicyException.model_validate(item))
            except ValidationError:
                continue  # it excepts nothing; lint says why
        return PolicySet(self.policies()[0], {**maps, **(params or {})}, tuple(exceptions))


def key_of(item: Object) -> Key:
    """Namespace and name; a namespace is '' where the kind has none."""
    metadata = metadata_of(item)
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or metadata.get("generateName") or "")


def metadata_of(item: Object) -> Object:
    """Its metadata; empty where it is no object."""
    found = item.get("metadata")
    return found if isinstance(found, Mapping) else {}


def labels_of(item: Object) -> Mapping[str, str]:
    """Its labels."""
    return cast(Mapping[str, str], metadata_of(item).get("labels") or {})


def subject_of(item: Object) -> Subject | None:
    """What an exception would name; None where its spec is none of its kind."""
    kind, (namespace, name) = str(item.get("kind")), key_of(item)
    try:
        parsed = SPECS[kind].model_validate(item.get("spec") or {})
    except (KeyError, ValidationError):
        return None
    uid = str(metadata_of(item).get("uid") or "")
    return Subject(cast(SubjectKind, kind), namespace, name, uid, spec_hash(parsed))


def question_of(world: World, item: Object, asked: Asked) -> Question:
    """What policies are asked of an Agent, a Workflow or an Execution as such."""
    kind, (namespace, name) = cast(SubjectKind, item["kind"]), key_of(item)
    plan, subjects = None, [subject_of(item)]
    if kind == "Workflow":
        plan = world.plan(item)
    elif kind == "Execution" and (inline := workflow_of(item)) is not None:
        plan = world.plan(inline, name=INLINE_NAME)
    elif kind == "Execution":
        found = world.get("Workflow", namespace, str((item.get("spec") or {}).get("workflow") or ""))
        if found is not None:
            plan = world.plan(found)
            subjects.append(subject_of(found))
    place = world.namespace(namespace)
    bindings: dict[str, object] = {
        "object": {"apiVersion": API_VERSION, **item},
        "oldObject": asked.old,
        "namespaceObject": place,
    }
    if kind != "Agent":
        bindings["plan"] = plan
    return _with_request(
        Question(
            kind=kind,
            operation=asked.operation,
            namespace=namespace,
            name=name,
            labels=labels_of(item),
            namespace_labels=labels_of(place),
            user=author_of(kind, metadata_of(item).get("annotations") or {}) if asked.user is None else asked.user,
            groups=tuple(asked.groups),
            bindings=bindings,
            complete=kind == "Agent" or is_complete(plan),
            subjects=tuple(held for held in subjects if held is not None),
        ),
        dry_run=asked.dry_run,
    )


def task_question(world: World, execution: Object, task: str, asked: Asked, given: Object) -> Question | None:
    """What is asked of one attempt of a task; None where the Execution's workflow has no such task.

    given: `input`, `output`, `history`, and what `task`, `agent` and `execution` hold besides what is known.
    """
    outer = question_of(world, execution, asked)
    namespace, name = key_of(execution)
    plan = outer.bindings["plan"]
    entries = plan["tasks"] if isinstance(plan, dict) else []
    entry = next((held for held in entries if held["name"] == task), None)
    if entry is None:
        return None
    bindings: dict[str, object] = {
        "plan": plan,
        "namespaceObject": outer.bindings["namespaceObject"],
        "task": {**entry, "attempt": 1, "index": 0, "reads": [], **(given.get("task") or {})},
        "agent": entry["agent"] if given.get("agent") is None else {**(entry["agent"] or {}), **given["agent"]},
        "execution": {**_started(execution, outer), **(given.get("execution") or {})},
        "input": given.get("input") or {},
        "output": given.get("output"),
        "history": given.get("history") or [],
    }
    subjects = list(outer.subjects)
    agent = world.get("Agent", namespace, entry["agentName"])
    if agent is not None and (held := subject_of(agent)) is not None:
        subjects.append(held)
    made = Question(
        kind="Task",
        operation=asked.operation or "START",
        namespace=namespace,
        name=f"{name}/{task}",
        labels=outer.labels,
        namespace_labels=outer.namespace_labels,
        user=outer.user,
        groups=outer.groups,
        bindings=bindings,
        subjects=tuple(subjects),
    )
    return _with_request(made, dry_run=False)


def _started(execution: Object, question: Question) -> JSONObject:
    """The root `execution` of one that has just started."""
    metadata, spec = metadata_of(execution), execution.get("spec") or {}
    return {
        "name": question.name,
        "namespace": question.namespace,
        "uid": str(metadata.get("uid") or ""),
        "author": question.user,
        "labels": dict(question.labels),
        "inputs": spec.get("inputs") or {},
        "attempt": 1,
        "seconds": 0,
        "pods": 0,
        "retryOf": spec.get("retryOf") or "",
        "breakGlass": False,
    }


def judged_objects(world: World) -> Iterator[Object]:
    """All that policies may be about as it is now: Agents, Workflows, and Executions that have not ended."""
    for kind in SUBJECTS:
        for item in world.all(kind):
            if kind != "Execution" or not _ended(item):
                yield item


def _ended(item: Object) -> bool:
    status = item.get("status") or {}
    return status.get("phase") == "Completed" or is_finished(status)


def _with_request(question: Question, *, dry_run: bool) -> Question:
    bindings = {**question.bindings, "request": request_of(question, dry_run=dry_run)}
    return replace(question, bindings=bindings)
