"""How a task can fail: each with its reason, and a message that names the task and says what to do."""

from __future__ import annotations

import pytest

from ossa.api.execution import Execution, ExecutionError
from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import says, schema

NUMBER, TEXT = {"type": "integer"}, {"type": "string"}


def error_of(ended: Execution) -> ExecutionError:
    """What went wrong; that the status, its conditions and its message agree is checked on the way."""
    error = ended.status.error
    assert error is not None
    conditions = {held.type: (held.status, held.reason) for held in ended.status.conditions}
    assert conditions == {"Finished": ("True", "Failed"), "Succeeded": ("False", error.reason)}
    assert error.message.startswith((ended.status.message or "").removesuffix("…"))
    return error


def phases(found: Execution) -> dict[str, str]:
    """Of its tasks."""
    return {name: held.phase for name, held in found.status.tasks.items()}


async def test_an_exit_code_is_told_with_the_log(namespace: Namespace) -> None:
    script = "echo one >&2; echo 'no such table: orders' >&2; exit 3"
    await namespace.run(
        namespace.shell_agent("worker", script),
        workflow("flow", [task("load", "worker"), task("next", "worker", after=["load"])]),
    )
    ended = await namespace.fails(reason="Error")
    error = error_of(ended)
    assert (error.task, error.attempt, error.exit_code) == ("load", 1, 3)
    assert error.log_tail == "one\nno such table: orders"
    assert error.message == "task 'load' failed: exit code 3: no such table: orders"
    after = ended.status.tasks["next"]
    assert (after.phase, after.message, after.pod) == ("Skipped", "not started: task 'load' failed", None)
    said = await namespace.event("Execution", "run", "TaskFailed")
    assert "'load' failed (Error)" in said
    assert f"kubectl logs {ended.status.tasks['load'].pod}" in said


async def test_what_runs_beside_a_failure_ends_well(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("bad", "exit 1"),
        namespace.shell_agent("good", f"{WAIT}; {says({'n': 1})}"),
        workflow("flow", [task("bad", "bad"), task("good", "good"), task("next", "good", after=["good"])]),
    )
    both = await namespace.reaches(
        "run",
        lambda found: {"bad": "Failed", "good": "Running"}.items() <= phases(found).items(),
        "one to fail beside the other",
    )
    await open_gate(namespace, both.status.tasks["good"].pod or "")
    ended = await namespace.fails(reason="Error")
    assert phases(ended) == {"bad": "Failed", "good": "Completed", "next": "Skipped"}
    assert ended.status.tasks["good"].output == {"n": 1}
    assert ended.status.progress == "2/3"


async def test_out_of_memory(namespace: Namespace) -> None:
    limits = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}}
    await namespace.run(
        namespace.shell_agent("hungry", "exec tail /dev/zero", resources=limits),
        workflow("flow", [task("eat", "hungry")]),
    )
    error = error_of(await namespace.fails(reason="OOMKilled"))
    assert (error.task, error.exit_code) == ("eat", 137)
    assert "its limit of 32Mi: raise spec.runtime.resources.limits.memory of Agent 'hungry'" in error.message


async def test_an_image_that_does_not_exist(namespace: Namespace) -> None:
    image = "registry.invalid/nothing:1"
    await namespace.run(
        namespace.shell_agent("absent", "true", image=image),
        workflow("flow", [task("start", "absent")]),
    )
    message = f"task start: waiting for image {image}"
    await namespace.reaches("run", lambda found: found.status.message == message, "to say what it waits for")
    ended = await namespace.fails(reason="ImagePull")
    error = error_of(ended)
    assert error.task == "start"
    assert f"image {image!r} cannot be pulled" in error.message
    assert "look at the image of Agent 'absent'" in error.message
    await namespace.is_gone(ended.status.tasks["start"].pod or "")


