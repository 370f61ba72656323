"""What an assessment has found of an agent: it binds what was frozen before it, too.

A revision freezes what runs. How risky that is, how confidential what it gives and what it may be given is no part of
what runs but a judgement of it, and of two judgements the stricter one holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from ossa.api.agent import CLASSIFICATIONS, AgentData, AgentSpec, Classification, Risk
from ossa.api.base import JSONObject
from ossa.engine.revision import CompiledRevision
from ossa.engine.values import plain
from ossa.governance.plan import plan_of

T = TypeVar("T")
RISKS: tuple[Risk, ...] = get_args(Risk)


@dataclass(frozen=True, slots=True)
class Assessment:
    """Of one agent; None where nothing is said."""

    risk: Risk | None = None
    classification: Classification | None = None
    clearance: Classification | None = None


# The assessment of an Agent as it stands now; None where it is not there.
Assessments = Callable[[str], Assessment | None]


def assessment_of(spec: Mapping[str, Any]) -> Assessment:
    """By the spec of an Agent as the API server has it; what is not known here is not said."""
    data = spec.get("data")
    held: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    return Assessment(
        risk=_known(RISKS, spec.get("risk")),
        classification=_known(CLASSIFICATIONS, held.get("classification")),
        clearance=_known(CLASSIFICATIONS, held.get("clearance")),
    )


def in_force(frozen: AgentSpec, live: Assessment | None) -> AgentSpec:
    """The frozen agent with what is stricter of both assessments; the very same where its own is."""
    if live is None:
        return frozen
    data = frozen.data or AgentData()
    risk = _higher(RISKS, frozen.risk, live.risk)
    classification = _higher(CLASSIFICATIONS, data.classification, live.classification)
    clearance = _lower(CLASSIFICATIONS, data.clearance, live.clearance)
    if (risk, classification, clearance) == (frozen.risk, data.classification, data.clearance):
        return frozen
    stricter = data.model_copy(update={"classification": classification, "clearance": clearance})
    return frozen.model_copy(update={"risk": risk, "data": stricter})


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A revision as rules see it. All of it is as the runtime takes it, and not to be changed.

    entries: those of plan.tasks, by task. agents: their specs, with the assessments in force.
    """

    plan: JSONObject
    entries: Mapping[str, JSONObject]
    agents: Mapping[str, AgentSpec]


def view_of(revision: CompiledRevision, live: Assessments) -> RevisionView:
    """Made once for each of the assessments that the agents of a revision have."""
    frozen = revision.revision.agents
    agents = {name: in_force(agent.spec, live(name)) for name, agent in frozen.items()}
    stricter = [(name, spec.risk, spec.data) for name, spec in agents.items() if spec is not frozen[name].spec]
    key = f"view {stricter!r}"
    held = revision.memo.get(key)
    if not isinstance(held, RevisionView):
        with_images = {name: (spec, frozen[name].image) for name, spec in agents.items()}
        made = plan_of(revision.revision.workflow, revision.revision.spec, with_images)
        plan: JSONObject = {name: plain(value) for name, value in made.items()}
        held = revision.memo[key] = RevisionView(plan, {task["name"]: task for task in plan["tasks"]}, agents)
    return held


def _known(order: Sequence[T], text: object) -> T | None:
    return next((known for known in order if known == text), None)


def _higher(order: Sequence[T], one: T | None, other: T | None) -> T | None:
    return max((held for held in (one, other) if held is not None), key=order.index, default=None)


def _lower(order: Sequence[T], one: T | None, other: T | None) -> T | None:
    """None is lower than all."""
    return None if one is None or other is None else min(one, other, key=order.index)
