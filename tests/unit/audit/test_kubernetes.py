"""The API server's audit log becomes entries: changes of our objects, each once, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ossa.audit.kubernetes import SINGLE, BadEvent, entries_of, events_of, slim

# What an API server of Kubernetes 1.34 wrote with manifests/audit/policy.yaml, a line each.
RECORDED = [json.loads(line) for line in (Path(__file__).parent / "apiserver.jsonl").read_text().splitlines()]
NOBODY = {"username": "system:anonymous"}
REFUSED = {"code": 403, "message": "no"}


def event(**more: Any) -> dict[str, Any]:
    """As the API server writes it."""
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "5f0c6a2e-8a39-4c6c-9d6b-0f6f6f6f6f6f",
        "stage": "ResponseComplete",
        "requestURI": "/apis/ossa.dev/v1alpha1/namespaces/lab/executions/x",
        "verb": "patch",
        "user": {"username": "bob", "groups": ["system:authenticated"]},
        "sourceIPs": ["6.6.6.6", "10.0.0.7"],
        "userAgent": "kubectl",
        "objectRef": {"resource": "executions", "namespace": "lab", "name": "x", "apiGroup": "ossa.dev"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-03-01T12:00:00.000001Z",
        "stageTimestamp": "2026-03-01T12:00:00.100000Z",
        **more,
    }


def test_what_an_api_server_writes_becomes_entries() -> None:
    told = [(entry.user, entry.verb, entry.name, entry.outcome, entry.status) for entry in entries_of(RECORDED)]
    assert told == [
        ("ossa-dev-admin", "create", "", "allowed", 201),  # of generateName the API server tells no name
        ("ossa-dev-admin", "create", "one", "allowed", 201),
        ("ossa-dev-admin", "patch", "one", "allowed", 200),
        ("ossa-dev-admin", "patch", "one", "failed", 422),
        ("ossa-dev-admin", "patch", "one", "allowed", 200),
        ("eve", "delete", "one", "denied", 403),
        ("ossa-dev-admin", "delete", "one", "allowed", 200),
        ("ossa-dev-admin", "delete", "one", "allowed", 200),
        ("ossa-dev-admin", "delete", "gen-4jtrj", "allowed", 200),
        ("", "delete", "x", "denied", 401),
        ("system:anonymous", "delete", "anon", "denied", 403),
    ]
    assert {entry.address for entry in entries_of(RECORDED)} == {"127.0.0.1"}
    assert [entry.reason for entry in entries_of(RECORDED) if "dry run" in entry.reason] == [
        "at the API server; a dry run"
    ]


def test_what_is_sent_of_an_event_gives_the_same_entry() -> None:
    whole = [{**item, "requestObject": {"spec": {"inputs": "secret"}}} for item in RECORDED]
    sent = [slim(item, "log:1") for item in whole]
    assert entries_of(sent) == entries_of(RECORDED)
    assert "secret" not in json.dumps(sent)
    assert slim(event(verb="get"), "log:1") is None
    with pytest.raises(BadEvent, match=r"log:1\.auditID"):
        slim({}, "log:1")


def test_of_many_that_nobody_signed_in_for_one_tells_with_a_count() -> None:
    flood = [event(auditID=f"id-{number}", user=NOBODY, responseStatus=REFUSED) for number in range(SINGLE + 30)]
    done = event(user=NOBODY, auditID="done")
    entries = entries_of([*flood, done, event(user={}, responseStatus={"code": 401}, stage="ResponseStarted")])
    assert [entry.count for entry in entries] == [1] * (SINGLE + 1) + [31]
    assert [entry.outcome for entry in entries].count("allowed") == 1  # what nobody did is never only counted
    assert (
        entries[-1]
        == entries_of([*flood, done, *flood, event(user={}, responseStatus={"code": 401}, stage="ResponseStarted")])[-1]
    )
    assert entries_of(flood)[-1].id != entries[-1].id


def test_a_change_becomes_an_entry() -> None:
    (entry,) = entries_of([event()])
    assert (entry.user, entry.verb, entry.resource, entry.namespace, entry.name) == (
        "bob",
        "patch",
        "executions",
        "lab",
        "x",
    )
    assert (entry.outcome, entry.status, entry.address) == ("allowed", 200, "10.0.0.7")
    assert entry.id.startswith("5f0c6a2e-8a39-4c6c-9d6b-0f6f6f6f6f6f/")
    assert len(entry.id) <= 64


@pytest.mark.parametrize(
    "other",
    [
        {"stage": "RequestReceived"},
        {"verb": "get"},
        {"objectRef": {"resource": "pods", "namespace": "lab", "name": "x"}},
        {"objectRef": None},
        {"stage": "ResponseStarted"},
    ],
)
def test_nothing_else_becomes_one(other: dict[str, Any]) -> None:
    assert list(entries_of([event(**other)])) == []


def test_the_same_event_is_one_entry_and_another_with_the_same_audit_id_is_not() -> None:
    # Whoever asks may choose the auditID, and must not hide a second change behind the first.
    again = event(requestReceivedTimestamp="2026-03-01T12:00:01Z", verb="delete")
    entries = list(entries_of([event(), event(), again]))
    assert [entry.verb for entry in entries] == ["patch", "delete"]
    assert len({entry.id for entry in entries}) == 2


@pytest.mark.parametrize(
    ("more", "outcome", "reason"),
    [
        (
            {"responseStatus": {"code": 403, "message": "a task needs an approval"}},
            "denied",
            "a task needs an approval",
        ),
        (
            {"responseStatus": {"code": 422, "message": "spec.inputs: 'secret'", "reason": "Invalid"}},
            "failed",
            "Invalid",
        ),
        ({"stage": "Panic", "responseStatus": None}, "failed", "at the API server"),
        ({"impersonatedUser": {"username": "eve"}}, "allowed", "impersonated by bob"),
        ({"requestURI": "/apis/ossa.dev/v1alpha1/x?a=b&dryRun=All"}, "allowed", "at the API server; a dry run"),
    ],
)
def test_how_it_ended(more: dict[str, Any], outcome: str, reason: str) -> None:
    (entry,) = entries_of([event(**more)])
    assert entry.outcome == outcome
    assert reason in entry.reason
    assert "secret" not in entry.reason


def test_who_was_impersonated_did_it() -> None:
    (entry,) = entries_of([event(impersonatedUser={"username": "eve"})])
    assert entry.user == "eve"


def test_a_list_and_a_single_event_are_taken() -> None:
    assert list(events_of(event())) == [event()]
    assert list(events_of({"apiVersion": "audit.k8s.io/v1", "kind": "EventList", "items": [event()]})) == [event()]


@pytest.mark.parametrize("document", [None, [], "x", {}, {"apiVersion": "v1"}, {"apiVersion": "audit.k8s.io/v1"}])
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(BadEvent):
        list(events_of(document))


@pytest.mark.parametrize(
    "item", [None, {}, {"auditID": "x", "stage": "Panic", "stageTimestamp": "soon"}, event(auditID="")]
)
def test_an_event_that_is_none_is_refused_by_its_place(item: object) -> None:
    with pytest.raises(BadEvent, match=r"items\[0\]"):
        list(entries_of([item]))


def test_long_texts_fit() -> None:
    long = event(auditID="a" * 64, user={"username": "u" * 2000}, sourceIPs=["1.1.1.1"] * 100_000 + ["f" * 99])
    long["objectRef"] |= {"name": "n" * 2000, "namespace": "s" * 2000, "resource": "r" * 2000}
    long["requestURI"] += "?" + '"' * 900_000
    (entry,) = entries_of([long])
    assert (len(entry.user), len(entry.name), len(entry.address)) == (512, 512, 64)
    assert (len(entry.namespace), len(entry.resource), entry.address) == (63, 64, "f" * 64)
    sent = slim(long, "log:1")
    assert len(json.dumps(sent)) < 20_000
    assert entries_of([sent]) == [entry]
