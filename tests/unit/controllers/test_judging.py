"""The parts of a judgement at admission that need no process."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.admission.denials import MESSAGE_MOST, clean, event_of
from controllers.admission.judging import DENIAL_MOST, SHOWN_DENIALS, denial_of
from controllers.admission.questions import Request, scope_of
from ossa.governance.review import policy_problems
from ossa.governance.verdict import Judgement, Violation
from tests.unit.controllers.reviews import GOOD, body

EXECUTION = {"workflow": "w", "inputs": {"x": 1}}


def denial(name: str, message: str = "it is bad") -> Judgement:
    return Judgement(name, f"uid-{name}", 1, "Enforce", "high", (Violation("r", "fail", message),), refuses=True)


def asked(old: dict[str, Any] | None, new: dict[str, Any], kind: str = "executions") -> Request:
    return Request(kind, "CREATE" if old is None else "UPDATE", new, old, user="alice")


@pytest.mark.parametrize(
    ("old", "new", "scope"),
    [
        (None, body(EXECUTION), "all"),
        (body(EXECUTION), body(EXECUTION), "nothing"),
        (body(EXECUTION), body(EXECUTION, finalizers=["a/b"]), "nothing"),
        (body(EXECUTION, labels={}), body(EXECUTION), "nothing"),
        (body(EXECUTION), body(EXECUTION, labels={"a": "b"}), "metadata"),
        (body(EXECUTION), body(EXECUTION, annotations={"a": "b"}), "metadata"),
        (body(EXECUTION), body({**EXECUTION, "priority": 3}, deletionTimestamp="x"), "nothing"),
        (body(EXECUTION), body({**EXECUTION, "priority": 3}), "all"),
        (body(EXECUTION), body({**EXECUTION, "cancel": True}), "stop"),
        (body({**EXECUTION, "cancel": False}), body({**EXECUTION, "cancel": True}), "stop"),
        (body(EXECUTION), body({**EXECUTION, "cancel": True, "suspend": True}), "stop"),
        (body(EXECUTION), body({**EXECUTION, "cancel": True, "priority": 3}), "all"),
        (body(EXECUTION), body({**EXECUTION, "cancel": True}, labels={"a": "b"}), "all"),
        (body({**EXECUTION, "suspend": True}), body(EXECUTION), "all"),
    ],
)
def test_what_a_change_is_judged_by(old: dict[str, Any] | None, new: dict[str, Any], scope: str) -> None:
    assert scope_of(asked(old, new)) == scope


def test_what_stops_an_execution_is_all_of_a_change_elsewhere() -> None:
    assert scope_of(asked(body({"cancel": False}), body({"cancel": True}), "workflows")) == "all"


def test_each_policy_that_refuses_is_named_up_to_a_number() -> None:
    assert denial_of(()) is None
    assert denial_of((denial("a"),)) == "policy 'a': it is bad"
    assert denial_of((denial("a"), denial("b"))) == (
        "2 policies refuse it:\n- policy 'a': it is bad\n- policy 'b': it is bad"
    )
    assert len(denial_of((denial("a", "x" * 10_000),)) or "") == DENIAL_MOST
    many = tuple(denial(f"p{number}") for number in range(SHOWN_DENIALS + 2))
    said = denial_of(many) or ""
    assert said.startswith(f"{len(many)} policies refuse it:\n")
    assert said.endswith(f"\n- and 2 more: p{SHOWN_DENIALS}, p{SHOWN_DENIALS + 1}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümlauts and 中文", "plain, with ümlauts and 中文"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eevil", "\\u202eevil"),
        ("\x00", "\\x00"),
    ],
)
def test_nothing_of_a_hostile_text_is_interpreted(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_an_event_is_no_longer_than_the_api_server_takes() -> None:
    request = Request("agents", "CREATE", body(GOOD["agents"]), None, user="\x1b" * 2000)
    event = event_of(request, denial("p" * 253, "\n" * 3000), broken_glass=False)
    assert len(event["message"]) == MESSAGE_MOST
    assert event["message"].isprintable()
    assert len(event["metadata"]["name"]) <= 253


def test_problems_of_a_policy_name_the_field_and_the_position() -> None:
    def problems(**spec: Any) -> list[str]:
        held = {"apiVersion": "ossa.dev/v1alpha1", "kind": "AgentPolicy", **body({**GOOD["agentpolicies"], **spec})}
        return policy_problems(held, {"ossa-system"})

    assert problems() == []
    assert problems(params={"namespace": "ossa-system", "name": "x"}) == []
    (problem,) = problems(params={"namespace": "other", "name": "x"})
    assert problem.startswith("spec.params.namespace: the operator reads no ConfigMaps in 'other'; put it into one of")
    (problem,) = problems(action="Deny")
    assert problem.startswith("spec.action: ")
    two = problems(rules=[{"expression": "object."}], params={"namespace": "other", "name": "x"})
    assert [problem.split(": ")[0] for problem in two] == ["spec.rules[0].expression", "spec.params.namespace"]
