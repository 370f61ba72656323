"""Which policies are looked at: the same as when each is asked by itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ossa.api.contract import API_VERSION
from ossa.api.policy import AgentPolicy
from ossa.governance.candidates import Candidates
from ossa.governance.policies import CompiledPolicy, compile_policy
from ossa.governance.question import Question, applies

NAMESPACES = st.lists(st.sampled_from(["a", "b", "a*", "*", "team-[x]"]), max_size=2)
SELECTIONS = st.fixed_dictionaries(
    {"kinds": st.just(["Agent"])},
    optional={
        "namespaces": NAMESPACES,
        "users": st.lists(st.sampled_from(["me", "you*"]), max_size=1),
        "objectSelector": st.just({"matchLabels": {"tier": "gold"}}),
        "operations": st.just(["UPDATE"]),
    },
)
EXCLUDES = st.none() | st.fixed_dictionaries({"namespaces": NAMESPACES})
QUESTIONS = st.builds(
    Question,
    kind=st.just("Agent"),
    operation=st.sampled_from(["CREATE", "UPDATE", None]),
    namespace=st.sampled_from(["a", "b", "ab", ""]),
    name=st.just("x"),
    labels=st.sampled_from([{}, {"tier": "gold"}]),
    user=st.sampled_from(["me", "yours", "other"]),
)


def compiled(number: int, match: dict[str, Any], exclude: dict[str, Any] | None) -> CompiledPolicy:
    spec = {"match": match, "rules": [{"expression": "true"}]} | ({} if exclude is None else {"exclude": exclude})
    metadata = {"name": f"p{number}", "uid": f"u{number}", "generation": 1}
    item = {"apiVersion": API_VERSION, "kind": "AgentPolicy", "metadata": metadata, "spec": spec}
    return compile_policy(AgentPolicy.model_validate(item))


@given(st.lists(st.tuples(SELECTIONS, EXCLUDES), max_size=6), QUESTIONS)
def test_they_are_those_that_apply_in_their_order(
    specs: list[tuple[dict[str, Any], dict[str, Any] | None]], question: Question
) -> None:
    policies = [compiled(number, *spec) for number, spec in enumerate(specs)]
    expected = [policy.name for policy in policies if applies(policy.spec, question)]
    assert [policy.name for policy in Candidates.of(policies).about(question)] == expected
