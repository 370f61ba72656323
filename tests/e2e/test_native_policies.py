"""The API server says of an object what the operator says, by the policies that it holds itself."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from ossa.api.policy import AgentPolicy
from ossa.governance.native import Native, native_name, native_of
from ossa.governance.policies import CompiledPolicy, compile_policy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question, applies
from tests.e2e.harness import Namespace, Output, execution, kubectl, wait_for
from tests.e2e.harness.objects import resource

JSONObject = dict[str, Any]
T = TypeVar("T")

# Values of object.spec.inputs.x; the first object has none.
MISSING = object()
VALUES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "zero": 0,
    "one": 1,
    "minus": -1,
    "one-and-a-half": 1.5,
    "large": 2**53 + 1,
    "true": True,
    "false": False,
    "empty": "",
    "digit": "1",
    "text": "team-a/Image@sha256:0",
    "accent": "Émile",
    "minutes": "90m",
    "days": "1d",
    "list": ["a", "b"],
    "numbers": [1, 2.5, 3],
    "mixed": [1, "a", None, True],
    "none": [],
    "map": {"a": 1, "b": {"c": "d"}},
    "nothing": {},
    "null-within": {"a": None, "b": None},
    "maps": [{"a": 1, "b": "x"}, {"a": 2}, {"b": None}],
    "deep": {"b": {"c": None}},
}
X = "object.spec.inputs.x"
RULES = [
    # missing and null
    "has(X)",
    "!has(X)",
    "has(X) && X == null",
    "X == null",
    "X != null",
    "!has(X) || X == 'd'",
    "has(object.spec.inputs.x) ? X != '' : false",
    "has(object.spec.nothing) || has(object.metadata.labels)",
    "object.metadata.labels['team'] == 'a'",
    "has(object.metadata.labels) && 'team' in object.metadata.labels",
    "has(object.spec.suspend) && object.spec.suspend == false",
    # equality across types
    "X == 1",
    "X == 1.0",
    "X == '1'",
    "X == true",
    "X == ['a', 'b']",
    "X == []",
    "X.a == 1",
    "X.b != 'x'",
    "X in [1, 2]",
    "X in ['', '1']",
    "X['a'] == 1",
    "X[0] == 'a'",
    "'a' in X",
    "1 in X",
    "1.0 in X",
    # order
    "X > 0",
    "X >= 1.0",
    "X < 1.5",
    "X <= 'b'",
    "X < true",
    # logic, with what is neither true nor false
    "X",
    "!X",
    "X && true",
    "true || X",
    "X || true",
    "X ? true : false",
    "X == 1 || X == 'a'",
    "X.a == 1 || true",
    "X.a == 1 && false",
    # texts
    "size(X) > 1",
    "X.size() == 0",
    "X.startsWith('team-')",
    "X.endsWith('0')",
    "X.contains('@sha256:')",
    "X.matches('^[a-z-]+/')",
    "X.lowerAscii() == 'team-a/image@sha256:0'",
    "X.upperAscii() == 'ÉMILE'",
    "X.split('@').size() == 2",
    "X.split('').size() == 5",
    "duration(X) <= duration('1h')",
    "duration(X) > duration('1h')",
    # loops
    "X.all(i, i == 'a' || i == 'b')",
    "X.all(i, i > 0)",
    "X.exists(i, i == 'a')",
    "X.exists(i, i > 2)",
    "X.exists_one(i, i == 1)",
    "X.all(i, i.b == 'x')",
    "X.exists(i, i.a == 2)",
    "[X].filter(i, i != 'a').size() == 1",
    "[X].map(i, i) == [1]",
    "[1, 2, 3].map(i, i > 1, i).exists(i, i == X)",
    "X.all(k, X[k] == 1)",
    "X.exists(k, k == 'a')",
]
# Of agents: the schema says what is a map and what is a list.
AGENT_RULES = [
    "has(object.spec.data)",
    "has(object.spec.data.sources)",
    "has(object.spec.data) && has(object.spec.data.clearance)",
    "has(object.spec.documents.impactAssessment.expiresAt)",
    "object.spec.data.sources.filter(s, s.startsWith('a')).size() == 1",
    "(has(object.spec.data) ? object.spec.data.sources : []).map(s, s).exists(s, s == 'b')",
    "object.spec.capabilities.all(c, has(c.inputSchema))",
    "object.spec.capabilities.filter(c, has(c.inputSchema)).all(c, has(c.inputSchema.required))",
    "object.spec.capabilities[1].name == 'more'",
    "object.spec.userFacing",
    "object.spec.risk == 'high' || object.spec.owner != ''",
    "object.spec.runtime.resources.limits.cpu == '1'",
    "object.spec.runtime.resources.limits.cpu == 1",
    "has(object.metadata.labels) && has(object.metadata.labels.team)",
]
AGENTS: list[JSONObject] = [
    {},
    {"data": {"sources": ["a", "b"], "clearance": "public"}, "owner": "me", "userFacing": True},
    {"data": {}, "risk": "high", "userFacing": False},
    {"capabilities": [{"name": "do", "inputSchema": {}}, {"name": "more", "inputSchema": {"required": []}}]},
    {"documents": {"limits": "x"}, "runtime": {"handler": "a:b", "resources": {"limits": {"cpu": "1"}}}},
    {
        "documents": {"impactAssessment": {"url": "x"}},
        "runtime": {"handler": "a:b", "resources": {"limits": {"cpu": 1}}},
    },
]
CONDITIONS = [
    (["has(X)", "X == 1"], "false"),
    (["X == 1", "has(X)"], "false"),
    (["X.a == 1", "false"], "false"),
    (["false", "X.a == 1"], "false"),
    (["X"], "false"),
]
READS_VARIABLES = [
    "variables.small && (variables.named || X == 2)",
    "variables.named || X == 'a'",
    "has(X) ? variables.small : true",
    "variables.small",
    "variables.named == true",
]


def policy(name: str, namespace: str, *, kind: str = "Execution", **spec: Any) -> CompiledPolicy:
    """A policy over the executions of a namespace, which warns."""
    spec = {
        "match": {"kinds": [kind], "namespaces": [namespace]},
        "action": "Warn",
        "rules": [{"expression": "false", "message": "not met"}],
        **spec,
    }
    return compile_policy(
        AgentPolicy.model_validate(
            {
                "apiVersion": "ossa.dev/v1alpha1",
                "kind": "AgentPolicy",
                "metadata": {"name": name, "uid": name, "generation": 1},
                "spec": spec,
            }
        )
    )


def rules(*texts: str) -> list[JSONObject]:
    return [{"expression": text.replace("X", X), "message": "not met"} for text in texts]


def named(texts: Sequence[str]) -> list[JSONObject]:
    return [{"name": f"n{number}", "expression": text.replace("X", X)} for number, text in enumerate(texts)]


def all_policies(namespace: str) -> list[CompiledPolicy]:
    """Each rule as it is; some again where an error is ignored; conditions; variables; selections."""
    made = [policy(f"{namespace}-rule-{n}", namespace, rules=rules(text)) for n, text in enumerate(RULES)]
    made += [
        policy(f"{namespace}-agent-{n}", namespace, kind="Agent", rules=rules(text))
        for n, text in enumerate(AGENT_RULES)
    ]
    made += [
        policy(f"{namespace}-lenient-{n}", namespace, rules=rules(text), failurePolicy="Ignore")
        for n, text in enumerate(RULES[:14])
    ]
    made += [
        policy(f"{namespace}-when-{n}", namespace, matchConditions=named(texts), rules=rules(rule))
        for n, (texts, rule) in enumerate(CONDITIONS)
    ]
    variables = [
        {"name": "small", "expression": f"{X} < 3"},
        {"name": "named", "expression": f"variables.small && {X} == 1"},
        {"name": "unread", "expression": f"{X}.a.b"},
    ]
    made += [
        policy(f"{namespace}-variables-{n}", namespace, variables=variables, rules=rules(text))
        for n, text in enumerate(READS_VARIABLES)
    ]
    match = {"kinds": ["Execution"], "namespaces": [namespace]}
    selectors: list[JSONObject] = [
        {"matchLabels": {"team": "a"}},
        {"matchLabels": {"team": "b"}},
        {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]},
        {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
        {},
    ]
    for n, selector in enumerate(selectors):
        made.append(policy(f"{namespace}-selected-{n}", namespace, match={**match, "objectSelector": selector}))
        made.append(policy(f"{namespace}-excluded-{n}", namespace, exclude={"objectSelector": selector}))
    excludes: list[JSONObject] = [
        {"kinds": ["Agent"]},
        {"kinds": ["Execution"]},
        {"operations": ["UPDATE"]},
        {"operations": ["CREATE"], "namespaces": ["elsewhere"]},
        {"operations": ["CREATE"], "namespaces": [namespace]},
    ]
    made += [policy(f"{namespace}-without-{n}", namespace, exclude=held) for n, held in enumerate(excludes)]
    labels: JSONObject = {"matchLabels": {"e2e-none": "x"}}
    made.append(policy(f"{namespace}-elsewhere", namespace, match={**match, "namespaceSelector": labels}))
    return made


def native(held: CompiledPolicy) -> Native:
    found = native_of(held)
    assert isinstance(found, Native), (held.name, found)
    # Nobody owns these: the garbage collector would take them.
    for item in (found.policy, found.binding):
        del item["metadata"]["ownerReferences"]
    return found


@asynccontextmanager
async def in_force(namespace: Namespace, held: Sequence[CompiledPolicy]) -> AsyncIterator[None]:
    """While the API server holds these. The last one of all says when it has read the others."""
    guard = policy(f"{namespace.name}-guard", namespace.name)
    made = [native(one) for one in (*held, guard)]
    try:
        (await kubectl("create", "-f", "-", objects=[one.policy for one in made])).ok()
        (await kubectl("create", "-f", "-", objects=[one.binding for one in made])).ok()
        await wait_for(lambda: _is_warned(namespace, guard), "the API server to hold the policies")
        yield
    finally:
        names = [native_name(one.name) for one in (*held, guard)]
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            await kubectl("delete", kind, "--ignore-not-found", *names)


async def _is_warned(namespace: Namespace, guard: CompiledPolicy) -> bool:
    item = execution("run", "flow", {})
    said = await namespace.kubectl("create", "--dry-run=server", "-f", "-", objects=[item])
    return native_name(guard.name) in said.err


async def warned(namespace: Namespace, item: JSONObject) -> tuple[JSONObject, dict[str, str]]:
    """The object as it would be kept, and the policies that the API server warned of: fail, or error."""
    said = await namespace.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", objects=[item])
    kept = said.json()
    found: dict[str, str] = {}
    for name, message in re.findall(r"ValidatingAdmissionPolicy '(\S+)' with binding '\S+': (.*)", said.err):
        found[name] = "fail" if message.strip().endswith(": not met") else "error"
    return kept["items"][0] if kept["kind"] == "List" else kept, found


def said_by_us(held: CompiledPolicy, item: JSONObject) -> str | None:
    question = Question(
        kind=item["kind"],
        operation="CREATE",
        namespace=item["metadata"]["namespace"],
        name=item["metadata"]["name"],
        labels=item["metadata"].get("labels") or {},
        bindings={"object": item, "oldObject": None},
    )
    if not applies(held.spec, question):
        return None
    verdict = PolicySet(policies=(held,)).judge(question, datetime.now(UTC))
    outcome = verdict.judged[0].outcome if verdict.judged else "pass"
    if outcome == "error" and held.spec.failure_policy == "Ignore":
        return None
    return None if outcome == "pass" else outcome


def _batches(held: Sequence[T], size: int) -> list[Sequence[T]]:
    return [held[start : start + size] for start in range(0, len(held), size)]


def objects() -> list[JSONObject]:
    made = [execution(f"x-{name}", "flow", {} if x is MISSING else {"x": x}) for name, x in VALUES.items()]
    for n, item in enumerate(made):
        if n % 3:
            item["metadata"]["labels"] = {"team": "ab"[n % 3 - 1]}
    given = {"capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}}
    return made + [resource("Agent", f"agent-{n}", {**given, **spec}) for n, spec in enumerate(AGENTS)]


@pytest.mark.parametrize("part", range(4))
async def test_the_api_server_says_the_same(namespace: Namespace, part: int) -> None:
    told: set[str] = set()
    different: list[tuple[str, ...]] = []
    everything = all_policies(namespace.name)
    # The API server cuts warnings short where they are many.
    for held in _batches(everything[part::4], 8):
        async with in_force(namespace, held):
            for items in _batches(objects(), 4):
                for kept, found in await asyncio.gather(*(warned(namespace, item) for item in items)):
                    for one in held:
                        ours, theirs = said_by_us(one, kept), found.get(native_name(one.name))
                        told.add(str(ours))
                        if ours != theirs:
                            rule = one.rules[0].program.text
                            different.append((kept["metadata"]["name"], one.name, rule, f"{ours} / {theirs}"))
    assert told == {"None", "fail", "error"}
    assert not different, "\n".join(" ".join(held) for held in different)


async def test_a_native_policy_refuses(namespace: Namespace) -> None:
    held = policy(f"{namespace.name}-enforced", namespace.name, action="Enforce", rules=rules("X == 1"))
    (await namespace.kubectl("create", "-f", "-", objects=[execution("before", "flow", {"x": 2})])).ok()
    async with in_force(namespace, [held]):
        said = (await namespace.kubectl("create", "-f", "-", objects=[execution("bad", "flow", {"x": 2})])).refused()
        assert native_name(held.name) in said
        assert "not met" in said
        (await namespace.kubectl("create", "-f", "-", objects=[execution("good", "flow", {"x": 1})])).ok()
        # What was there before may be labelled, stopped and deleted; another change is one of the spec.
        (await namespace.kubectl("label", "execution", "before", "a=b")).ok()
        assert native_name(held.name) in (await _patched(namespace, {"priority": 5})).refused()
        (await _patched(namespace, {"suspend": True})).ok()
        assert native_name(held.name) in (await _patched(namespace, {"suspend": False})).refused()
        (await _patched(namespace, {"cancel": True})).ok()
        (await namespace.kubectl("delete", "execution", "before")).ok()


async def test_a_policy_that_reads_labels_sees_a_change_of_them(namespace: Namespace) -> None:
    rule = [{"expression": "has(object.metadata.labels) && 'team' in object.metadata.labels", "message": "not met"}]
    held = policy(f"{namespace.name}-labelled", namespace.name, action="Enforce", rules=rule)
    (await namespace.kubectl("create", "-f", "-", objects=[execution("before", "flow", {})])).ok()
    async with in_force(namespace, [held]):
        assert native_name(held.name) in (await namespace.kubectl("label", "execution", "before", "a=b")).refused()
        (await namespace.kubectl("label", "execution", "before", "team=a")).ok()
        assert native_name(held.name) in (await namespace.kubectl("label", "execution", "before", "team-")).refused()


async def _patched(namespace: Namespace, spec: JSONObject) -> Output:
    return await namespace.kubectl("patch", "execution", "before", "--type=merge", "-p", json.dumps({"spec": spec}))
