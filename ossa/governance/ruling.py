"""The engine's judge over a set of policies: what it asks them about Executions and attempts of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ossa.api.base import JSONObject, Model
from ossa.api.contract import ANNOTATION_BREAK_GLASS
from ossa.api.policy import JudgedKind, Operation
from ossa.engine.authors import author_of
from ossa.engine.clock import from_text
from ossa.engine.revision import AgentSnapshot, CompiledRevision
from ossa.engine.rulings import NOTHING_SAID, Finding, Ruling, RunCase, TaskCase
from ossa.governance.assessment import Assessment, Assessments, RevisionView, view_of
from ossa.governance.history import history_of, pods_so_far, reads_of
from ossa.governance.inline import workflow_of
from ossa.governance.policies import CompiledPolicy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Plain, Question, Subject, request_of, spec_hash
from ossa.governance.verdict import Judgement, Verdict, worst_of


@dataclass(frozen=True, slots=True)
class LiveWorkflow:
    """A Workflow as it stands now. revision: what it has published last. spec_hash: of all of its spec."""

    uid: str
    revision: str | None
    spec_hash: str


def _unknown() -> LiveWorkflow | None:
    return None


def _unassessed(_agent: str) -> Assessment | None:
    return None


@dataclass(frozen=True, slots=True)
class _Concerned:
    """Policies that are about something: their names, and the roots that they read."""

    names: frozenset[str]
    reads: frozenset[str]

    @classmethod
    def of(cls, held: Sequence[CompiledPolicy]) -> _Concerned:
        return cls(frozenset(p.name for p in held), frozenset().union(*(p.reads for p in held)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyJudge:
    """A `Judge` for one Execution.

    namespace: the root `namespaceObject`. workflow: gives the Execution's Workflow where it is there; asked where there
        are exceptions alone. assessments: of the Agents as they stand now.
    """

    policies: PolicySet
    namespace: JSONObject | None = None
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    workflow: Callable[[], LiveWorkflow | None] = _unknown
    assessments: Assessments = _unassessed
    _views: dict[str, RevisionView] = field(default_factory=dict, repr=False)
    # Which policies are about it hangs on the Execution alone: found once for all of its tasks.
    _concerned: dict[tuple[JudgedKind, Operation], _Concerned | None] = field(default_factory=dict, repr=False)

    def execution(self, case: RunCase) -> Ruling:
        """The question at the start of an Execution.

        Of one with a workflow of its own the policies about Workflows are asked too: what was left open when it was
        made, for want of an agent, is known by now.
        """
        verdicts = [self._start(case, "Execution", "START", lambda: _object(case))]
        if case.execution.spec.workflow_spec is not None:
            verdicts.append(self._start(case, "Workflow", "CREATE", lambda: workflow_of(_object(case))))
        return ruling_of(worst_of(verdicts))

    def _start(self, case: RunCase, kind: JudgedKind, operation: Operation, made: Callable[[], object]) -> Verdict:
        concerned = self._about(case, kind, operation)
        if concerned is None:
            return Verdict()
        roots: dict[str, Callable[[], object]] = {
            "object": made,
            "oldObject": lambda: None,
            "plan": lambda: Plain(self._view(case.revision).plan),
        }
        question = self._question(kind, operation, case, case.execution.metadata.name)
        return self._verdict(question, concerned, roots, case.now, self._subjects(case, None))

    def task(self, case: TaskCase) -> Ruling:
        """The question at the start of an attempt. An approval has none: who may approve stands in the plan."""
        return self._task("START", case)

    def output(self, case: TaskCase) -> Ruling:
        """The question about what an attempt gave."""
        return self._task("END", case)

    def _task(self, operation: Operation, case: TaskCase) -> Ruling:
        run, revision = case.run, case.run.revision
        concerned = self._about(run, "Task", operation)
        if concerned is None:
            return NOTHING_SAID
        name = case.unit.task
        roots: dict[str, Callable[[], object]] = {
            "plan": lambda: Plain(self._view(revision).plan),
            "execution": lambda: _execution(run),
            "task": lambda: Plain(_task_view(case, self._view(revision).entries[name])),
            "agent": lambda: Plain(self._view(revision).entries[name]["agent"]),
            "input": case.input,
            "history": lambda: Plain(history_of(run.tasks, revision, name, self._view(revision).agents)),
        }
        if operation == "END":
            roots["output"] = lambda: case.output
        question = self._question("Task", operation, run, f"{run.execution.metadata.name}/{case.unit}")
        return ruling_of(self._verdict(question, concerned, roots, run.now, self._subjects(run, case.task.agent)))

    def _view(self, revision: CompiledRevision) -> RevisionView:
        if revision.name not in self._views:
            self._views[revision.name] = view_of(revision, self.assessments)
        return self._views[revision.name]

    def _question(self, kind: JudgedKind, operation: Operation, case: RunCase, name: str) -> Question:
        held = case.execution.metadata
        return Question(
            kind=kind,
            operation=operation,
            namespace=held.namespace,
            name=name,
            labels=held.labels,
            namespace_labels=self.namespace_labels,
            user=author_of("Execution", held.annotations),
        )

    def _about(self, case: RunCase, kind: JudgedKind, operation: Operation) -> _Concerned | None:
        """The policies that are about it; None where none is."""
        key = (kind, operation)
        if key not in self._concerned:
            question = self._question(kind, operation, case, "")
            held = [policy for policy in self.policies.about(question) if policy.judges]
            self._concerned[key] = _Concerned.of(held) if held else None
        return self._concerned[key]

    def _verdict(
        self,
        question: Question,
        concerned: _Concerned,
        roots: Mapping[str, Callable[[], object]],
        now: datetime,
        subjects: tuple[Subject, ...],
    ) -> Verdict:
        reads = concerned.reads
        bindings = {root: make() for root, make in roots.items() if root in reads}
        if "request" in reads:
            bindings["request"] = request_of(question)
        if "namespaceObject" in reads:
            bindings["namespaceObject"] = self.namespace
        asked = replace(question, bindings=bindings, subjects=subjects)
        return self.policies.judge(asked, now, only=concerned.names)

    def _subjects(self, case: RunCase, agent: AgentSnapshot | None) -> tuple[Subject, ...]:
        """What an exception may name; of these only what one does name, since hashes cost."""
        held, revision = case.execution.metadata, case.revision
        namespace = held.namespace
        named = {(e.spec.target.kind, e.spec.target.name) for e in self.policies.exceptions_in(namespace)}
        found: list[Subject] = []
        if ("Execution", held.name) in named:
            found.append(Subject("Execution", namespace, held.name, held.uid, spec_hash(case.execution.spec)))
        if ("Workflow", revision.revision.workflow) in named:
            found += self._workflows(namespace, revision)
        if agent is not None and ("Agent", agent.name) in named:
            digest = agent.spec_hash or _hash_of(revision, f"agent {agent.name}", agent.spec)
            found.append(Subject("Agent", namespace, agent.name, agent.uid, digest))
        return tuple(found)

    def _workflows(self, namespace: str, revision: CompiledRevision) -> list[Subject]:
        """The Workflow, by the spec that the revision was made of; that has no triggers, which start and do not run."""
        live, made = self.workflow(), revision.revision
        if live is None:
            return []
        digests = {made.spec_hash or _hash_of(revision, "workflow", made.spec)}
        if live.revision == revision.name:
            digests.add(live.spec_hash)
        return [Subject("Workflow", namespace, made.workflow, live.uid, digest) for digest in sorted(digests)]


def _hash_of(revision: CompiledRevision, what: str, spec: Model) -> str:
    """The hash of a spec in a revision, made once."""
    key = f"hash of {what}"
    held = revision.memo.get(key)
    if not isinstance(held, str):
        held = revision.memo[key] = spec_hash(spec)
    return held


def ruling_of(verdict: Verdict) -> Ruling:
    """A verdict in the engine's words."""
    return Ruling(tuple(map(_finding, verdict.judged))) if verdict.judged else NOTHING_SAID


