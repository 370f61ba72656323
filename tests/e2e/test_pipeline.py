"""The shipped samples as a user runs them: kubectl in any order, and the `ossa` command."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ossa.api.artifact import ArtifactRef
from ossa.api.execution import Execution, TaskStatus
from ossa.kube import paths
from tests.e2e.harness import Namespace

JSONObject = dict[str, Any]
SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
TASKS = {"ingest", "validate", "transform", "ml-processing", "rule-engine", "aggregate", "output"}
# Seven pods of Python with its libraries, beside other tests.
PATIENCE = 420.0
PNG = b"\x89PNG\r\n\x1a\n"


def samples(pattern: str, namespace: str) -> list[JSONObject]:
    """The objects of the sample files, moved to a namespace."""
    text = "\n---\n".join(path.read_text() for path in sorted(SAMPLES.glob(pattern)))
    items: list[JSONObject] = [item for item in yaml.safe_load_all(text) if item]
    for item in items:
        item["metadata"]["namespace"] = namespace
        for subject in item.get("subjects", []):
            subject["namespace"] = namespace
    return items


async def record(namespace: Namespace, name: str, seen: list[Execution]) -> None:
    """Notes every state of an Execution as it goes by, from before it exists."""
    path = paths.ossa("executions", namespace.name)
    version = (await namespace.cluster.api.get(path))["metadata"]["resourceVersion"]
    selector = {"fieldSelector": f"metadata.name={name}", "resourceVersion": version}
    async for _, item in namespace.cluster.api.watch(path, selector):
        seen.append(Execution.model_validate(item))


def interval(held: TaskStatus) -> tuple[datetime, datetime]:
    """From start to end."""
    assert held.started_at is not None
    assert held.completed_at is not None
    return datetime.fromisoformat(held.started_at), datetime.fromisoformat(held.completed_at)


async def test_the_pipeline_applied_in_the_wrong_order(namespace: Namespace, tmp_path: Path) -> None:
    seen: list[Execution] = []
    recorder = asyncio.create_task(record(namespace, "data-pipeline-sample", seen))
    items = [*samples("0*.yaml", namespace.name), *samples("1*.yaml", namespace.name)]
    applied = await namespace.kubectl_apply(*reversed(items), *samples("3*.yaml", namespace.name))
    assert applied.ok().splitlines()[0] == "execution.ossa.dev/data-pipeline-sample created"
    ended = await namespace.completes("data-pipeline-sample", patience=PATIENCE)
    recorder.cancel()
    with suppress(asyncio.CancelledError):
        await recorder

    check_run(ended)
    check_history(seen)
    await check_downloads(namespace, "data-pipeline-sample", tmp_path)


def check_run(ended: Execution) -> None:
    """All seven tasks, the two in the middle side by side, and small outputs with references to the report."""
    tasks = ended.status.tasks
    assert ended.status.progress == "7/7"
    assert {name: held.phase for name, held in tasks.items()} == dict.fromkeys(TASKS, "Completed")
    assert {held.attempt for held in tasks.values()} == {1}
    model, rules = interval(tasks["ml-processing"]), interval(tasks["rule-engine"])
    assert max(model[0], rules[0]) < min(model[1], rules[1]), "model and rules did not run side by side"
    assert interval(tasks["aggregate"])[0] >= max(model[1], rules[1])
    outputs = ended.status.outputs or {}
    assert outputs["summary"]["dataset"] == "wine"
    assert outputs["summary"]["rejected"] == 12
    assert outputs["summary"]["modelAccuracy"] > 0.8
    media = {key: ArtifactRef.model_validate(value).media_type for key, value in outputs["report"].items()}
    assert media == {"json": "application/json", "markdown": "text/markdown", "plot": "image/png"}
    assert len(json.dumps(ended.model_dump(mode="json"))) < 100 * 1024


def check_history(seen: list[Execution]) -> None:
    """Phases and progress only ever went forward, and were there to see while it ran."""
    phases = list(dict.fromkeys(held.status.phase for held in seen))
    assert phases in (["Pending", "Running", "Completed"], ["Pending", "Running"])  # the last event may be under way
    progress = [int(held.status.progress.split("/")[0]) for held in seen if held.status.progress]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 5, f"progress went by as {progress}"
    assert any(held.status.message and "Workflow 'data-pipeline'" in held.status.message for held in seen)


async def check_downloads(namespace: Namespace, name: str, folder: Path) -> None:
    """The report as files, by the command."""
    written = (await namespace.ossa("download", name, "--to", str(folder), "-o", "json")).json()
    assert {Path(item["path"]).name for item in written} == {"report.json", "report.md", "report.png"}
    report = json.loads((folder / "report.json").read_text())
    assert report["quality"]["counts"]["rejected"] == report["summary"]["rejected"]
    assert len(report["records"]) == report["summary"]["heldOut"]
    assert (folder / "report.md").read_text().startswith("# ")
    image = (folder / "report.png").read_bytes()
    assert image.startswith(PNG)
    assert len(image) > 5_000


async def test_the_ossa_command(namespace: Namespace, tmp_path: Path) -> None:
    items = [item for item in samples("[0123]*.yaml", namespace.name) if item["kind"] != "Execution"]
    (await namespace.kubectl_apply(*items)).ok()
    run = await namespace.ossa(
        "run",
        "data-pipeline",
        "-i",
        "dataset=breast_cancer",
        "-i",
        "spoil=3",
        "--name",
        "mine",
        "--watch",
        "-o",
        "json",
    )
    created, *changes = run.lines()
    assert created["spec"] == {"workflow": "data-pipeline", "inputs": {"dataset": "breast_cancer", "spoil": 3}}
    assert {change["task"] for change in changes if "task" in change and change["phase"] == "Completed"} == TASKS
    assert changes[-1] == {"phase": "Completed", "progress": "7/7"}

    listed = (await namespace.ossa("tasks", "mine", "-o", "json")).json()
    assert (listed["phase"], listed["progress"]) == ("Completed", "7/7")
    assert {row["task"] for row in listed["tasks"]} == TASKS
    assert all(row["pod"] and row["duration"] for row in listed["tasks"])
    watched = (await namespace.ossa("watch", "mine", "-o", "json")).lines()
    assert watched[-1] == {"phase": "Completed", "progress": "7/7"}
    await check_downloads(namespace, "mine", tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["dataset"] == "breast_cancer"


async def test_the_ossa_command_on_a_failure(namespace: Namespace) -> None:
    absent = await namespace.ossa("run", "nothing")
    assert absent.code == 4
    assert "Workflow 'nothing' was not found" in absent.refused()
    await namespace.apply(*samples("2*.yaml", namespace.name)[:2])
    wrong = await namespace.ossa("run", "greeting", "-i", "nmae=you")
    assert wrong.code == 2
    assert "--input nmae: the workflow has no such input. It has: name" in wrong.refused()
    failed = await namespace.ossa("run", "greeting", "-i", "name=", "--name", "empty", "--watch")
    assert failed.code == 1
    assert "InvalidInput" in failed.out
    assert "spec.inputs.name" in failed.out
    nothing = await namespace.ossa("download", "empty")
    assert nothing.code == 4
    assert "it is Failed" in nothing.refused()


async def test_the_greeting_needs_no_sdk(namespace: Namespace) -> None:
    (await namespace.kubectl_apply(*reversed(samples("2*.yaml", namespace.name)))).ok()
    ended = await namespace.completes("greeting-sample")
    assert ended.status.outputs == {"greeting": "Hello, world!"}
    awkward = 'Ann "the \\ slash" Ünal\n$(id)'
    await namespace.start("greeting", {"name": awkward}, name="awkward")
    assert (await namespace.completes("awkward")).status.outputs == {"greeting": f"Hello, {awkward}!"}
