"""What is drawn: graphs, what policies say, and what becomes of pods."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from ossa.api.workflow import WorkflowSpec
from ossa.engine.rulings import NOBODY, Finding, Ruling, RunCase, TaskCase
from tests.unit.engine.world import reference, spec

OUTPUT_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}

ENDINGS: list[dict[str, Any]] = [
    {"phase": "Succeeded", "exit_code": 0, "message": '{"n": 1}'},
    {"phase": "Succeeded", "exit_code": 0, "message": '{"n": 0}'},
    {"phase": "Succeeded", "exit_code": 0, "message": ""},
    {"phase": "Succeeded", "exit_code": 0, "message": '{"n": "x"}'},
    {"phase": "Succeeded", "exit_code": 0, "message": "not JSON"},
    {"phase": "Succeeded", "exit_code": 0, "message": json.dumps({"n": 1, "r": reference()})},
    {"phase": "Running", "exit_code": 0, "message": '{"n": 2}', "containers": 2},
    {"phase": "Failed", "exit_code": 1, "terminated_reason": "Error", "message": "boom"},
    {"phase": "Failed", "exit_code": 137, "terminated_reason": "OOMKilled"},
    {"phase": "Failed", "pod_reason": "Evicted"},
    {"phase": "Failed", "pod_reason": "OutOfcpu"},
]
STANDINGS: list[dict[str, Any]] = [
    {"phase": "Running"},
    {"phase": "Pending", "waiting_reason": "ImagePullBackOff"},
    {"phase": "Pending", "waiting_reason": "InvalidImageName"},
    {"phase": "Pending", "unschedulable": "0/1 nodes are available"},
]


# What a task may be besides.
WAYS: list[dict[str, Any]] = [
    {},
    {},
    {
        "retry": {
            "maxAttempts": 2,
            "backoff": {"initial": "1s"},
            "reasons": ["Error", "Timeout", "OOMKilled", "InvalidOutput"],
        }
    },
    {"continueOnError": True, "defaultOutput": {"n": 0}},
    {"forEach": {"range": {"count": 3}, "parallelism": 2}},
    {"forEach": {"range": {"count": 2}}, "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}}},
    {"locks": [{"name": "one"}]},
]


@st.composite
def workflows(draw: st.DrawFn) -> WorkflowSpec:
    """A workflow without cycles; its expressions may fail."""
    tasks: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        above = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        task: dict[str, Any] = {"name": f"t{number}", "dependsOn": [f"t{parent}" for parent in above]}
        reads, asks, timed = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        if above and reads:
            task["input"] = {"n": f"${{{{ tasks.t{above[0]}.output.n }}}}"}
        if above and asks:
            task["when"] = f"${{{{ has(tasks.t{above[-1]}.output.n) && tasks.t{above[-1]}.output.n > 0 }}}}"
        if timed:
            task["timeout"] = "1m"
        task |= draw(st.sampled_from(WAYS))
        tasks.append(task)
    outputs = {"n": "${{ has(tasks.t0.output.n) }}"} if draw(st.booleans()) else {}
    more: dict[str, Any] = {"outputs": outputs, "failFast": draw(st.booleans())}
    if draw(st.booleans()):
        more["finally_"] = [{"name": "last"}]
    if draw(st.booleans()):
        more["retry"] = {"maxAttempts": 2, "backoff": {"initial": "1s"}}
    if draw(st.booleans()):
        more["parallelism"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        more["timeout"] = "3m"
    return spec(*draw(st.permutations(tasks)), **more)


TASKS = [*(f"t{number}" for number in range(6)), "last"]
DENIAL = Ruling((Finding("a-policy", 1, "Enforce", "fail", denies=True, message="no"),))
WARNING = Ruling((Finding("a-policy", 1, "Warn", "fail", message="hm"),))


@dataclass(frozen=True)
class Denier:
    """A judge that denies by name: the start of tasks, every other item of some, what some gave, or all of it."""

    starts: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    everything: bool = False

    def denied(self, task: str, index: int | None) -> bool:
        return task in self.starts or (task in self.items and (index or 0) % 2 == 1)

    def execution(self, _case: RunCase) -> Ruling:
        return DENIAL if self.everything else WARNING

    def task(self, case: TaskCase) -> Ruling:
        return DENIAL if self.denied(case.unit.task, case.unit.index) else WARNING

    def output(self, case: TaskCase) -> Ruling:
        return DENIAL if case.unit.task in self.outputs else WARNING


NAMES = st.frozensets(st.sampled_from(TASKS), max_size=2)
JUDGES = st.one_of(
    st.just(NOBODY),
    st.just(NOBODY),
    st.builds(Denier, starts=NAMES, items=NAMES, outputs=NAMES),
    st.builds(Denier, everything=st.just(True)),
)
