"""PolicyTest: what policies should say of objects, in a file beside them; never applied to a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ossa.api.base import JSONObject, Model, Timestamp
from ossa.api.policy import Operation
from ossa.engine.clock import from_text
from ossa.engine.values import shorten
from ossa.governance.objects import judge
from ossa.governance.verdict import Judgement, Outcome, Verdict
from ossa.governance.world import SUBJECTS, Asked, Key, Object, World, task_question
from ossa.governance.written import written

API_VERSION = "cli.ossa.dev/v1alpha1"
KIND = "PolicyTest"
# skip: the policy does not apply, by its match, its exclude or its conditions.
Expected = Literal["pass", "fail", "error", "excepted", "deferred", "skip"]
DEFAULT_NOW = "2026-01-01T00:00:00Z"
SHOWN = 300


class Expectation(Model):
    """What one policy should say."""

    policy: str = Field(min_length=1, description="Name of the policy.")
    outcome: Expected = Field(description="pass, fail, error, excepted, deferred or skip.")
    rules: dict[str, Outcome] = Field(
        default_factory=dict, description="pass, fail, error or deferred, by the rule's name, or rules[N]."
    )
    message: str = Field(default="", description="A part of what it says.")


class Case(Model):
    """One question, and what is expected."""

    name: str = Field(min_length=1, description="What the case shows.")
    object: JSONObject = Field(
        description="kind, name and namespace of one of the objects; or a whole object, with its spec."
    )
    old: JSONObject | None = Field(default=None, description="The whole object before an UPDATE.")
    task: str | None = Field(default=None, description="With an Execution: one of its tasks is judged.")
    bindings: JSONObject = Field(
        default_factory=dict,
        description="With a task: input, output and history, and what task, agent and execution hold besides.",
    )
    operation: Operation | Literal["SCAN"] = Field(
        default="CREATE", description="CREATE, UPDATE, START, END, or SCAN: as it is there already."
    )
    user: str | None = Field(default=None, description="Who asks; unset: the recorded author.")
    groups: list[str] = Field(default_factory=list, description="The groups of who asks.")
    params: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Data of ConfigMaps, by namespace/name; they win over those in the files."
    )
    now: Timestamp = Field(default=DEFAULT_NOW, description="The time that it is.")
    admitted: bool | None = Field(default=None, description="Whether all policies together let it pass.")
    expect: list[Expectation] = Field(default_factory=list, description="What single policies say.")


class PolicyTestFile(Model):
    """One file of cases."""

    api_version: Literal["cli.ossa.dev/v1alpha1"] = Field(description="cli.ossa.dev/v1alpha1")
    kind: Literal["PolicyTest"] = Field(description="PolicyTest")
    metadata: JSONObject = Field(default_factory=dict, description="name: what the file is about.")
    files: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=lambda: ["."],
        description="Policies and objects: files and folders, from this file's folder. Its own documents count too.",
    )
    cases: list[Case] = Field(min_length=1, description="The cases.")


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise than expected. where: policy, policy/rule, or ''."""

    where: str
    expected: str
    actual: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case."""

    name: str
    differences: tuple[Difference, ...]
    verdict: Verdict

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.differences


def run_case(world: World, case: Case) -> CaseResult:
    """Judges one case. Of the world the policies, params, exceptions and objects are taken."""
    item = _object(world, case)
    if isinstance(item, Difference):
        return CaseResult(case.name, (item,), Verdict())
    operation = None if case.operation == "SCAN" else case.operation
    asked = Asked(operation, case.user, case.groups, case.old)
    policies, now = world.policy_set(_params(case)), from_text(case.now)
    if case.task is None:
        verdict = judge(world, item, now, policies=policies, asked=asked)
    else:
        found = task_question(world, item, case.task, asked, case.bindings)
        if found is None:
            return CaseResult(case.name, (Difference("task", case.task, "its workflow has no such task"),), Verdict())
        verdict = policies.judge(found, now)
    known = frozenset(policy.name for policy in world.policies()[0])
    return CaseResult(case.name, tuple(_differences(case, verdict, known)), verdict)


def rule_outcomes(judgement: Judgement, label: str) -> Outcome:
    """What one rule of a judged policy says; all of it has no value where the policy's condition has none."""
    found = {held.rule: held.outcome for held in judgement.violations}
    return found.get(label, found.get("", "pass"))


def _object(world: World, case: Case) -> Object | Difference:
    held = case.object
    kind, metadata = str(held.get("kind")), held.get("metadata")
    if kind not in SUBJECTS:
        return Difference("object.kind", ", ".join(SUBJECTS), kind)
    if "spec" in held:
        whole = metadata if isinstance(metadata, Mapping) else {}
        return written({**held, "metadata": {"name": "an-object", "namespace": "default", **whole}})
    namespace, name = str(held.get("namespace") or "default"), str(held.get("name"))
    found = world.get(kind, namespace, name)
    return Difference("object", f"{kind} {namespace}/{name}", "is in none of the files") if found is None else found


def _params(case: Case) -> dict[Key, dict[str, str]]:
    made = {}
    for where, data in case.params.items():
        namespace, _, name = where.partition("/")
        made[namespace, name] = data
    return made


def _differences(case: Case, verdict: Verdict, known: frozenset[str]) -> Iterator[Difference]:
    judged = {held.policy: held for held in verdict.judged}
    for expectation in case.expect:
        if expectation.policy not in known:
            yield Difference(expectation.policy, expectation.outcome, "there is no such policy that compiles")
        else:
            yield from _of_policy(expectation, judged.get(expectation.policy))
    if case.admitted is not None and case.admitted == bool(verdict.denials):
        said = "; ".join(held.message for held in verdict.denials)
        yield Difference("", _admitted(case.admitted), _admitted(not case.admitted), shorten(said, SHOWN))


def _of_policy(expected: Expectation, judgement: Judgement | None) -> Iterator[Difference]:
    actual = "skip" if judgement is None else judgement.outcome
    said = "" if judgement is None or not judgement.violations else shorten(judgement.message, SHOWN)
    if actual != expected.outcome:
        yield Difference(expected.policy, expected.outcome, actual, said)
    if judgement is None:
        return
    for label, wanted in expected.rules.items():
        found = rule_outcomes(judgement, label)
        if found != wanted:
            yield Difference(f"{expected.policy}/{label}", wanted, found, said)
    if expected.message and expected.message not in judgement.message:
        yield Difference(f"{expected.policy} message", expected.message, said or "nothing")


def _admitted(admitted: bool) -> str:
    return "admitted" if admitted else "refused"
