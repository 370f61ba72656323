"""What goes well: values along the graph, tasks that are skipped, and what a user sees of it."""

from __future__ import annotations

from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.objects import says

ECHO = "cat $OSSA_INPUT > $OSSA_OUTPUT"


async def test_values_keep_their_types_along_the_graph(namespace: Namespace) -> None:
    given = {
        "number": "${{ tasks['the-source'].output.n + 1 }}",
        "list": "${{ tasks['the-source'].output.items }}",
        "text": "${{ tasks['the-source'].output.n }} of ${{ inputs.of }}",
        "nested": {"who": ["${{ execution.name }}", "${{ workflow.name }}"]},
        "null": None,
    }
    await namespace.run(
        namespace.shell_agent("source", says({"n": 41, "items": [{"a": 1.5}, True, 'quote " and ü']})),
        namespace.shell_agent("echo", ECHO),
        workflow(
            "flow",
            [task("sink", "echo", give=given), task("the-source", "source")],
            inputs={"type": "object", "properties": {"of": {"type": "integer", "default": 7}}},
            outputs={"all": "${{ tasks.sink.output }}"},
        ),
    )
    ended = await namespace.completes()
    assert ended.status.outputs == {
        "all": {
            "number": 42,
            "list": [{"a": 1.5}, True, 'quote " and ü'],
            "text": "41 of 7",
            "nested": {"who": ["run", "flow"]},
            "null": None,
        }
    }
    assert ended.status.inputs == {"of": 7}
    assert ended.status.progress == "2/2"
    assert ended.status.message is None
    assert (ended.status.revision or "").startswith("flow-")
    revision = ended.status.revision
    assert await namespace.event("Execution", "run", "Started") == f"Started with revision {revision}"
    assert await namespace.event("Execution", "run", "Completed") == f"Completed in {ended.status.duration}"


async def test_a_task_knows_who_it_is(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("worker", 'printf %s "$OSSA_TASK" > $OSSA_OUTPUT'),
        workflow("flow", [task("work", "worker")]),
    )
    ended = await namespace.completes()
    told = dict(ended.status.tasks["work"].output or {})
    assert told.pop("traceparent").split("-")[1] == ended.status.trace_id
    assert told == {
        "namespace": namespace.name,
        "execution": "run",
        "uid": ended.metadata.uid,
        "workflow": "flow",
        "task": "work",
        "index": 0,
        "round": 1,
        "attempt": 1,
    }


async def test_no_output_is_an_empty_object(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("quiet", "true"),
        namespace.shell_agent("echo", ECHO),
        workflow("flow", [task("a", "quiet"), task("b", "echo", give={"of": "${{ tasks.a.output }}"})]),
    )
    ended = await namespace.completes()
    assert ended.status.tasks["a"].output == {}
    assert ended.status.tasks["b"].output == {"of": {}}


async def test_a_condition_that_is_false_skips_the_task_and_what_depends_on_it(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("count", says({"n": 0})),
        workflow(
            "flow",
            [
                task("first", "count"),
                task("some", "count", when="${{ tasks.first.output.n > 0 }}"),
                task("after-some", "count", after=["some"]),
                task("none", "count", when="${{ tasks.first.output.n == 0 && inputs.go }}"),
            ],
            outputs={"phase": "${{ tasks.some.phase }}"},
        ),
        inputs={"go": True},
    )
    ended = await namespace.completes()
    tasks = ended.status.tasks
    assert {name: held.phase for name, held in tasks.items()} == {
        "first": "Completed",
        "some": "Skipped",
        "after-some": "Skipped",
        "none": "Completed",
    }
    assert tasks["some"].message == "its condition is not true: ${{ tasks.first.output.n > 0 }}"
    assert tasks["after-some"].message == "task 'some', on which it depends, was skipped"
    assert ended.status.outputs == {"phase": "Skipped"}
    assert ended.status.progress == "4/4"
    assert len(await namespace.pods()) == 2


async def test_kubectl_shows_what_happens(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("worker", "exit 4"),
        workflow("flow", [task("work", "worker")]),
    )
    await namespace.fails(reason="Error")
    head, row = (await namespace.kubectl("get", "executions", "-o", "wide")).ok().splitlines()
    assert head.split() == ["NAME", "WORKFLOW", "PHASE", "PROGRESS", "MESSAGE", "DURATION", "AGE"]
    assert row.split()[:4] == ["run", "flow", "Failed", "0/1"]
    assert "task 'work' failed: exit code 4" in row
    head, row = (await namespace.kubectl("get", "owf")).ok().splitlines()
    assert head.split()[:2] == ["NAME", "PHASE"]
    assert row.split()[:2] == ["flow", "Published"]
    assert "worker" in (await namespace.kubectl("get", "ossa")).ok()
    described = (await namespace.kubectl("describe", "execution", "run")).ok()
    assert "TaskFailed" in described


async def test_kubectl_explains_the_fields(namespace: Namespace) -> None:
    status = (await namespace.kubectl("explain", "execution.status")).ok()
    assert "Where the run stands." in status
    assert "Tasks that ended well (Completed or Skipped) of all tasks." in status
    task_fields = (await namespace.kubectl("explain", "workflow.spec.tasks.when")).ok()
    assert "that must be true for the task to run" in task_fields