def _finding(held: Judgement) -> Finding:
    return Finding(
        policy=held.policy,
        generation=held.generation,
        action=held.action,
        outcome=held.outcome,
        denies=held.refuses,
        message=held.message if held.violations else "",
        exception=held.exception,
    )


def _task_view(case: TaskCase, entry: JSONObject) -> JSONObject:
    reads = sorted(reads_of(case.run.revision, case.unit.task))
    return {**entry, "attempt": case.attempt, "index": case.unit.index or 0, "reads": reads}


def _execution(case: RunCase) -> JSONObject:
    held = case.execution.metadata
    started = from_text(case.started_at) if case.started_at else case.now
    return {
        "name": held.name,
        "namespace": held.namespace,
        "uid": held.uid,
        "author": author_of("Execution", held.annotations),
        "labels": dict(held.labels),
        "inputs": case.inputs,
        "attempt": case.attempt,
        "seconds": max(0, int((case.now - started).total_seconds())),
        "pods": pods_so_far(case.tasks, case.revision),
        "retryOf": case.execution.spec.retry_of or "",
        "breakGlass": ANNOTATION_BREAK_GLASS in held.annotations,
    }


def _object(case: RunCase) -> JSONObject:
    """The Execution as the API server has it, without what the operator writes."""
    held: dict[str, Any] = case.execution.metadata.model_dump(by_alias=True, exclude_none=True)
    spec: Model = case.execution.spec
    return {
        "apiVersion": case.execution.api_version,
        "kind": case.execution.kind,
        "metadata": held,
        "spec": spec.to_json(),
    }
