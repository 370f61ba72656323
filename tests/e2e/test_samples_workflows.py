"""The sample of each feature of workflows, as a user applies and steers it, and what its comment promises."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ossa.api.execution import Execution
from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness import Namespace
from tests.e2e.harness.people import Person
from tests.e2e.test_pipeline import SAMPLES, samples

PATIENCE = 420.0  # seconds: one has a hundred pods, beside other tests
C, F, S = "Completed", "Failed", "Skipped"
FOLDER = SAMPLES / "workflows"

# Of each Execution of a file: how it ended, its outputs, and of each task the phase and the number of the last attempt.
Expected = dict[str, tuple[str, dict[str, Any] | None, dict[str, tuple[str, int]]]]
RESULTS: dict[str, Expected] = {
    "dependencies": {
        "dependencies": (
            C,
            {"sum": 63, "text": "21 and 42"},
            dict.fromkeys(("source", "once", "twice", "join", "announce"), (C, 1)),
        )
    },
    "conditions": {
        "conditions": (
            C,
            {"large": False, "small": True},
            {"count": (C, 1), "large": (S, 0), "small": (C, 1), "archive": (S, 0), "summary": (C, 1)},
        )
    },
    "repair": {
        "repair": (
            C,
            {"repaired": "exit code 7"},
            {
                "primary": (F, 1),
                "mirror": (C, 1),
                "publish": (S, 0),
                "repair": (C, 1),
                "any": (C, 1),
                "page": (S, 0),
            },
        )
    },
    "for-each": {
        "for-each": (
            C,
            {"lengths": [1, 2, 3], "squares": [1, 9, 25]},
            {"split": (C, 1), "measure": (C, 0), "square": (C, 0)},
        )
    },
    "retry": {
        "retry": (C, {"attempt": 3, "why": "Error"}, {"flaky": (C, 3), "hopeless": (F, 1), "blame": (C, 1)}),
    },
    "continue-on-error": {
        "continue-on-error": (
            C,
            {"number": -1, "each": [0, -1, 2]},
            {"optional": (F, 1), "use": (C, 1), "each": (F, 0)},
        )
    },
    "fail-fast": {
        "fail-fast-false": (F, None, {"breaks": (F, 1), "beside": (C, 1), "after": (C, 1), "never": (S, 0)}),
        "fail-fast-true": (F, None, {"breaks": (F, 1), "beside": (C, 1), "after": (S, 0), "never": (S, 0)}),
    },
    "finally": {
        "finally": (F, None, {"work": (F, 1), "clean-up": (C, 1), "celebrate": (S, 0), "report": (C, 1)}),
    },
    "inline": {
        "inline": (C, {"sum": 7, "workflow": ""}, {"first": (C, 1), "sum": (C, 1), "tell": (C, 1)}),
    },
    "many-items": {"many-items": (C, {"count": 100, "first": 0, "last": 99}, {"draw": (C, 0)})},
    "nested": {"nested": (C, {"once": 42, "each": [2, 4]}, {"once": (C, 1), "each": (C, 0)})},
    "execution-retry": {
        "execution-retry": (C, {"attempt": 2}, {"prepare": (C, 1), "fails-once": (C, 2), "after": (C, 1)}),
    },
    "resume": {
        "resume-first": (F, None, {"compute": (C, 1), "upload": (F, 1)}),
        "resume-second": (C, {"number": 5}, {"compute": (C, 1), "upload": (C, 1)}),
    },
    "priority-and-parallelism": {
        "priority-and-parallelism": (C, None, {"idle": (C, 1), "normal": (C, 1), "urgent": (C, 1)}),
    },
    "timeouts": {
        "timeouts": (C, None, {"slow": (F, 1), "never-fits": (F, 1), "nested": (F, 1)}),
        "timeouts-total": (F, None, {"slow": (F, 1)}),
        "timeouts-pending": (F, None, {}),
    },
}


async def apply(namespace: Namespace, name: str, *, author: str | None = None) -> None:
    """`kubectl apply -f` of one sample, by `author` where one is given."""
    items = samples(f"workflows/{name}.yaml", namespace.name)
    by = namespace.kubectl if author is None else Person(author, namespace).kubectl
    (await by("apply", "-f", "-", objects=items)).ok()


async def patch(namespace: Namespace, name: str, **spec: Any) -> None:
    """`kubectl patch` of the spec of an Execution."""
    change = json.dumps({"spec": spec})
    (await namespace.kubectl("patch", "execution", name, "--type=merge", "-p", change)).ok()


def results(ended: Execution) -> tuple[str, dict[str, Any] | None, dict[str, tuple[str, int]]]:
    """What is compared: the phase, the outputs where there are any, and the phase and attempt of each task."""
    tasks: dict[str, tuple[str, int]] = {name: (one.phase, one.attempt) for name, one in ended.status.tasks.items()}
    return ended.status.phase, ended.status.outputs or None, tasks


def test_every_sample_is_tested_and_says_what_comes_out() -> None:
    files = {path.stem: path.read_text() for path in FOLDER.glob("*.yaml")}
    assert files.keys() == RESULTS.keys() | {"locks", "approval", "suspend", "cancel", "ttl"}
    for name, text in files.items():
        head = [line for line in text.split("apiVersion", 1)[0].splitlines() if line.startswith("#")]
        assert 2 <= len(head) <= 4, name
        assert "Comes out: " in "\n".join(head), name


@pytest.mark.parametrize("name", RESULTS)
async def test_a_sample_gives_what_it_says(namespace: Namespace, name: str) -> None:
    await apply(namespace, name)
    ended = {run: await namespace.ends(run, patience=PATIENCE) for run in RESULTS[name]}
    found = {run: results(held) for run, held in ended.items()}
    assert found == RESULTS[name], await namespace.diagnosis()
    MORE.get(name, _nothing_more)(ended)


def _nothing_more(ended: dict[str, Execution]) -> None:
    """The results say all."""
    assert all(held.status.duration for held in ended.values())


def _check_for_each(ended: dict[str, Execution]) -> None:
    items = ended["for-each"].status.tasks["square"].items
    assert items is not None
    assert (items.total, items.completed, items.failed, items.active) == (3, 3, "", {})
    assert [held and held["index"] for held in items.outputs] == [0, 1, 2]


def _check_many_items(ended: dict[str, Execution]) -> None:
    status = ended["many-items"].status
    items, archive = status.tasks["draw"].items, status.archive
    assert items is not None
    assert (items.completed, items.outputs, items.active) == (100, [], {})
    assert archive is not None
    assert sum(part.size for part in archive.outputs) > 100 * 300


def _check_continue(ended: dict[str, Execution]) -> None:
    items = ended["continue-on-error"].status.tasks["each"].items
    assert items is not None
    assert (items.total, items.completed, items.failed) == (3, 2, "1")
    assert ended["continue-on-error"].status.error is None


def _check_fail_fast(ended: dict[str, Execution]) -> None:
    for held in ended.values():
        error = held.status.error
        assert error is not None
        assert (error.task, error.reason, error.exit_code) == ("breaks", "Error", 3)
    assert ended["fail-fast-true"].status.tasks["after"].message == "not started: task 'breaks' failed"


def _check_finally(ended: dict[str, Execution]) -> None:
    held = ended["finally"].status
    output = {"status": "Failed", "failed": "work", "reason": "Error"}
    assert held.tasks["clean-up"].output == output
    assert held.tasks["report"].output == {"of": output}
    assert held.error is not None
    assert (held.error.task, held.error.exit_code) == ("work", 5)


def _check_resume(ended: dict[str, Execution]) -> None:
    first, second = ended["resume-first"].status, ended["resume-second"].status
    assert second.tasks["compute"].message == "taken over from Execution resume-first"
    assert (second.revision, second.inputs) == (first.revision, {"number": 5})
    assert second.started_at
    assert first.completed_at
    assert second.started_at >= first.completed_at


def _check_order(ended: dict[str, Execution]) -> None:
    outputs = {name: held.output or {} for name, held in ended["priority-and-parallelism"].status.tasks.items()}
    order = sorted(outputs, key=lambda name: outputs[name]["begun"])
    assert order == ["urgent", "normal", "idle"]
    assert not overlaps([outputs[name] for name in order], most=1)


def _check_timeouts(ended: dict[str, Execution]) -> None:
    tasks = ended["timeouts"].status.tasks
    assert {held.reason for held in tasks.values()} == {"Timeout"}
    assert "pendingTimeout of 2s" in (tasks["never-fits"].message or "")
    for name in ("timeouts-total", "timeouts-pending"):
        error = ended[name].status.error
        assert error is not None
        assert (error.task, error.reason) == (None, "Timeout")
    assert ended["timeouts-total"].status.tasks["slow"].reason == "Timeout"


MORE = {
    "for-each": _check_for_each,
    "many-items": _check_many_items,
    "continue-on-error": _check_continue,
    "fail-fast": _check_fail_fast,
    "finally": _check_finally,
    "resume": _check_resume,
    "priority-and-parallelism": _check_order,
    "timeouts": _check_timeouts,
}


def overlaps(spans: list[dict[str, Any]], *, most: int) -> bool:
    """Whether more than `most` of the spans, each with `begun` and `ended` in seconds, were open at once."""
    events = sorted([(span["begun"], 1) for span in spans] + [(span["ended"], -1) for span in spans])
    running = 0
    for _, change in events:
        running += change
        if running > most:
            return True
    return False


async def test_a_nested_execution_that_runs_too_long_is_cancelled(namespace: Namespace) -> None:
    await apply(namespace, "timeouts")
    task = (await namespace.completes("timeouts")).status.tasks["nested"]
    assert (task.reason, "ran longer than its timeout of 2s" in (task.message or "")) == ("Timeout", True)
    await namespace.fails(task.pod or "", reason="Cancelled")


async def test_nested_executions_belong_to_their_parent(namespace: Namespace) -> None:
    await apply(namespace, "nested")
    parent = await namespace.completes("nested")
    listed = (await namespace.cluster.api.get(paths.ossa("executions", namespace.name)))["items"]
    children = [item for item in listed if item["spec"]["workflow"] == "nested-double"]
    assert sorted(item["spec"]["inputs"]["number"] for item in children) == [1, 2, 21]
    assert {owner["uid"] for item in children for owner in item["metadata"]["ownerReferences"]} == {parent.metadata.uid}


async def test_locks_are_held_by_as_many_as_they_say(namespace: Namespace) -> None:
    names = ("locks-1", "locks-2")
    await apply(namespace, "locks")

    async def two_at_once() -> bool:
        held = [(await namespace.get("executions", name)).get("status", {}).get("tasks", {}) for name in names]
        return sum(len(tasks.get("measure", {}).get("items", {}).get("active", {})) for tasks in held) == 2

    await namespace.wait(two_at_once, "the semaphore to let two in")
    outputs = [(await namespace.completes(name)).status.outputs or {} for name in names]
    assert not overlaps([held["write"] for held in outputs], most=1)
    measured = [span for held in outputs for span in held["measure"]]
    assert len(measured) == 8
    assert not overlaps(measured, most=2)


async def test_an_approval_is_waited_for_and_given(namespace: Namespace) -> None:
    await apply(namespace, "approval", author="alice")

    def waits(held: Execution) -> bool:
        return "release" in held.status.tasks and held.status.tasks["release"].phase == "Waiting"

    await namespace.reaches("approval", waits, "to wait for people")

    async def asked() -> list[Any] | None:
        listed: list[Any] = (await namespace.ossa("approvals", "-o", "json")).json()
        return listed

    (question,) = await namespace.wait(asked, "the Approval to be made")
    assert (question["message"], question["author"]) == ("Release 1.2.3?", "alice")
    (await namespace.ossa("approve", "approval", "release")).ok()
    ended = await namespace.completes("approval")
    me = (await namespace.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")).ok()
    assert ended.status.outputs == {"by": [me]}


async def test_suspended_from_the_start_and_let_go(namespace: Namespace) -> None:
    await apply(namespace, "suspend")
    paused = await namespace.reaches("suspend", lambda held: held.status.phase == "Paused", "to be Paused")
    assert paused.status.message == "suspended: set spec.suspend to false to go on"
    assert await namespace.pods() == []
    await patch(namespace, "suspend", suspend=False)
    ended = await namespace.completes("suspend")
    assert results(ended) == (C, None, {"first": (C, 1), "second": (C, 1)})


async def test_cancelled_it_stops_its_pod_and_runs_finally(namespace: Namespace) -> None:
    await apply(namespace, "cancel")

    def runs(held: Execution) -> bool:
        return "sleeps" in held.status.tasks and held.status.tasks["sleeps"].pod is not None

    running = await namespace.reaches("cancel", runs, "to run")
    await patch(namespace, "cancel", cancel=True)
    ended = await namespace.fails("cancel", reason="Cancelled")
    assert results(ended) == (F, None, {"sleeps": (F, 1), "after": (S, 0), "clean-up": (C, 1)})
    assert ended.status.tasks["clean-up"].output == {"reason": "Cancelled"}
    await namespace.is_gone(running.status.tasks["sleeps"].pod or "")
    undone = await namespace.kubectl("patch", "execution", "cancel", "--type=merge", "-p", '{"spec":{"cancel":false}}')
    assert "cancel" in undone.refused()


async def test_it_is_deleted_some_time_after_its_end(namespace: Namespace) -> None:
    await apply(namespace, "ttl")
    ended = await namespace.completes("ttl")
    completed = datetime.fromisoformat(ended.status.completed_at or "")

    async def gone() -> bool:
        try:
            await namespace.get("executions", "ttl")
        except NotFound:
            return True
        return False

    await namespace.wait(gone, "the Execution to be deleted")
    assert 4 <= (datetime.now(completed.tzinfo) - completed).total_seconds() < 60


async def test_a_namespace_may_limit_its_pods(namespace: Namespace) -> None:
    """Between executions too; a task that waits for a child Execution is no pod, and keeps no place."""
    (await namespace.kubectl("annotate", "namespace", namespace.name, "ossa.dev/parallelism=1")).ok()
    await asyncio.gather(apply(namespace, "priority-and-parallelism"), apply(namespace, "nested"))
    await namespace.start("priority-and-parallelism", name="second")
    ended = [await namespace.completes(name) for name in ("priority-and-parallelism", "second", "nested")]
    spans = [held.output or {} for one in ended[:2] for held in one.status.tasks.values()]
    assert len(spans) == 6
    assert not overlaps(spans, most=1)


async def test_an_execution_that_holds_its_workflow_is_run_once_more_and_refused_like_any(namespace: Namespace) -> None:
    await apply(namespace, "inline")
    first = await namespace.completes("inline")
    assert (first.spec.workflow, first.status.tasks["tell"].output) == (None, {"status": "Completed", "workflow": ""})
    again = (await namespace.ossa("rerun", "inline", "--name", "again", "--watch", "-o", "json")).lines()
    assert (again[0]["spec"].get("workflow"), again[-1]) == (None, {"phase": "Completed", "progress": "3/3"})
    assert (await namespace.execution("again")).status.revision == first.status.revision

    held = samples("workflows/inline.yaml", namespace.name)[-1]
    tasks = held["spec"]["workflowSpec"]["tasks"]
    tasks[0]["when"] = "${{ tasks.nobody.phase == 'Failed' }}"
    refused = (
        await namespace.kubectl("create", "-f", "-", objects=[{**held, "metadata": {"generateName": "x-"}}])
    ).refused()
    assert "spec.workflowSpec.tasks[0].when: there is no task 'nobody'" in refused
    held["spec"]["workflow"] = "inline"
    refused = (
        await namespace.kubectl("create", "-f", "-", objects=[{**held, "metadata": {"generateName": "x-"}}])
    ).refused()
    assert "set exactly one of workflow" in refused


async def test_the_ossa_command_runs_the_workflow_of_a_file(namespace: Namespace, tmp_path: Path) -> None:
    workflow = {"apiVersion": "ossa.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "from-a-file"}}
    await apply(namespace, "inline")  # its agent
    task = {"name": "echo", "agent": "inline-echo", "input": {"n": "${{ inputs.n }}"}}
    spec = {"tasks": [task], "outputs": {"n": "${{ tasks.echo.output.n }}"}, "triggers": []}
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps({**workflow, "spec": spec}))
    told = (await namespace.ossa("run", "-f", str(file), "-i", "n=5", "--name", "ran", "--watch", "-o", "json")).lines()
    assert told[-1] == {"phase": "Completed", "progress": "1/1"}
    assert (await namespace.execution("ran")).status.outputs == {"n": 5}


async def test_the_ossa_command_steers_and_runs_once_more(namespace: Namespace) -> None:
    await apply(namespace, "cancel")
    assert (await namespace.ossa("suspend", "cancel")).ok() == "execution.ossa.dev/cancel suspended\n"
    await namespace.reaches("cancel", lambda held: held.status.phase == "Paused", "to be Paused")
    assert (await namespace.ossa("resume", "cancel")).ok() == "execution.ossa.dev/cancel resumed\n"
    await namespace.reaches("cancel", lambda held: held.status.phase == "Running", "to go on")
    assert (await namespace.ossa("cancel", "cancel")).ok() == "execution.ossa.dev/cancel cancelled\n"
    await namespace.fails("cancel", reason="Cancelled")
    assert "it has ended, and is Failed" in (await namespace.ossa("suspend", "cancel")).refused()

    await namespace.apply(*samples("workflows/resume.yaml", namespace.name)[:-1])
    await namespace.fails("resume-first", reason="Error")
    again = (await namespace.ossa("retry", "resume-first", "--name", "third", "--watch", "-o", "json")).lines()
    assert again[0]["spec"] == {"workflow": "resume", "retryOf": "resume-first"}
    assert again[-1] == {"phase": "Completed", "progress": "2/2"}
    third = await namespace.execution("third")
    assert third.status.tasks["compute"].message == "taken over from Execution resume-first"
    anew = (await namespace.ossa("rerun", "third", "--name", "fourth", "--watch", "-o", "json")).lines()
    assert anew[0]["spec"] == {"workflow": "resume", "inputs": {"number": 5}}
    assert anew[-1] == {"phase": "Completed", "progress": "2/2"}
