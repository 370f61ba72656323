"""What a scan remembers, and what it says has changed."""

from __future__ import annotations

from typing import Any

from ossa.governance.findings import Findings, ObjectKey
from ossa.governance.verdict import Judgement, Violation

A: ObjectKey = ("Agent", "team-a", "a")
B: ObjectKey = ("Agent", "team-a", "b")
RUN: ObjectKey = ("Execution", "team-b", "run")


def said(policy: str = "p", outcome: Any = "pass", *, exception: str | None = None, generation: int = 1) -> Judgement:
    violations = () if outcome == "pass" else (Violation("r", outcome, f"{outcome} of {policy}"),)
    return Judgement(policy, f"uid-{policy}", generation, "Enforce", "medium", violations, exception=exception)


def test_violations_are_counted_by_policy_and_kind() -> None:
    held = Findings()
    held.put(A, "1", [said("p", "fail"), said("q", "fail", exception="team-a/e")], None)
    held.put(B, "2", [said("p"), said("q", "deferred")], None)
    held.put(RUN, "3", [said("p", "error")], None)
    assert dict(held.counts()) == {("p", "Agent"): 1, ("p", "Execution"): 1}
    assert (held.violations("p"), held.violations("q"), held.violations("nobody")) == (2, 0, 0)
    news = held.take_news()
    assert news.reports == {("p", "team-a"), ("q", "team-a"), ("p", "team-b")}
    assert [(found.object, found.uid) for found in news.violations] == [(A, "1"), (RUN, "3")]
    assert news.policies == {"p"}


def test_the_same_again_is_no_news() -> None:
    held = Findings()
    held.put(A, "1", [said("p", "fail"), said("q")], None)
    held.take_news()
    held.put(A, "1", [said("p", "fail"), said("q")], None)
    news = held.take_news()
    assert (news.reports, news.passes, news.policies, news.violations) == (set(), set(), set(), [])


def test_what_keeps_to_the_policy_comes_and_goes_quietly() -> None:
    held = Findings()
    held.put(A, "1", [said()], None)
    held.drop(A)
    news = held.take_news()
    assert (news.reports, news.passes) == (set(), {("p", "team-a")})
    assert list(held.of(("p", "team-a"))) == []


def test_only_those_that_were_asked_are_replaced() -> None:
    held = Findings()
    held.put(A, "1", [said("p", "fail"), said("q", "fail")], None)
    held.put(A, "1", [said("p")], frozenset({"p"}))
    assert (held.violations("p"), held.violations("q")) == (0, 1)
    # One that was asked and is not about it any more has nothing to say.
    held.put(A, "1", [], frozenset({"q"}))
    assert list(held.of(("q", "team-a"))) == []
    assert held.violations("q") == 0


def test_another_object_of_the_same_name_is_another_violation() -> None:
    held = Findings()
    held.put(A, "1", [said("p", "fail")], None)
    held.take_news()
    held.put(A, "2", [said("p", "fail")], None)
    news = held.take_news()
    assert [found.uid for found in news.violations] == ["2"]
    assert held.violations("p") == 1


def test_a_policy_that_is_gone_leaves_nothing() -> None:
    held = Findings()
    held.put(A, "1", [said("p", "fail"), said("q", "fail")], None)
    held.put(RUN, "3", [said("p", "fail")], None)
    held.take_news()
    held.drop_policy("p")
    assert held.take_news().reports == {("p", "team-a"), ("p", "team-b")}
    assert dict(held.counts()) == {("q", "Agent"): 1}
    assert list(held.of(("p", "team-b"))) == []


def test_an_object_that_is_gone_leaves_nothing() -> None:
    held = Findings()
    held.put(A, "1", [said("p", "fail")], None)
    held.take_news()
    held.drop(A)
    assert held.take_news().reports == {("p", "team-a")}
    assert held.violations("p") == 0
