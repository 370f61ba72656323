"""Many outputs, many items and many large artifacts: the Execution stays small, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ossa.api.execution import Execution
from ossa.kube import paths
from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.executioner import Executioner
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject, resource

LIMIT = 100 * 1024  # bytes of an Execution
COUNT = 60
# Just below what the SDK would upload: 60 of them are more than a status takes.
SPEAK = """
text=$(head -c 900 /dev/zero | tr '\\0' x)
n=$(tr -cd 0-9 < $OSSA_INPUT)
printf '{"n": %s, "text": "%s"}' $n $text > $OSSA_OUTPUT
"""


def each(name: str, uses: str, count: int, parallelism: int) -> JSONObject:
    """A task for each number from 0 on."""
    return {
        **task(name, uses, give={"n": "${{ item }}"}),
        "forEach": {"range": {"count": count}, "parallelism": parallelism},
    }


async def size(lab: Namespace, name: str = "run") -> int:
    """Bytes of an Execution as `kubectl get -o json` shows it."""
    item = await lab.get("executions", name)
    item["metadata"].pop("managedFields", None)
    return len(json.dumps(item))


def is_archived(found: Execution) -> bool:
    archive = found.status.archive
    return archive is not None and bool(archive.outputs) and found.status.tasks["each"].phase == "Completed"


@pytest.mark.usefixtures("alone")
async def test_outputs_that_are_many_survive_the_reconciler(namespace: Namespace, tmp_path: Path) -> None:
    executioner = Executioner(namespace)
    await executioner.prepare()
    flow = workflow(
        "many",
        [
            each("each", "speak", COUNT, 12),
            task("gate", "gate", after=["each"]),
            task("count", "copy", give={"all": "${{ tasks.each.output.map(o, o.n) }}"}, after=["gate"]),
        ],
        outputs={"numbers": "${{ tasks.count.output.all }}", "all": "${{ tasks.each.output }}"},
    )
    copy = namespace.shell_agent("copy", "cp $OSSA_INPUT $OSSA_OUTPUT")
    await namespace.run(namespace.shell_agent("speak", SPEAK), namespace.shell_agent("gate", WAIT), copy, flow)
    await namespace.reaches("run", is_archived, "to have its outputs in the archive", patience=240)
    waiting = await namespace.reaches("run", lambda found: found.status.tasks["gate"].pod is not None, "to wait")
    assert await size(namespace) < LIMIT

    await executioner.kill(await executioner.aim())
    await open_gate(namespace, waiting.status.tasks["gate"].pod or "")
    ended = await namespace.completes(patience=120)
    assert ended.status.outputs is not None
    assert ended.status.outputs["numbers"] == list(range(COUNT))
    assert ended.status.outputs["all"]["$artifact"]
    assert await size(namespace) < LIMIT
    assert {task.attempt for name, task in ended.status.tasks.items() if name != "each"} == {1}

    (await namespace.kubectl("create", "serviceaccount", "report-reader")).ok()
    reader = f"--serviceaccount={namespace.name}:report-reader"
    (await namespace.kubectl("create", "rolebinding", "report-reader", "--clusterrole=ossa-view", reader)).ok()
    (await namespace.ossa("download", "run", "--to", str(tmp_path))).ok()
    (await namespace.ossa("download", "run", "--task", "each", "--to", str(tmp_path))).ok()
    for file in ("all.json", "each.json"):
        assert [item["n"] for item in json.loads((tmp_path / file).read_text())] == list(range(COUNT))


WRITERS, FILES, MEGABYTES = 20, 10, 10
ROOM = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
WRITE = f"""
import hashlib, random
from ossa.worker import File

def run(task):
    seed = random.Random(task.input["n"])
    given, digests = {{}}, {{}}
    for number in range({FILES}):
        content = seed.randbytes({MEGABYTES} * 1_000_000)
        given[f"f{{number}}"] = File(content, media_type="application/x-noise")
        digests[f"f{{number}}"] = hashlib.sha256(content).hexdigest()[:16]
    return {{**given, "digests": digests}}
"""
READ = """
import hashlib

def run(task):
    given = task.input["given"]
    wrong = [name for name, digest in given["digests"].items()
             if hashlib.sha256(given[name].read()).hexdigest()[:16] != digest]
    return {"wrong": wrong, "read": len(given["digests"])}
"""


async def test_hundreds_of_large_artifacts_are_there_for_a_later_task_and_for_a_retry(namespace: Namespace) -> None:
    read = {
        **task("read", "read", give={"given": "${{ item }}"}, after=["once"]),
        "forEach": {"items": "${{ tasks.each.output }}", "parallelism": 3},
    }
    once = """case "$OSSA_TASK" in *'"execution":"run"'*) exit 3;; esac"""
    flow = workflow(
        "files",
        [each("each", "write", WRITERS, 3), task("once", "once", after=["each"]), read],
        outputs={"read": "${{ tasks.read.output }}"},
    )
    await namespace.apply(*namespace.sdk_agent("write", WRITE, resources=ROOM))
    await namespace.apply(*namespace.sdk_agent("read", READ, resources=ROOM))
    await namespace.run(namespace.shell_agent("once", once), flow)
    failed = await namespace.fails(reason="Error", patience=300)
    assert failed.status.archive is not None
    assert await size(namespace) < LIMIT

    again = resource("Execution", "again", {"workflow": "files", "retryOf": "run"})
    await namespace.cluster.api.post(paths.ossa("executions", namespace.name), again)
    ended = await namespace.completes("again", patience=300)
    assert ended.status.outputs == {"read": [{"wrong": [], "read": FILES}] * WRITERS}
    assert await size(namespace, "again") < LIMIT
    pods = await namespace.pods()
    made_by = {
        pod["metadata"]["labels"]["ossa.dev/execution"]
        for pod in pods
        if pod["metadata"]["labels"]["ossa.dev/task"] == "each"
    }
    assert made_by == {"run"}
