"""What policies cost the process that judges by them, computing alone: time by their number, memory, and a scan.

    python -m tests.bench.judging memory

prints the MB that POLICIES_HELD policies add to a process.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from ossa.api.contract import API_VERSION
from ossa.api.policy import AgentPolicy
from ossa.governance.policies import compile_policy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question
from tests.bench import scan

JSONObject = dict[str, Any]
# Shapes of rules that governors write; each is true of `agent`.
RULES = (
    "has(object.spec.owner) && object.spec.owner != 'nobody-{n}'",
    "object.spec.capabilities.all(c, c.name != 'forbidden-{n}')",
    "!has(object.spec.risk) || object.spec.risk != 'risk-{n}'",
    "object.spec.runtime.container.image.contains('@sha256:') || object.metadata.name != 'x-{n}'",
    "request.operation == 'CREATE' || oldObject.spec != object.spec || {n} >= 0",
)
NAMESPACE = "team-a"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICIES_HELD = 500
SCANNED = (10_000, 20)
_TIMES = 200
_PAGE = 4096


def policy(number: int, match: JSONObject) -> JSONObject:
    """An AgentPolicy about Agents: Enforce, with one rule."""
    rule = {"expression": RULES[number % len(RULES)].replace("{n}", str(number)), "message": "it is not allowed"}
    spec = {"match": {"kinds": ["Agent"], **match}, "rules": [rule]}
    return {"apiVersion": API_VERSION, "kind": "AgentPolicy", "metadata": {"name": f"bench-{number}"}, "spec": spec}


def agent(number: int) -> JSONObject:
    """An Agent that all of them are met by."""
    spec = {
        "owner": "data-team",
        "purpose": "Quality control of measurements",
        "capabilities": [{"name": "apply-rules", "inputSchema": {"type": "object", "required": ["records"]}}],
        "runtime": {"container": {"image": "example/worker:1", "command": ["run"]}},
    }
    return {"apiVersion": API_VERSION, "kind": "Agent", "metadata": {"name": f"bench-{number}"}, "spec": spec}


def held(matching: int, *, others: int = 0) -> PolicySet:
    """So many policies about NAMESPACE, and others about as many other namespaces."""
    made = [policy(number, {"namespaces": [NAMESPACE]}) for number in range(matching)]
    made += [policy(matching + number, {"namespaces": [f"other-{number}"]}) for number in range(others)]
    named = [
        item | {"metadata": item["metadata"] | {"uid": item["metadata"]["name"], "generation": 1}} for item in made
    ]
    return PolicySet(tuple(compile_policy(AgentPolicy.model_validate(item)) for item in named))


def seconds(sets: Sequence[PolicySet]) -> list[float]:
    """Of one judgement by each, the median. They take turns, so that the machine's moods hit all."""
    question = Question(
        kind="Agent",
        operation="CREATE",
        namespace=NAMESPACE,
        name="bench-0",
        bindings={
            "object": agent(0) | {"metadata": {"name": "bench-0", "namespace": NAMESPACE}},
            "oldObject": None,
            "request": {"operation": "CREATE"},
            "namespaceObject": {"metadata": {"name": NAMESPACE, "labels": {}}},
        },
    )
    took: list[list[float]] = [[] for _ in sets]
    for policies in sets:
        verdict = policies.judge(question, NOW)
        assert {judgement.outcome for judgement in verdict.judged} == {"pass"}
    for _ in range(_TIMES):
        for policies, times in zip(sets, took, strict=True):
            began = time.perf_counter()
            policies.judge(question, NOW)
            times.append(time.perf_counter() - began)
    return [median(times) for times in took]


def added_megabytes() -> float:
    """What POLICIES_HELD policies, compiled and judged by once, add to a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.judging", "memory"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return float(answer.stdout)


def _memory() -> float:
    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE

    seconds([held(1)])  # what one policy brings along
    before = resident()
    many = held(POLICIES_HELD)
    seconds([many])
    return (resident() - before) / 1e6


def measure() -> dict[str, float]:
    """The figures; see admission.toml."""
    some, four_times, among_others = seconds([held(50), held(200), held(50, others=POLICIES_HELD)])
    count, of_policies = SCANNED
    return {
        "not_matching_ratio": among_others / some,
        "matching_ratio": four_times / some / 4,
        "policies_500_mb": added_megabytes(),
        "scan_s": scan.measure(count, of_policies).seconds,
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        print(f"{_memory():.1f}")
    else:
        print({name: round(value, 2) for name, value in measure().items()})
