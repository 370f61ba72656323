"""How a task can fail: each with its reason, and a message that says what to do."""

from __future__ import annotations

from tests.e2e.harness import Namespace, task, workflow


async def test_exit_code_and_log(namespace: Namespace) -> None:
    script = "echo one >&2; echo 'no such table: orders' >&2; exit 3"
    await namespace.run(
        namespace.shell_agent("worker", script),
        workflow("flow", [task("load", "worker"), task("next", "worker", after=["load"])]),
    )
    ended = await namespace.fails(reason="Error")
    error = ended.status.error
    assert error is not None
    assert (error.task, error.attempt, error.exit_code) == ("load", 1, 3)
    assert error.log_tail == "one\nno such table: orders"
    assert "task 'load' failed: exit code 3" in error.message
    assert ended.status.tasks["next"].phase == "Skipped"
    assert ended.status.tasks["next"].message == "not started: task 'load' failed"
    said = await namespace.event("Execution", "run", "TaskFailed")
    assert "'load'" in said
    assert f"kubectl logs {ended.status.tasks['load'].pod}" in said
