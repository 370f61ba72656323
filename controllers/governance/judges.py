"""The judge of each Execution, and the defaults of each Workflow, by the policies of this moment."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from controllers.cache import Key, ObjectCache
from ossa.api.base import JSONObject
from ossa.api.execution import Execution
from ossa.api.validation import InvalidSpecError, parse_spec
from ossa.api.workflow import WorkflowSpec
from ossa.engine.authors import author_of
from ossa.engine.decision import Decision
from ossa.engine.revision import Revision
from ossa.engine.rulings import NOBODY, Finding, Judge, Ruled
from ossa.governance.assessment import Assessment, assessment_of
from ossa.governance.defaults import defaults_for, with_defaults
from ossa.governance.plan import plan_of
from ossa.governance.policies import CompiledPolicy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question, request_of, spec_hash
from ossa.governance.ruling import LiveWorkflow, PolicyJudge

log = logging.getLogger("ossa.policy")

# Workflows for which an exception is there.
KEPT_HASHES = 500


class Policies(Protocol):
    """Where the policies of this moment are known: controllers.policycache."""

    def current(self) -> PolicySet:
        """All of them."""

    def namespace(self, name: str) -> JSONObject | None:
        """The root `namespaceObject`."""

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Labels of a namespace."""


class NoJudges:
    """Where there are no policies."""

    def know(self, namespace: str) -> bool:  # noqa: ARG002 - of the interface
        return True

    def of(self, execution: Execution) -> Judge:  # noqa: ARG002 - of the interface
        return NOBODY


class Judges(NoJudges):
    """Makes them. `workflows` are asked for exceptions alone, `agents` for how they are assessed now."""

    def __init__(self, policies: Policies, workflows: ObjectCache, agents: ObjectCache) -> None:
        self._policies = policies
        self._workflows = workflows
        self._agents = agents
        self._live_known: OrderedDict[Key, tuple[str, LiveWorkflow]] = OrderedDict()  # with their resourceVersions

    def know(self, namespace: str) -> bool:
        """Whether it can be said which policies are about a namespace: the watches start at different moments."""
        return self._policies.namespace(namespace) is not None

    def of(self, execution: Execution) -> Judge:
        """Of an Execution; it keeps the policies of this moment, whatever becomes of them."""
        held = self._policies.current()
        spec = execution.spec
        if not (held.of("Execution") or held.of("Task") or (spec.workflow is None and held.of("Workflow"))):
            return NOBODY
        namespace = execution.metadata.namespace
        return PolicyJudge(
            policies=held,
            namespace=self._policies.namespace(namespace),
            namespace_labels=self._policies.namespace_labels(namespace),
            workflow=partial(self._live, Key(namespace, spec.workflow_name)),
            assessments=partial(self._assessment, namespace),
        )

    def _assessment(self, namespace: str, agent: str) -> Assessment | None:
        item = self._agents.get(Key(namespace, agent))
        return assessment_of(item.get("spec") or {}) if item is not None else None

    def _live(self, key: Key) -> LiveWorkflow | None:
        item = self._workflows.get(key)
        if item is None:
            return None
        version = str(item["metadata"].get("resourceVersion"))
        held = self._live_known.get(key)
        if held is None or held[0] != version:
            held = self._live_known[key] = (version, _live_workflow(item))
            if len(self._live_known) > KEPT_HASHES:
                self._live_known.popitem(last=False)
        return held[1]


def _live_workflow(item: JSONObject) -> LiveWorkflow:
    try:
        digest = spec_hash(parse_spec(WorkflowSpec, item["spec"]))
    except InvalidSpecError:
        digest = ""  # of no exception
    return LiveWorkflow(item["metadata"]["uid"], (item.get("status") or {}).get("revision"), digest)


class Defaults:
    """Fills in what policies say where a Workflow leaves it out."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._known: tuple[tuple[str, int], ...] = ()

    def know(self, namespace: str) -> bool:
        """Whether it can be said which policies are about a namespace."""
        return self._policies.namespace(namespace) is not None

    def fill(self, workflow: JSONObject, revision: Revision) -> Revision:
        """The revision of a Workflow with its defaults."""
        held = self._policies.current()
        having = _having_defaults(held)
        if not having:
            return revision
        question = self._question(workflow, revision, having)
        return with_defaults(revision, defaults_for(held, question, datetime.now(UTC)))

    def changed(self) -> bool:
        """Whether they may be others than when this was asked last."""
        having = _having_defaults(self._policies.current())
        known = tuple((policy.uid, policy.generation) for policy in having)
        before, self._known = self._known, known
        return known != before or any(map(_sees_more, having))

    def _question(self, workflow: JSONObject, revision: Revision, having: list[CompiledPolicy]) -> Question:
        metadata = workflow["metadata"]
        namespace = metadata["namespace"]
        bindings: JSONObject = {
            "object": {**{key: value for key, value in workflow.items() if key != "status"}},
            "oldObject": None,
            "namespaceObject": self._policies.namespace(namespace),
        }
        if any("plan" in policy.reads for policy in having):
            agents = {name: (agent.spec, agent.image) for name, agent in revision.agents.items()}
            bindings["plan"] = plan_of(revision.workflow, revision.spec, agents)
        asked = Question(
            kind="Workflow",
            operation=None,
            namespace=namespace,
            name=metadata["name"],
            labels=metadata.get("labels") or {},
            namespace_labels=self._policies.namespace_labels(namespace),
            user=author_of("Workflow", metadata.get("annotations") or {}),
            bindings=bindings,
        )
        bindings["request"] = request_of(asked)
        return asked


def _having_defaults(policies: PolicySet) -> list[CompiledPolicy]:
    return [policy for policy in policies.of("Workflow") if policy.spec.defaults is not None]


def _sees_more(policy: CompiledPolicy) -> bool:
    """Whether more than the policy and the Workflow itself decides whether it applies."""
    held = (policy.spec.match, policy.spec.exclude)
    selected = any(one is not None and one.namespace_selector is not None for one in held)
    return selected or bool(policy.conditions)


Count = Callable[[Ruled, Finding], None]


def tell(execution: Execution, decision: Decision, count: Count) -> None:
    """Counts what policies said in a decision, and logs what is not as they want it."""
    for ruled in decision.rulings:
        for finding in ruled.ruling.findings:
            count(ruled, finding)
            if finding.outcome != "pass":
                _log(execution, ruled, finding)


def _log(execution: Execution, ruled: Ruled, finding: Finding) -> None:
    metadata = execution.metadata
    said = "policy denies" if finding.denies and not ruled.overruled else "policy is not met"
    details = {
        "policy": finding.policy,
        "policyVersion": finding.generation,
        "action": finding.action,
        "outcome": outcome_of(ruled, finding),
        "at": ruled.at,
        "namespace": metadata.namespace,
        "execution": metadata.name,
        "uid": metadata.uid,
        "task": str(ruled.unit) if ruled.unit is not None else None,
        "author": author_of("Execution", metadata.annotations) or None,
        "exception": finding.exception,
        "why": finding.message,
    }
    log.warning(said, extra={key: value for key, value in details.items() if value is not None})


def outcome_of(ruled: Ruled, finding: Finding) -> str:
    """The label `outcome`: overruled is what the break-glass annotation let pass."""
    return "overruled" if finding.denies and ruled.overruled else finding.outcome