async def test_a_timeout_deletes_the_pod(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("slow", "exec sleep 600"),
        workflow("flow", [task("wait", "slow", timeout="3s")]),
    )
    ended = await namespace.fails(reason="Timeout")
    error = error_of(ended)
    assert error.task == "wait"
    assert error.message.startswith("task 'wait' failed: it ran longer than its timeout of 3s")
    assert error.message.endswith("; its pod was deleted")
    await namespace.is_gone(ended.status.tasks["wait"].pod or "")
    assert "'wait' failed (Timeout)" in await namespace.event("Execution", "run", "TaskFailed")


async def test_inputs_that_break_the_schema_of_the_workflow(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("worker", "true"),
        workflow("flow", [task("work", "worker")], inputs=schema(count=NUMBER, name=TEXT)),
        inputs={"count": "many", "name": "x"},
    )
    ended = await namespace.fails(reason="InvalidInput")
    error = error_of(ended)
    assert error.task is None
    assert error.message.startswith("spec.inputs.count: 'many' is not of type 'integer'")
    assert "make a new Execution" in error.message
    assert ended.status.tasks == {}
    assert await namespace.pods() == []
    assert "inputs.count" in await namespace.event("Execution", "run", "Failed")


async def test_an_input_that_breaks_the_schema_of_the_capability(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("worker", "true", takes=schema(count=NUMBER)),
        workflow("flow", [task("work", "worker", give={"count": "${{ inputs.text }}"})]),
        inputs={"text": "many"},
    )
    ended = await namespace.fails(reason="InvalidInput")
    error = error_of(ended)
    assert error.task == "work"
    assert "input.count: 'many' is not of type 'integer'" in error.message
    assert "inputSchema of capability 'do' of Agent 'worker'" in error.message
    assert ended.status.tasks["work"].pod is None
    assert await namespace.pods() == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (says({"count": "many"}), "count: 'many' is not of type 'integer'"),
        (says({}), "count: is required, and missing"),
        ("printf '{\"count\": ' > $OSSA_OUTPUT", "is not JSON"),
        (says([1]), "not an object: write an object"),
        ("head -c 1000000 /dev/zero | tr '\\0' x > $OSSA_OUTPUT", "upload large values to the artifact service"),
    ],
    ids=["wrong-type", "missing", "broken-json", "a-list", "a-megabyte"],
)
async def test_an_output_that_breaks_the_contract(namespace: Namespace, script: str, expected: str) -> None:
    await namespace.run(
        namespace.shell_agent("worker", script, gives=schema(count=NUMBER)),
        workflow("flow", [task("work", "worker")]),
    )
    ended = await namespace.fails(reason="InvalidOutput")
    error = error_of(ended)
    assert (error.task, error.exit_code) == ("work", 0)
    assert expected in error.message
    assert ended.status.tasks["work"].output is None
    assert "'work' failed (InvalidOutput)" in await namespace.event("Execution", "run", "TaskFailed")


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"when": "${{ tasks.first.output.missing > 1 }}"}, "spec.tasks[1].when"),
        ({"input": {"value": ["${{ tasks.first.output.missing }}"]}}, "spec.tasks[1].input.value[0]"),
    ],
    ids=["when", "input"],
)
async def test_an_expression_that_has_no_value(namespace: Namespace, extra: dict[str, object], field: str) -> None:
    await namespace.run(
        namespace.shell_agent("worker", "true"),
        workflow("flow", [task("first", "worker"), {**task("second", "worker"), **extra}]),
    )
    ended = await namespace.fails(reason="EvalError")
    error = error_of(ended)
    assert error.task == "second"
    assert f"{field}: `tasks.first.output.missing" in error.message
    second = ended.status.tasks["second"]
    assert (second.phase, second.attempt, second.pod) == ("Failed", 0, None)
    assert len(await namespace.pods()) == 1


async def test_an_output_of_the_workflow_that_has_no_value(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("worker", "true"),
        workflow("flow", [task("work", "worker")], outputs={"n": "${{ tasks.work.output.n }}"}),
    )
    ended = await namespace.fails(reason="EvalError")
    error = error_of(ended)
    assert error.task is None
    assert "spec.outputs.n: `tasks.work.output.n`" in error.message
    assert ended.status.tasks["work"].phase == "Completed"
    assert ended.status.outputs is None
