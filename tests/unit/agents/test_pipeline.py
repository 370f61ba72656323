"""The sample workflows from the first task to their outputs: engine, SDK and agents, all but the cluster."""

from __future__ import annotations

import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ossa.api.agent import Agent
from ossa.api.schema import fill_defaults, violations
from ossa.api.workflow import Workflow
from ossa.engine.graph import workflow_problems
from ossa.engine.revision import AgentSnapshot, CompiledRevision, Revision, compile_revision
from tests.unit.agents.conftest import REPO, Artifacts, RunAgent, shipped_agents

SAMPLES = REPO / "manifests" / "samples"


def sample_objects() -> list[dict[str, Any]]:
    """All objects that `kubectl apply -f manifests/samples/` makes."""
    return [obj for file in sorted(SAMPLES.glob("*.yaml")) for obj in yaml.safe_load_all(file.read_text())]


def compiled(name: str) -> CompiledRevision:
    """The revision of a sample workflow, as the operator would make it."""
    objects = sample_objects()
    agents = [Agent.model_validate(obj) for obj in objects if obj["kind"] == "Agent"]
    found = next(o for o in objects if o["kind"] == "Workflow" and o["metadata"]["name"] == name)
    spec = Workflow.model_validate(found).spec
    assert workflow_problems(spec) == []
    snapshots = {
        agent.metadata.name: AgentSnapshot(
            name=agent.metadata.name, uid="0", generation=1, image="worker", spec=agent.spec
        )
        for agent in agents
    }
    used = {task.agent for task in spec.tasks if task.agent is not None}
    held = {agent: snapshots[agent] for agent in used}
    return compile_revision(Revision(workflow=name, version=spec.version, spec=spec, agents=held))


Run = Callable[[str, dict[str, Any]], dict[str, Any]]


def run_workflow(revision: CompiledRevision, run: Run, given: dict[str, Any]) -> dict[str, Any]:
    """Runs all tasks in order; the outputs of the tasks, and the workflow's as `outputs`."""
    schema = revision.revision.spec.inputs
    inputs = fill_defaults(schema, given)
    assert violations(schema, inputs) == []
    results: dict[str, Any] = {}
    for name in revision.graph.order:
        task = revision.tasks[name]
        bound = {parent: {"output": results[parent], "phase": "Completed"} for parent in revision.graph.parents[name]}
        value = task.templates.input.evaluate({"inputs": inputs, "tasks": bound})
        assert isinstance(value, dict)
        assert violations(task.capability.input_schema, value) == []
        results[name] = run(task.agent.name, value)
        assert violations(task.capability.output_schema, results[name]) == []
    ended = {name: {"output": output, "phase": "Completed"} for name, output in results.items()}
    results["outputs"] = revision.outputs.evaluate({"inputs": inputs, "tasks": ended})
    return results


@pytest.fixture(
    scope="module", params=[("wine", "logistic-regression"), ("breast_cancer", "gradient-boosting")], ids=str
)
def ran(request: pytest.FixtureRequest, run_agent: RunAgent, artifacts: Artifacts) -> dict[str, Any]:
    """What each task of the data pipeline gave, references opened."""

    def run(agent: str, given: dict[str, Any]) -> dict[str, Any]:
        done = run_agent(agent, given)
        assert len(done.message.encode()) < 4096
        return done.output

    dataset, model = request.param
    results = run_workflow(compiled("data-pipeline"), run, {"dataset": dataset, "model": model})
    assert all("$artifact" in value for value in results["outputs"]["report"].values())
    opened = artifacts.open(results)
    assert isinstance(opened, dict)
    return opened


def test_edges_are_those_of_the_picture() -> None:
    parents = compiled("data-pipeline").graph.parents
    assert parents["ingest"] == frozenset()
    assert parents["validate"] == {"ingest"}
    assert parents["transform"] == {"validate"}
    assert parents["ml-processing"] == parents["rule-engine"] == {"transform"}
    assert parents["aggregate"] == {"transform", "ml-processing", "rule-engine"}
    assert parents["output"] == {"validate", "ml-processing", "rule-engine", "aggregate"}


def test_training_and_held_out_records_are_apart(ran: dict[str, Any]) -> None:
    transformed = ran["transform"]
    train, held_out = ({r["id"] for r in transformed[part]} for part in ("train", "heldOut"))
    assert not train & held_out
    assert len(train) + len(held_out) == ran["validate"]["counts"]["valid"]
    assert 0.28 < len(held_out) / (len(train) + len(held_out)) < 0.32
    labels = {record["label"] for record in transformed["heldOut"]}
    assert labels == set(ran["ingest"]["classes"])


def test_features_are_standardised_by_the_training_part(ran: dict[str, Any]) -> None:
    for column in zip(*(record["scaled"] for record in ran["transform"]["train"]), strict=True):
        mean = sum(column) / len(column)
        assert abs(mean) < 1e-4
        assert abs(sum((x - mean) ** 2 for x in column) / len(column) - 1) < 1e-3


