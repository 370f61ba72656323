"""An execution whose every task gives what only its own run can give: what ran twice, or was lost, shows."""

from __future__ import annotations

import json

from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import JSONObject, task, workflow
from tests.e2e.harness.recorder import PodRecorder

# What one run of a task gives, no other run gives.
UNIQUE = "run=$(cat /proc/sys/kernel/random/uuid)"
GIVE = """printf '{"run": "%s"}' "$run" > $OSSA_OUTPUT"""


def diamond(namespace: Namespace) -> list[JSONObject]:
    """One task, two side by side, one more; each hands on what only its own run gave."""
    slow = f"{UNIQUE}\nsleep 2\n{GIVE}"
    run = "${{ tasks.%s.output.run }}"
    tasks = [
        task("first", "worker"),
        task("left", "worker", give={"of": run % "first"}),
        task("right", "worker", give={"of": run % "first"}),
        task("last", "worker", give={"left": run % "left", "right": run % "right"}),
    ]
    names = ("first", "left", "right", "last")
    return [
        namespace.shell_agent("worker", slow),
        workflow("flow", tasks, outputs={name: run % name for name in names}),
    ]


async def each_ran_once(namespace: Namespace, recorder: PodRecorder, *executions: str) -> None:
    """Each task of these, and there are no more, had one pod, which ran once; what it gave is what the status says."""
    for name in executions:
        await _ran_once(namespace, recorder, name)
    assert await namespace.execution_names() == set(executions)


async def _ran_once(namespace: Namespace, recorder: PodRecorder, execution: str) -> None:
    status, seen = (await namespace.execution(execution)).status, recorder.by_task(execution)
    story = f"{seen}\n{await namespace.diagnosis()}"
    assert set(seen) == {"first", "left", "right", "last"}, story
    for name, pods in seen.items():
        assert len(pods) == 1, f"{name} had {len(pods)} pods\n{story}"
        held = status.tasks[name]
        assert held.phase == "Completed", story
        assert held.pod == pods[0].name, story
        # An attempt that was recorded and whose pod was never made is given up; it ran nowhere.
        assert held.attempt == held.lost + 1, story
        assert held.output == json.loads(pods[0].message or ""), story
        assert (status.outputs or {})[name] == (held.output or {})["run"], story
