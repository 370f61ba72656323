"""What is evidence for a control, and how the report says it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from ossa.api.trail import TrailStatus
from ossa.governance.evidence import Ledger, Report, TrailGap
from ossa.governance.evidencepage import report_html
from ossa.governance.evidencereport import COLUMNS, report_json, rows, summary_text
from ossa.governance.framework import Framework
from ossa.governance.world import World
from ossa.governance.written import written

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FRAMEWORK = Framework.model_validate(
    {
        "name": "ours",
        "title": "Rules of ours",
        "dates": [{"date": "2025-01-01", "what": "The first"}, {"date": "2027-01-01", "what": "The rest"}],
        "controls": [
            {"id": "1", "title": "Owners", "kind": "technical", "looksAt": "Owners"},
            {"id": "2", "title": "Owners, and more", "kind": "technical", "unavailable": ["Trails are not built."]},
            {"id": "3", "title": "People", "kind": "organisational"},
            {"id": "4", "title": "Approvals", "kind": "technical", "records": ["approvals"]},
            {"id": "5", "title": "Stops", "kind": "technical", "records": ["stops"]},
            {"id": "6", "title": "Monitors", "kind": "technical", "records": ["monitors"]},
            {"id": "7", "title": "Nobody's", "kind": "technical"},
            {"id": "8", "title": "Logs", "kind": "technical", "records": ["trail"]},
            {"id": "9", "title": "Kept logs", "kind": "technical", "records": ["trail", "retention"]},
        ],
    }
)


def policy(name: str = "owners", *, ready: str | None = "True", **spec: Any) -> dict[str, Any]:
    held = {
        "match": {"kinds": ["Agent"]},
        "controls": [{"framework": "ours", "id": "1"}, {"framework": "ours", "id": "2"}],
        "rules": [{"expression": "has(object.spec.owner)", "message": "set an owner"}],
        **spec,
    }
    status = {} if ready is None else {"ready": ready, "message": "its params are not there"}
    return made("AgentPolicy", name, held, namespace="", status=status)


def made(kind: str, name: str, spec: dict[str, Any], *, namespace: str = "team", **more: Any) -> dict[str, Any]:
    return written(
        {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1},
            "spec": spec,
            **more,
        }
    )


def agent(name: str = "a", **spec: Any) -> dict[str, Any]:
    return made("Agent", name, {"capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}, **spec})


def report(
    *items: dict[str, Any],
    in_cluster: bool = True,
    trail: TrailStatus | TrailGap = "absent",
    **missing: tuple[str, ...],
) -> Report:
    ledger = Ledger(World.of(items), NOW, in_cluster=in_cluster, trail=trail, **missing)
    return ledger.report(FRAMEWORK, origin="from a test", notes=["agents: not looked at"])


def status(made_report: Report, control: str) -> str:
    return next(held.status for held in made_report.controls if held.control.id == control)


@pytest.mark.parametrize(
    ("items", "first", "second"),
    [
        ([policy(), agent(owner="me")], "enforced", "evidence-present"),
        ([policy(), agent(owner="me"), agent("b")], "not-met", "not-met"),
        ([policy(), policy("warns", action="Warn"), agent(owner="me")], "evidence-present", "evidence-present"),
        ([policy(action="Audit"), agent(owner="me")], "evidence-present", "evidence-present"),
        ([policy(action="Audit"), agent()], "not-met", "not-met"),
        ([policy(ready="False"), agent(owner="me")], "evidence-present", "evidence-present"),
        ([policy(ready=None), agent(owner="me")], "evidence-present", "evidence-present"),
        ([policy()], "evidence-present", "evidence-present"),
        ([policy(action="Audit")], "unavailable", "unavailable"),
        ([policy(ready="False")], "unavailable", "unavailable"),
        ([policy(match={"kinds": ["Task"]}, rules=[{"expression": "agent.owner != ''"}])], *["evidence-present"] * 2),
        ([policy(rules=[{"expression": "object.spec.owner =", "message": "x"}]), agent()], *["unavailable"] * 2),
        ([policy(rules=[{"expression": "object.spec.owner != ''"}]), agent()], "not-met", "not-met"),
        ([agent(owner="me")], "unavailable", "unavailable"),
        ([], "unavailable", "unavailable"),
    ],
)
def test_what_policies_are_evidence_for(items: list[dict[str, Any]], first: str, second: str) -> None:
    found = report(*items)
    assert (status(found, "1"), status(found, "2")) == (first, second)
    assert (status(found, "3"), status(found, "7")) == ("organisational", "unavailable")


def test_files_have_no_operator_that_could_say_ready() -> None:
    assert status(report(policy(ready=None), agent(owner="me"), in_cluster=False), "1") == "enforced"


def test_what_is_excepted_is_not_enforced() -> None:
    target = agent()
    from ossa.governance.world import subject_of  # noqa: PLC0415 - beside its only use

    subject = subject_of(target)
    assert subject is not None
    exception = made(
        "AgentPolicyException",
        "e",
        {
            "policy": "owners",
            "target": {"kind": "Agent", "name": "a", "specHash": subject.spec_hash},
            "owner": "me",
            "reason": "a trial",
            "expiresAt": "2026-01-02T00:00:00Z",
        },
    )
    exception["metadata"]["creationTimestamp"] = "2025-12-31T00:00:00Z"
    rules = {"maxDuration": "720h", "secondPerson": False}
    found = report(policy(exceptions=rules), target, exception)
    assert status(found, "1") == "evidence-present"
    (one,) = found.controls[0].evidence
    assert one.text == "Enforce: 0 of 1 objects keep to it; 1 are excepted"
    assert one.objects[0].why == "excepted by team/e"


def test_records_are_evidence_and_name_their_objects() -> None:
    approval = made("Approval", "ask", {"author": "alice"}, decisions={"bob": {"verdict": "Approved"}})
    stopped = made("Execution", "x", {"workflow": "w", "cancel": True}, status={"phase": "Failed"})
    found = report(approval, stopped, agent("watcher", type="monitor"))
    assert [status(found, control) for control in "456"] == ["evidence-present"] * 3
    shown = [held.evidence[0].objects[0] for held in found.controls[3:6]]
    assert [(one.kind, one.name, one.why) for one in shown] == [
        ("Approval", "ask", "Approved by bob"),
        ("Execution", "x", "was cancelled"),
        ("Agent", "watcher", "is a monitor"),
    ]
    assert [status(report(), control) for control in "456"] == ["unavailable"] * 3
    assert report(absent=("Approval",)).controls[3].evidence[0].text == "this cluster knows no Approvals"


def test_what_may_not_be_seen_is_said_and_never_called_enforced() -> None:
    unseen = report(policy(), agent(owner="me"), hidden=("Agent",))
    assert status(unseen, "1") == "evidence-present"
    assert "not all could be looked at" in unseen.controls[0].evidence[0].text
    assert unseen.controls[5].evidence[0].text == "there is no Agent of type monitor, as far as you may look"
    none = report(hidden=("AgentPolicy",))
    assert none.controls[6].evidence[0].text == "whether a policy of this control is there is not for you to see"


def test_an_approval_that_its_author_decided_speaks_against_it() -> None:
    approval = made("Approval", "ask", {"author": "alice"}, decisions={"alice": {"verdict": "Approved"}})
    assert status(report(approval), "4") == "not-met"
    of_two = {"author": "alice", "authors": ["alice", "bob"]}
    approval = made("Approval", "ask", of_two, decisions={"bob": {"verdict": "Approved"}})
    assert status(report(approval), "4") == "not-met"


def test_the_table_and_the_json_say_the_same() -> None:
    found = report(policy(), agent(owner="me"), agent("b"))
    assert COLUMNS == ("CONTROL", "STATUS", "TITLE", "EVIDENCE")
    assert [line[:4] for line in rows(found)][:4] == [
        ["1", "not-met", "Owners", "owners: Enforce: 1 of 2 objects do not keep to it (Agent team/b)"],
        ["2", "not-met", "Owners, and more", "owners: Enforce: 1 of 2 objects do not keep to it (Agent team/b)"],
        ["", "", "", "Trails are not built."],
        ["3", "organisational", "People", ""],
    ]
    assert summary_text(found) == "0 enforced, 0 evidence-present, 2 not-met, 6 unavailable, 1 organisational"
    (shown,) = report_json([found])["frameworks"]
    assert shown["summary"]["not-met"] == 2
    assert shown["dates"] == [
        {"date": "2025-01-01", "applies": True, "what": "The first"},
        {"date": "2027-01-01", "applies": False, "what": "The rest"},
    ]
    assert shown["controls"][0]["evidence"][0]["objects"] == [
        {"kind": "Agent", "namespace": "team", "name": "b", "why": "set an owner"}
    ]


HOSTILE = "</li></script><script>alert(1)</script>\"' onload=x \x1b[2J\u202e %s {0} ${{ 1 }} &amp;"


class _Page(HTMLParser):
    """What a browser would see: its elements, and their text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag != "meta":
            self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_are_text_everywhere() -> None:
    bad = agent()
    bad["metadata"] = {"name": HOSTILE, "namespace": HOSTILE, "labels": {HOSTILE: HOSTILE}}
    held = policy(HOSTILE, rules=[{"expression": "has(object.spec.owner)", "message": HOSTILE}])
    found = report(held, bad)
    assert status(found, "1") == "not-met"
    page = report_html([found])
    seen = _Page(page)
    assert "script" not in seen.elements
    assert seen.open == []  # each element is closed, in its place
    assert seen.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "open"}
    assert '</li></script><script>alert(1)</script>"' in seen.text
    table = "\n".join(cell for line in rows(found) for cell in line)
    for char in ("\x1b", "\u202e"):
        assert char not in page
        assert char not in table
    assert json.loads(json.dumps(report_json([found]))) == report_json([found])


