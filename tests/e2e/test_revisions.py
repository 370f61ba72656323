"""What runs keeps its revision: edits and deletions of its Workflow and its Agents do not reach it."""

from __future__ import annotations

from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject, says
from tests.e2e.harness.recorder import PodRecorder, recorded


def flow(word: str) -> JSONObject:
    """A gate, then a task that says `word` and the agent's own."""
    return workflow(
        "flow",
        [task("gate", "gate"), task("speak", "speaker", after=["gate"], give={"say": word})],
        outputs={"workflow": word, "agent": "${{ tasks.speak.output.agent }}"},
    )


def speaker(namespace: Namespace, word: str) -> JSONObject:
    """An agent that says `word`."""
    return namespace.shell_agent("speaker", says({"agent": word}))


async def begin(namespace: Namespace, recorder: PodRecorder) -> str:
    """An Execution that stands at the gate; the gate's pod."""
    await namespace.run(namespace.shell_agent("gate", WAIT), speaker(namespace, "old"), flow("old"))
    await recorder.until(lambda seen: bool(seen.running()), "the gate")
    return recorder.of_task("gate")[0].name


async def revisions(namespace: Namespace) -> set[str]:
    """Names of the ControllerRevisions that are there."""
    listed = await namespace.cluster.api.get(paths.apps("controllerrevisions", namespace.name))
    return {item["metadata"]["name"] for item in listed["items"]}


async def published(namespace: Namespace, *, other_than: str) -> str:
    """The revision that the Workflow has published anew."""
    status = await namespace.settles(
        "workflows",
        "flow",
        lambda status: status["phase"] == "Published" and status["revision"] != other_than,
        "another revision",
    )
    return str(status["revision"])


async def test_an_edit_of_the_workflow_is_for_later_executions(namespace: Namespace) -> None:
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        gate = await begin(namespace, recorder)
        old = (await namespace.execution("run")).status.revision or ""
        await namespace.apply(flow("new"))
        new = await published(namespace, other_than=old)
        await namespace.start("flow", name="later")
        await recorder.until(lambda seen: len(seen.running()) == 2, "the gate of the later execution")
        for pod in recorder.of_task("gate"):
            await open_gate(namespace, pod.name)
        first, second = await namespace.completes("run"), await namespace.completes("later")
    assert gate in {pod.name for pod in recorder.of_task("gate")}
    assert first.status.outputs == {"workflow": "old", "agent": "old"}
    assert second.status.outputs == {"workflow": "new", "agent": "old"}
    assert (first.status.revision, second.status.revision) == (old, new)
    assert {old, new} <= await revisions(namespace)


async def test_a_task_that_the_edit_removes_still_runs(namespace: Namespace) -> None:
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        gate = await begin(namespace, recorder)
        old = (await namespace.execution("run")).status.revision or ""
        await namespace.apply(workflow("flow", [task("other", "speaker")]))
        await published(namespace, other_than=old)
        await open_gate(namespace, gate)
        ended = await namespace.completes()
    assert set(ended.status.tasks) == {"gate", "speak"}
    assert ended.status.outputs == {"workflow": "old", "agent": "old"}


async def test_an_edit_of_an_agent_is_for_later_executions(namespace: Namespace) -> None:
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        gate = await begin(namespace, recorder)
        old = (await namespace.execution("run")).status.revision or ""
        await namespace.apply(speaker(namespace, "new"))
        new = await published(namespace, other_than=old)
        await open_gate(namespace, gate)
        first = await namespace.completes("run")
        await namespace.start("flow", name="later")
        await recorder.until(lambda seen: bool(seen.running()), "the gate of the later execution")
        await open_gate(namespace, recorder.running()[0].name)
        second = await namespace.completes("later")
    assert first.status.outputs == {"workflow": "old", "agent": "old"}
    assert second.status.outputs == {"workflow": "old", "agent": "new"}
    assert (first.status.revision, second.status.revision) == (old, new)


async def test_an_agent_deleted_meanwhile(namespace: Namespace) -> None:
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        gate = await begin(namespace, recorder)
        await namespace.delete("agents", "speaker")
        await namespace.settles("workflows", "flow", lambda status: status["phase"] == "Draft", "to be a Draft")
        await open_gate(namespace, gate)
        ended = await namespace.completes()
    assert ended.status.outputs == {"workflow": "old", "agent": "old"}


async def test_a_workflow_deleted_meanwhile(namespace: Namespace) -> None:
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        gate = await begin(namespace, recorder)
        await namespace.delete("workflows", "flow")
        await open_gate(namespace, gate)
        ended = await namespace.completes()
    assert ended.status.outputs == {"workflow": "old", "agent": "old"}
    revision = ended.status.revision or ""
    assert await revisions(namespace) == {revision}  # its execution still says what it ran

    await namespace.delete("executions", "run")

    async def is_gone() -> bool:
        try:
            await namespace.cluster.api.get(paths.apps("controllerrevisions", namespace.name, revision))
        except NotFound:
            return True
        return False

    await namespace.wait(is_gone, "the revision to go with the last that needs it")


async def test_a_workflow_made_anew_while_its_namesake_s_execution_runs(namespace: Namespace) -> None:
    """The revision's name is a hash of its content: the new Workflow finds the old one there."""
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        gate = await begin(namespace, recorder)
        await namespace.delete("workflows", "flow")
        await namespace.apply(flow("old"))
        await namespace.settles("workflows", "flow", lambda status: status["phase"] == "Published", "to be published")
        await namespace.start("flow", name="later")
        await recorder.until(lambda seen: len(seen.running()) == 2, "the gate of the later execution")
        for pod in recorder.of_task("gate"):
            await open_gate(namespace, pod.name)
        first, second = await namespace.completes("run"), await namespace.completes("later")
    assert gate in {pod.name for pod in recorder.of_task("gate")}
    assert first.status.outputs == second.status.outputs == {"workflow": "old", "agent": "old"}
    assert first.status.revision == second.status.revision
