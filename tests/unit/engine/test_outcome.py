"""What a pod means: every way in which it can end or get stuck."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ossa.engine.attempt import Attempt
from ossa.engine.outcome import Done, Failure, Lost, Outcome, Waiting, judge
from ossa.engine.snapshot import PodView
from tests.unit.engine.world import NOW, agent, compiled, reference, spec

POD = PodView(name="pod", uid="uid-pod", task="a", attempt=1, phase="Pending", created_at=NOW)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "rows": {"type": "array"}}}


def outcome(*, after: float = 0, issued: bool = False, **fields: Any) -> Outcome:
    revision = compiled(spec({"name": "a"}), agent(outputSchema=SCHEMA))
    pod = replace(POD, **fields)
    attempt = Attempt(revision.tasks["a"], pod, NOW, (), lambda _reference, uid: issued and uid == pod.uid)
    return judge(attempt, NOW + timedelta(seconds=after))


def succeeded(message: str | None, **fields: Any) -> Outcome:
    return outcome(phase="Succeeded", exit_code=0, message=message, **fields)


def failure(result: Outcome) -> Failure:
    assert isinstance(result, Failure)
    return result


@pytest.mark.parametrize(
    ("message", "output"),
    [
        (None, {}),
        ("", {}),
        (" \n", {}),
        ('{"n": 1}', {"n": 1}),
        ('{"n": 2.0, "x": 0.5}', {"n": 2, "x": 0.5}),
        ('{"é": "ü"}', {"é": "ü"}),
    ],
)
def test_an_output_is_a_json_object(message: str | None, output: object) -> None:
    result = succeeded(message)
    assert isinstance(result, Done)
    assert result.output == output


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("[1]", "not an object"),
        ("hello", "is not JSON"),
        ('{"n": 1', "is not JSON"),
        ('{"x": NaN}', "is not JSON"),
        ('{"x": 1e999}', "cannot be kept"),
        ('{"x": "\\ud800"}', "surrogate"),
        ("[" * 4000, "nested too deeply"),
        ('{"x": ' + "[" * 70 + "]" * 70 + "}", "deeper than 64"),
        ('{"n": "x"}', "n: 'x' is not of type 'integer'"),
        ('{"x": "' + "y" * 4090 + '"}', "limit of 4096 bytes"),
        ('{"x": "' + "é" * 2045 + '"}', "limit of 4096 bytes"),
    ],
)
def test_anything_else_is_an_invalid_output(message: str, why: str) -> None:
    result = failure(succeeded(message))
    assert result.reason == "InvalidOutput"
    assert why in result.message


def test_an_output_just_below_the_limit_is_taken() -> None:
    text = json.dumps({"x": "y" * (4095 - 9)})
    assert len(text) == 4095
    assert isinstance(succeeded(text), Done)
    assert "limit of 3072 bytes" in failure(succeeded(text, containers=4)).message


def test_numbers_of_more_than_64_bits_become_what_the_api_makes_of_them() -> None:
    result = succeeded(json.dumps({"x": 10**30}))
    assert isinstance(result, Done)
    assert result.output == {"x": 1e30}


def test_references_must_be_issued_to_this_pod_or_received() -> None:
    message = json.dumps({"rows": reference()})
    assert "forged" in failure(succeeded(message)).message
    assert isinstance(succeeded(message, issued=True), Done)
    assert isinstance(succeeded(message, input_json=json.dumps({"deep": [reference()]})), Done)
    assert "forged" in failure(succeeded(message, input_json=json.dumps({"rows": reference(2)}))).message
    larger = {**reference(), "size": 1}
    assert "forged" in failure(succeeded(json.dumps({"r": larger}), input_json=json.dumps(reference()))).message
    malformed = json.dumps({"rows": {"$artifact": "x"}})
    assert "malformed at 'size'" in failure(succeeded(malformed, issued=True)).message


@pytest.mark.parametrize(
    ("fields", "reason", "why"),
    [
        ({"exit_code": 1, "terminated_reason": "Error"}, "Error", "exit code 1"),
        ({"exit_code": 2, "message": "a\nValueError: b\n"}, "Error", "exit code 2: ValueError: b"),
        (
            {"exit_code": 128, "terminated_reason": "StartError", "message": "no such file"},
            "Error",
            "(StartError): no such",
        ),
        ({"exit_code": 137, "terminated_reason": "OOMKilled"}, "OOMKilled", "limits.memory of Agent 'worker'"),
        ({"exit_code": 65, "message": "input.n: is required"}, "InvalidInput", "input.n: is required"),
        ({"exit_code": 76, "message": ""}, "InvalidOutput", "exit code 76"),
        ({"pod_reason": "Evicted", "pod_message": "low on memory"}, "Evicted", "low on memory"),
        ({"exit_code": 137, "pod_reason": "Evicted"}, "Evicted", "short of resources"),
        ({"pod_reason": "NodeLost"}, "NodeLost", "no longer answered"),
        ({"exit_code": 137, "terminated_reason": "ContainerStatusUnknown"}, "NodeLost", "was lost"),
        ({"pod_reason": "DeadlineExceeded"}, "Timeout", "activeDeadlineSeconds"),
        ({}, "Error", "failed before `main` ran"),
    ],
)
def test_a_failed_pod_has_a_reason(fields: dict[str, Any], reason: str, why: str) -> None:
    result = failure(outcome(phase="Failed", **fields))
    assert result.reason == reason
    assert why in result.message
    assert result.exit_code == fields.get("exit_code")
    assert result.has_log == ("exit_code" in fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"phase": "Failed", "exit_code": 143, "deleting": True},
        {"phase": "Failed", "deleting": True},
        {"phase": "Failed", "pod_reason": "OutOfcpu"},
        {"phase": "Failed", "pod_reason": "UnexpectedAdmissionError"},
        {"phase": "Failed", "pod_reason": "NodeShutdown"},
    ],
)
def test_a_pod_that_was_taken_away_is_lost(fields: dict[str, Any]) -> None:
    assert isinstance(outcome(**fields), Lost)


def test_a_pod_that_ended_well_while_it_was_deleted_counts() -> None:
    assert isinstance(succeeded('{"n": 1}', deleting=True), Done)


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [("InvalidImageName", "ImagePull"), ("ErrImageNeverPull", "ImagePull"), ("CreateContainerConfigError", "Error")],
)
def test_what_waiting_does_not_mend_fails_at_once(waiting: str, reason: str) -> None:
    result = failure(outcome(waiting_reason=waiting, waiting_message="why"))
    assert result.reason == reason
    assert f"{waiting}: why" in result.message


@pytest.mark.parametrize("waiting", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_gets_thirty_seconds(waiting: str) -> None:
    first = outcome(waiting_reason=waiting, waiting_message="not found", after=29)
    assert first == Waiting("waiting for image worker:1", NOW + timedelta(seconds=30))
    result = failure(outcome(waiting_reason=waiting, waiting_message="not found", after=30))
    assert result.reason == "ImagePull"
    assert f"'worker:1' cannot be pulled: {waiting}: not found" in result.message
    assert not result.has_log


def test_a_pod_without_a_node_says_so() -> None:
    assert outcome(unschedulable="0/3 nodes are available") == Waiting("waiting for a node: 0/3 nodes are available")
    assert outcome(waiting_reason="ContainerCreating") == Waiting()
    assert outcome(phase="Running", deleting=True) == Waiting()


def test_a_pod_whose_node_was_removed_is_lost() -> None:
    """The garbage collector of pods marks it as Failed before it deletes it."""
    lost = outcome(phase="Failed", disrupted="DeletionByPodGC")
    assert isinstance(lost, Lost)
    assert "its node is gone" in lost.message
    assert failure(outcome(phase="Failed", disrupted="DeletionByPodGC", exit_code=3)).exit_code == 3
    assert failure(outcome(phase="Failed", pod_reason="Evicted", disrupted="TerminationByKubelet")).reason == "Evicted"