def test_model_and_rules_are_good_and_better_than_guessing(ran: dict[str, Any]) -> None:
    model, metrics = ran["ml-processing"]["metrics"], ran["aggregate"]["metrics"]
    kinds = {"wine": "logistic-regression", "breast_cancer": "gradient-boosting"}
    assert ran["ml-processing"]["model"]["kind"] == kinds[ran["ingest"]["dataset"]]
    assert model["accuracy"] > 0.93
    assert model["macroF1"] > 0.93
    assert model["rocAuc"] > 0.98
    assert model["baseline"] < 0.7
    assert metrics["modelAccuracy"] == model["accuracy"]
    assert metrics["rulesAccuracy"] > 0.9
    assert metrics["rulesCoverage"] > 0.85
    assert metrics["combinedAccuracy"] > 0.93


def test_every_held_out_record_has_both_verdicts_and_one_combined(ran: dict[str, Any]) -> None:
    rows = ran["aggregate"]["records"]
    assert [row["id"] for row in rows] == [record["id"] for record in ran["transform"]["heldOut"]]
    fired = {rule["name"]: rule["fired"] for rule in ran["rule-engine"]["rules"]}
    assert sum(fired.values()) == ran["rule-engine"]["counts"]["decided"]
    for row in rows:
        assert row["verdict"] in (row["model"]["label"], row["rules"]["label"])
        assert (row["rules"]["rule"] in fired) == (row["rules"]["label"] is not None)
    assert ran["aggregate"]["disagreements"] == [row for row in rows if row["agree"] is False]


def test_report_tells_the_same_in_all_forms(ran: dict[str, Any]) -> None:
    outputs = ran["outputs"]
    report, metrics = outputs["report"]["json"], ran["aggregate"]["metrics"]
    assert outputs["summary"] == report["summary"]
    assert len(json.dumps(outputs["summary"])) < 1024
    assert report["summary"]["rejected"] == len(ran["ingest"]["spoiled"]) == 12
    assert report["metrics"] == metrics
    text = outputs["report"]["markdown"].decode()
    assert text.startswith(f"# Report on `{report['dataset']}`")
    assert f"| model | {metrics['modelAccuracy']:.1%} |" in text
    assert text.count(" has no value |") == ran["validate"]["reasons"]["missing"]


def test_plot_is_a_whole_png(ran: dict[str, Any]) -> None:
    image = ran["outputs"]["report"]["plot"]
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, rest = [], image[8:]
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        body, (checksum,) = rest[4 : 8 + size], struct.unpack(">I", rest[8 + size : 12 + size])
        assert zlib.crc32(body) == checksum
        chunks.append((body[:4], body[4:]))
        rest = rest[12 + size :]
    assert struct.unpack(">II", chunks[0][1][:8]) == (1000, 420)
    pixels = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    assert len(set(pixels)) > 20
    assert chunks[-1][0] == b"IEND"


@pytest.mark.parametrize("name", ["world", 'a "quoted" \\ name', "Zoë\n& Ü", '{"name": "x"}', "$(id) %s `id`"])
def test_greeting_needs_nothing_but_a_shell(name: str, tmp_path: Path) -> None:
    agents = {obj["metadata"]["name"]: obj for obj in sample_objects() if obj["kind"] == "Agent"}
    container = agents["greeter"]["spec"]["runtime"]["container"]

    def run(_: str, given: dict[str, Any]) -> dict[str, Any]:
        (tmp_path / "in").write_text(json.dumps(given))
        environ = {
            "PATH": "/usr/bin:/bin",
            "OSSA_INPUT": str(tmp_path / "in"),
            "OSSA_OUTPUT": str(tmp_path / "out"),
        }
        subprocess.run([*container["command"], *container["args"]], env=environ, check=True, timeout=10)
        output = json.loads((tmp_path / "out").read_text())
        assert isinstance(output, dict)
        return output

    results = run_workflow(compiled("greeting"), run, {"name": name})
    assert results["outputs"] == {"greeting": f"Hello, {name}!"}


def test_samples_hold_the_shipped_agents_as_they_are() -> None:
    generated = list(yaml.safe_load_all((SAMPLES / "00-agents.yaml").read_text()))
    shipped = [yaml.safe_load(f.read_text()) for f in sorted((REPO / "agents").glob("*/agent.yaml"))]
    assert generated == shipped, "run `make crds`"


def test_names_and_references_of_the_samples_fit() -> None:
    objects = sample_objects()
    names = {kind: {o["metadata"]["name"] for o in objects if o["kind"] == kind} for kind in ("Agent", "Workflow")}
    assert len(objects) == len({(o["kind"], o["metadata"]["name"]) for o in objects})
    for obj in objects:
        if obj["kind"] == "Workflow":
            assert {task["agent"] for task in obj["spec"]["tasks"]} <= names["Agent"]
        if obj["kind"] == "Execution":
            assert obj["spec"]["workflow"] in names["Workflow"]
    for agent in shipped_agents().values():
        module = str(agent.spec.runtime.handler).partition(":")[0]
        assert (REPO / "agents" / module / "handler.py").is_file()
