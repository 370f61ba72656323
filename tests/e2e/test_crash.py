"""What vanishes, is killed or deleted in the middle: no task is lost, and none runs twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.diamond import GIVE, UNIQUE, diamond, each_ran_once
from tests.e2e.harness.executioner import Executioner
from tests.e2e.harness.recorder import PodRecorder, recorded

FIRST_ATTEMPT = """case "$OSSA_TASK" in *'"attempt":1,'*) true;; *) false;; esac"""


# --- pods ---


@pytest.mark.parametrize("force", [(), ("--force", "--grace-period=0")], ids=["gently", "by force"])
async def test_a_pod_deleted_by_hand_is_replaced(namespace: Namespace, force: tuple[str, ...]) -> None:
    script = f"{UNIQUE}\nif {FIRST_ATTEMPT}; then sleep 300; fi\n{GIVE}"
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        await namespace.run(
            namespace.shell_agent("worker", script),
            namespace.shell_agent("next", f"{UNIQUE}\n{GIVE}"),
            workflow("flow", [task("work", "worker"), task("after", "next", after=["work"])]),
        )
        await recorder.until(lambda seen: bool(seen.running()), "the first pod to run")
        old = recorder.of_task("work")[0]
        (await namespace.kubectl("delete", "pod", old.name, "--wait=false", *force)).ok()
        ended = await namespace.completes()
        await recorder.until(lambda seen: len(seen.of_task("after")) == 1, "the successor's pod")
    work = ended.status.tasks["work"]
    assert (work.phase, work.attempt, work.lost) == ("Completed", 2, 1)
    assert work.pod != old.name
    assert [pod.name for pod in recorder.of_task("work")] == [old.name, work.pod]
    assert [pod.attempt for pod in recorder.of_task("after")] == [1]
    said = await namespace.event("Execution", "run", "TaskRestarted")
    assert "'work'" in said
    assert "attempt 2" in said
    assert old.name in said


async def test_the_pods_of_a_deleted_execution_go(namespace: Namespace) -> None:
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        await namespace.run(
            namespace.shell_agent("worker", "sleep 300"),
            workflow("flow", [task("a", "worker"), task("b", "worker"), task("c", "worker", after=["a"])]),
        )
        await recorder.until(lambda seen: len(seen.running()) == 2, "two pods to run")
        await namespace.delete("executions", "run")
        for pod in list(recorder.pods.values()):
            await namespace.is_gone(pod.name)
        assert len(recorder.pods) == 2

        # A namesake is another execution, with pods of its own.
        before = {pod.name for pod in recorder.pods.values()}
        await namespace.start("flow")
        await recorder.until(lambda seen: len(seen.pods) == 4, "the namesake's pods")
        assert len({pod.name for pod in recorder.pods.values()} - before) == 2


# --- the reconciler ---


def _one_of_two_ended(seen: PodRecorder) -> bool:
    """The two run for so short a time that they may not be seen side by side."""
    return any(pod.ended for pod in seen.of_task("left") + seen.of_task("right"))


MOMENTS: dict[str, Callable[[PodRecorder], bool]] = {
    "right after the creation of the execution": lambda _: True,
    "after the first pod was created": lambda seen: bool(seen.pods),
    "when a task has just ended": lambda seen: any(pod.ended for pod in seen.of_task("first")),
    "while two run": lambda seen: {pod.task for pod in seen.running()} == {"left", "right"} or _one_of_two_ended(seen),
    "when one of two has just ended": lambda seen: any(pod.ended for pod in seen.of_task("left")),
    "when the last one has just ended": lambda seen: any(pod.ended for pod in seen.of_task("last")),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_reconciler_that_is_killed(namespace: Namespace, moment: str) -> None:
    executioner = Executioner(namespace)
    await executioner.prepare()
    aim = await executioner.aim()
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        await namespace.run(*diamond(namespace))
        await recorder.until(MOMENTS[moment], moment)
        await executioner.kill(aim)
        await namespace.completes()
        await recorder.until_all_ended()
    await each_ran_once(namespace, recorder, "run")


@pytest.mark.usefixtures("alone")
async def test_a_reconciler_that_is_killed_again_and_again(namespace: Namespace) -> None:
    executioner = Executioner(namespace)
    await executioner.prepare()
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        aim = await executioner.aim()
        await namespace.run(*diamond(namespace))
        for moment in ("after the first pod was created", "when a task has just ended", "while two run"):
            await recorder.until(MOMENTS[moment], moment)
            await executioner.kill(aim)
            aim = await executioner.aim()
        await namespace.completes()
        await recorder.until_all_ended()
    await each_ran_once(namespace, recorder, "run")


@pytest.mark.usefixtures("alone")
async def test_what_is_created_while_no_reconciler_runs_starts_later(namespace: Namespace) -> None:
    executioner = Executioner(namespace)
    await executioner.prepare()
    aim = await executioner.aim()
    await executioner.kill(aim)
    await namespace.run(*diamond(namespace), name="run")
    await namespace.completes()
