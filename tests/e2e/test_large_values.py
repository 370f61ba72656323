"""Values that are too large for a pod or a nested Execution, and lists that lie in the artifact service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ossa.api.contract import INPUT_LIMIT
from tests.e2e.harness import Namespace, task, wait_for, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.recorder import recorded
from tests.e2e.test_artifacts import is_down, scale

ITEMS = 45  # of more than 3 KB each
# Fields of 1,000 bytes stay, a File goes by reference.
GIVE = """
from ossa.worker import File

def run(task):
    number = task.input["number"]
    texts = {f"text{field}": "x" * 1000 for field in range(3)}
    return {"number": number, **texts, "file": File(b"." * number, media_type="text/plain")}
"""
FOLD = """
def run(task):
    items = task.input["items"]
    longest = max(items, key=lambda item: item["file"].size)
    return {
        "numbers": [item["number"] for item in items],
        "characters": sum(len(item[f"text{field}"]) for item in items for field in range(3)),
        "longest": longest["file"],
    }
"""
MEASURE = """
def run(task):
    return {"size": len(task.input["file"].read()), "mediaType": task.input["file"].media_type}
"""
ECHO = 'cat "$OSSA_INPUT" > "$OSSA_OUTPUT"'
LIST = """
from ossa.worker import File

def run(task):
    rows = [{"number": number, "text": "ü" * 100, "none": None, "half": 0.5, "two": 2.0} for number in range(12)]
    return {"rows": rows, "file": File(b"." * 77, media_type="text/plain"), "none": None, "half": 0.5}
"""


def row(number: int) -> JSONObject:
    return {"number": number, "text": "ü" * 100, "none": None, "half": 0.5, "two": 2}


def over(items: str, **fields: Any) -> JSONObject:
    """A task that gives each item of a list as it was given it."""
    return {
        **task("each", "echo", give={"row": "${{ item }}"}),
        "forEach": {"items": items, "parallelism": 6},
        **fields,
    }


async def test_a_task_is_given_what_many_items_gave(namespace: Namespace) -> None:
    """More than a pod holds; with a File in each, which can be opened and passed on."""
    each = {**task("each", "giver", give={"number": "${{ item }}"}), "forEach": {"range": {"count": ITEMS}}}
    await namespace.run(
        *namespace.sdk_agent("giver", GIVE),
        *namespace.sdk_agent("folder", FOLD),
        *namespace.sdk_agent("measurer", MEASURE),
        workflow(
            "flow",
            [
                each,
                task("fold", "folder", give={"items": "${{ tasks.each.output }}"}),
                task("measure", "measurer", give={"file": "${{ tasks.fold.output.longest }}"}),
            ],
            outputs={"folded": "${{ tasks.fold.output }}", "measured": "${{ tasks.measure.output }}"},
        ),
    )
    ended = await namespace.completes(patience=300)
    outputs = ended.status.outputs or {}
    assert outputs["folded"]["numbers"] == list(range(ITEMS))
    assert outputs["folded"]["characters"] == ITEMS * 3000
    assert outputs["measured"] == {"size": ITEMS - 1, "mediaType": "text/plain"}
    (pod,) = [pod for pod in await namespace.pods() if pod["metadata"]["labels"]["ossa.dev/task"] == "fold"]
    given = pod["metadata"]["annotations"]["ossa.dev/input"]
    assert len(given) < INPUT_LIMIT // 100
    assert json.loads(given)["items"]["size"] > INPUT_LIMIT


async def test_a_for_each_goes_over_a_list_in_the_artifact_service(namespace: Namespace) -> None:
    await namespace.run(
        *namespace.sdk_agent("lister", LIST),
        namespace.shell_agent("echo", ECHO),
        workflow(
            "flow",
            [task("list", "lister"), over("${{ tasks.list.output.rows }}")],
            outputs={"all": "${{ tasks.each.output }}"},
        ),
    )
    ended = await namespace.completes()
    assert "$artifact" in (ended.status.tasks["list"].output or {})["rows"]
    assert ended.status.outputs == {"all": [{"row": row(number)} for number in range(12)]}


@pytest.mark.usefixtures("alone")
async def test_while_the_service_is_down_a_for_each_waits(namespace: Namespace) -> None:
    await namespace.run(
        *namespace.sdk_agent("lister", LIST),
        namespace.shell_agent("gate", WAIT),
        namespace.shell_agent("echo", ECHO),
        workflow(
            "flow",
            [
                task("list", "lister"),
                task("gate", "gate", after=["list"]),
                over("${{ tasks.list.output.rows }}", dependsOn=["gate"], timeout="20s"),
            ],
        ),
    )
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        await recorder.until(lambda seen: any(pod.task == "gate" for pod in seen.running()), "the gate")
        await scale(0)
        try:
            await wait_for(lambda: is_down(namespace), "the service to be down")
            await open_gate(namespace, recorder.of_task("gate")[0].name)
            waiting = await namespace.reaches(
                "run", lambda found: "cannot be read yet" in (found.status.message or ""), "to wait for the list"
            )
            assert waiting.status.tasks["each"].phase == "Pending"
        finally:
            await scale(1)
        ended = await namespace.completes()
    assert ended.status.progress == "3/3"
    assert {task.attempt for task in ended.status.tasks.values() if task.items is None} == {1}


async def test_a_workflow_is_given_artifacts_and_gives_them_back(namespace: Namespace) -> None:
    inner = workflow(
        "inner",
        [
            over("${{ inputs.given.rows }}"),
            task("measure", "measurer", give={"file": "${{ inputs.given.file }}"}),
        ],
        outputs={
            "size": "${{ tasks.measure.output.size }}",
            "numbers": "${{ tasks.each.output.map(one, one.row.number) }}",
            "file": "${{ inputs.given.file }}",
        },
    )
    call = {"name": "call", "workflow": "inner", "input": {"given": "${{ tasks.list.output }}", "two": 2.0}}
    await namespace.run(
        *namespace.sdk_agent("lister", LIST),
        *namespace.sdk_agent("measurer", MEASURE),
        namespace.shell_agent("echo", ECHO),
        workflow(
            "flow",
            [task("list", "lister"), call, task("after", "measurer", give={"file": "${{ tasks.call.output.file }}"})],
        ),
        inner,
    )
    ended = await namespace.completes()
    called = ended.status.tasks["call"].output or {}
    assert (called["size"], called["numbers"]) == (77, list(range(12)))
    assert (ended.status.tasks["after"].output or {})["size"] == 77
    child = await namespace.execution(ended.status.tasks["call"].pod or "")
    assert child.status.lineage == [ended.metadata.uid]
    # The same by a user's hand is refused.
    copy = {
        "apiVersion": child.api_version,
        "kind": "Execution",
        "metadata": {"name": "copy"},
        "spec": {"workflow": "inner", "inputs": child.spec.inputs},
    }
    refused = await namespace.kubectl_apply(copy)
    assert "an artifact may not come in from outside" in refused.err
