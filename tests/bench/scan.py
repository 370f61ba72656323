"""How long policies take to judge what is there: computing alone, on one core.

    python -m tests.bench.scan [OBJECTS [POLICIES]]

prints the seconds for so many objects (10,000) and policies (20), and how often more than evaluating the bare rules.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ossa.api.contract import API_VERSION
from ossa.api.policy import AgentPolicy
from ossa.governance.findings import Findings
from ossa.governance.policies import compile_policy
from ossa.governance.policyset import PolicySet
from ossa.governance.world import SUBJECTS, Asked, World, question_of

JSONObject = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PER_NAMESPACE = 100
# Rules as packs have them: of the object, and of the plan.
RULES = (
    "object.metadata.name != '' && has(object.spec)",
    "!has(object.spec.timeout) || duration(object.spec.timeout) <= duration('24h')",
    "object.metadata.name.matches('^[a-z0-9-]+$') && size(object.metadata.name) < 63",
    "has(object.metadata.labels) && 'team' in object.metadata.labels",
)
PLAN_RULES = ("plan.tasks.all(t, t.agent == null || t.agent.risk != 'high' || t.approvedBefore)",)


@dataclass(frozen=True, slots=True)
class Figure:
    """judged: pairs of an object and a policy. bare: seconds that evaluating the same rules takes by itself."""

    objects: int
    judged: int
    seconds: float
    bare: float

    @property
    def ratio(self) -> float:
        """How often more a scan takes than its rules."""
        return self.seconds / self.bare


def objects(count: int) -> list[JSONObject]:
    """A third each of Agents, Workflows of six tasks, and Executions; a hundred a namespace."""
    made: list[JSONObject] = []
    for number in range(count):
        kind, place = SUBJECTS[number % 3], f"team-{number // PER_NAMESPACE}"
        metadata = {"name": f"o-{number}", "namespace": place, "uid": f"u-{number}", "labels": {"team": "a"}}
        made.append({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": _spec(kind, number)})
    return made


def _spec(kind: str, number: int) -> JSONObject:
    if kind == "Agent":
        return {"capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}, "owner": "me", "risk": "limited"}
    if kind == "Workflow":
        agent = f"o-{number - 1}"
        tasks: list[JSONObject] = [{"name": "t0", "agent": agent}]
        tasks += [{"name": f"t{n}", "agent": agent, "dependsOn": [f"t{n - 1}"]} for n in range(1, 6)]
        return {"version": "1", "tasks": tasks}
    return {"workflow": f"o-{number - 1}", "inputs": {"dataset": "wine"}}


def policies(count: int) -> PolicySet:
    """A fifth of them about plans, the others about all objects."""
    made = []
    for number in range(count):
        about_plan = number % 5 == 4
        rule = PLAN_RULES[0] if about_plan else RULES[number % 4]
        kinds = ["Workflow", "Execution"] if about_plan else list(SUBJECTS)
        spec = {"match": {"kinds": kinds}, "rules": [{"expression": rule}]}
        metadata = {"name": f"p-{number}", "uid": f"p-{number}", "generation": 1}
        item = {"apiVersion": API_VERSION, "kind": "AgentPolicy", "metadata": metadata, "spec": spec}
        made.append(compile_policy(AgentPolicy.model_validate(item)))
    return PolicySet(tuple(made))


def measure(count: int, of_policies: int) -> Figure:
    """One scan of everything."""
    held, items = policies(of_policies), objects(count)
    world, findings, judged = World.of(items), Findings(), 0
    began = time.process_time()
    for item in items:
        verdict = held.judge(question_of(world, item, Asked()), NOW)
        metadata = item["metadata"]
        findings.put((item["kind"], metadata["namespace"], metadata["name"]), metadata["uid"], verdict.judged, None)
        judged += len(verdict.judged)
    seconds = time.process_time() - began
    return Figure(count, judged, seconds, _bare(held, judged))


def _bare(held: PolicySet, judged: int) -> float:
    (item,) = objects(1)
    programs = [policy.rules[0].program for policy in held.policies if "plan" not in policy.reads]
    bindings = {"object": item}
    began = time.process_time()
    for number in range(judged):
        programs[number % len(programs)].evaluate(bindings)
    return time.process_time() - began


def main() -> None:
    """Prints the figures."""
    count, of_policies = (int(text) for text in (sys.argv[1:] + ["10000", "20"][len(sys.argv) - 1 :])[:2])
    found = measure(count, of_policies)
    print(
        f"{found.objects} objects x {of_policies} policies: {found.seconds:.1f} s for {found.judged} judgements, "
        f"{found.ratio:.1f} times the bare rules"
    )


if __name__ == "__main__":
    main()
