"""The same seed gives the same plan, and a plan holds what a run is to see."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.validation import agent_problems
from ossa.api.workflow import WorkflowSpec
from ossa.engine.checks import workflow_problems
from tests.chaos import workloads
from tests.chaos.answers import QUIET, Answer, Rates, Request, drawn, message
from tests.chaos.model import behaviour, expected
from tests.chaos.plan import CLOCK_MOST, FAULTS, NODE_FAULTS, WORKFLOWS, faults, launches, node_faults

POST = Request("POST", "/api/v1/namespaces/n/pods", watch=False)


def test_a_seed_is_a_plan() -> None:
    for made in (launches, faults, node_faults):
        one, again, other = (list(islice(made(seed), 60)) for seed in (7, 7, 8))
        assert one == again
        assert one != other


def test_a_deck_holds_every_fault_as_often_as_it_says() -> None:
    size = sum(count for count, _, _ in FAULTS.values())
    for number in range(3):
        deck = list(islice(faults(3), number * size, (number + 1) * size))
        assert {kind: sum(fault.kind == kind for fault in deck) for kind in FAULTS} == {
            kind: count for kind, (count, _, _) in FAULTS.items()
        }
    assert {fault.kind for fault in islice(node_faults(3), len(NODE_FAULTS))} == set(NODE_FAULTS)


def test_what_is_left_out_leaves_the_others_alone_and_nothing_is_no_plan() -> None:
    kept = [fault for fault in islice(faults(5), 28) if fault.kind != "pod-deleted"]
    assert list(islice(faults(5, without={"pod-deleted"}), len(kept)))[:20] == kept[:20]
    assert list(faults(5, without=set(FAULTS))) == []


def test_faults_last_as_long_as_they_may() -> None:
    for fault in islice(faults(1), 200):
        _, least, most = FAULTS[fault.kind]
        assert least <= fault.seconds <= most
        assert abs(fault.value) <= CLOCK_MOST
        assert 0 <= fault.pick < 1


def test_the_load_is_of_all_workflows_and_each_has_a_model() -> None:
    made = list(islice(launches(1), 400))
    assert {launch.workflow for launch in made} == set(WORKFLOWS)
    assert len({launch.name for launch in made}) == len(made)
    phases = {expected(launch.workflow, launch.inputs).phase for launch in made}
    assert phases == {"Completed", "Failed"}
    assert {launch.steering.cancel_at is not None for launch in made} == {True, False}


def test_the_workloads_are_good_ones() -> None:
    assert agent_problems(AgentSpec.model_validate(workloads.agent()["spec"])) == []
    names = set()
    for item in workloads.workflows():
        spec = WorkflowSpec.model_validate(item["spec"])
        assert workflow_problems(spec) == []
        names.add(item["metadata"]["name"])
    assert names == {*WORKFLOWS, "leaf", "scheduled"}


def test_the_models_name_the_tasks_of_the_workloads() -> None:
    held = {item["metadata"]["name"]: WorkflowSpec.model_validate(item["spec"]) for item in workloads.workflows()}
    for launch in islice(launches(2), 300):
        spec = held[launch.workflow]
        assert set(expected(launch.workflow, launch.inputs).tasks) == {t.name for t in (*spec.tasks, *spec.finally_)}


@pytest.mark.parametrize(
    ("step", "attempt", "round_", "code"),
    [
        ({"fail": 0, "rounds": 0}, 1, 1, 0),
        ({"fail": 2, "rounds": 0}, 2, 1, 3),
        ({"fail": 2, "rounds": 0}, 3, 1, 0),
        ({"fail": 0, "rounds": 1}, 1, 1, 3),
        ({"fail": 0, "rounds": 1}, 2, 2, 0),
    ],
)
def test_a_pod_fails_as_often_as_its_step_says(step: dict[str, int], attempt: int, round_: int, code: int) -> None:
    value = {"step": {"add": 5, "ms": 1500, **step}, "values": [1, 2], "note": "x"}
    does = behaviour(value, attempt=attempt, round_=round_)
    assert (does.seconds, does.code, does.output) == (1.5, code, {"value": 8, "note": "x"})


# --- answers ---


def seeded() -> random.Random:
    return random.Random(1)  # noqa: S311 - no secret


def test_without_rates_nothing_is_answered_wrongly() -> None:
    rng = seeded()
    assert all(drawn(rng, POST, QUIET) is None for _ in range(1000))


def test_answers_come_as_often_as_their_rates() -> None:
    rng = seeded()
    rates = Rates(
        conflict=0.25, too_many=0.0, error=0.0, dropped_before=0.0, dropped_after=0.25, error_after=0.0, delayed=0.0
    )
    got = [drawn(rng, POST, rates) for _ in range(4000)]
    for wrong in ("409", "dropped-after"):
        assert 900 < sum(answer is not None and answer.wrong == wrong for answer in got) < 1100
    assert sum(answer is None for answer in got) > 1800


def test_only_what_makes_sense_is_answered() -> None:
    rng = seeded()
    get = Request("GET", "/api/v1/pods", watch=False)
    kopf = Request("GET", "/apis/ossa.dev/v1alpha1/executions", watch=True)
    own = Request("GET", "/apis/ossa.dev/v1alpha1/approvals", watch=True)
    got = {name: {_kind(drawn(rng, held, Rates().storm())) for _ in range(3000)} for name, held in
           (("get", get), ("kopf", kopf), ("own", own))}  # fmt: skip
    assert got["get"] == {None, "429", "500", "dropped-before", "delayed"}
    assert got["own"] - got["kopf"] == {"watch-410"}


def _kind(answer: Answer | None) -> str | None:
    return answer.wrong if answer is not None else None


def test_an_answer_is_a_status_of_the_api() -> None:
    assert (message("429")["code"], message("watch-410-event")["code"]) == (429, 410)
    assert message("409")["reason"] == "Conflict"