def test_no_word_of_the_reports_own_says_more_than_there_is() -> None:
    found = report(policy(), agent(owner="me"))
    said = " ".join([report_html([found]), json.dumps(report_json([found])), summary_text(found)]).lower()
    assert "complian" not in said
    assert "certif" not in said


def test_a_large_cluster_makes_no_large_page() -> None:
    found = report(policy(), *(agent(f"a{number}") for number in range(300)))
    assert "and 250 more" in report_html([found])
    assert len(report_json([found])["frameworks"][0]["controls"][0]["evidence"][0]["objects"]) == 300


@pytest.mark.parametrize(
    ("more", "trail", "kept", "said"),
    [
        ({}, "evidence-present", "evidence-present", "12 links in 3 chains"),
        (
            {"faults": 2, "finding": "records: missing: 4-9"},
            "not-met",
            "not-met",
            "2 findings, the first: records: missing",
        ),
        ({"keptDays": 90}, "evidence-present", "not-met", "all proven"),
        ({"links": 0}, "unavailable", "evidence-present", "it is empty"),
        ({"verifiedAt": "2025-12-29T00:00:00Z"}, "unavailable", "unavailable", "and not since"),
    ],
)
def test_a_trail_is_evidence_while_it_is_proven_and_kept(
    more: dict[str, Any], trail: str, kept: str, said: str
) -> None:
    held = {
        "verifiedAt": "2025-12-31T20:00:00Z",
        "chains": 3,
        "links": 12,
        "faults": 0,
        "keptDays": 183,
        "archived": True,
    }
    found = report(trail=TrailStatus.model_validate({**held, **more}))
    assert (status(found, "8"), status(found, "9")) == (trail, kept)
    assert said in next(one.text for control in found.controls for one in control.evidence if one.source == "trail")


def test_without_a_trail_there_is_no_evidence() -> None:
    assert [status(report(), control) for control in "89"] == ["unavailable"] * 2
