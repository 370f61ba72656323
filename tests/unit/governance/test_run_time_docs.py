"""The examples of docs/policies-at-run-time.md compile, and have a value for an ordinary run."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ossa.governance.policies import CompiledPolicy
from tests.pages import blocks, text_of
from tests.unit.engine.world import spec
from tests.unit.governance.conftest import Made
from tests.unit.governance.test_ruling import agent, compiled, run_under

EXAMPLES: list[dict[str, Any]] = [yaml.safe_load(text) for text in blocks(text_of("policies-at-run-time.md"), "yaml")]


def policies(made: Made) -> list[CompiledPolicy]:
    return [
        made.policy(*example.pop("rules"), name=f"example-{number}", **example)
        for number, example in enumerate([dict(example) for example in EXAMPLES])
    ]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
    assert all({"match", "rules"} <= example.keys() for example in EXAMPLES)


@pytest.mark.parametrize("review", [True, False])
def test_an_ordinary_run_keeps_to_all_of_them(made: Made, review: bool) -> None:
    worker = agent("worker", data={"classification": "internal"})
    worker = worker.model_copy(update={"image": "registry.example.com/worker:1"})
    critic = agent("critic", type="critic").model_copy(update={"image": "registry.example.com/critic:1"})
    second = {"name": "b", "agent": "critic" if review else "worker", "input": {"n": "${{ tasks.a.output.n }}"}}
    run = run_under(compiled(spec({"name": "a"}, second), worker, critic), *policies(made))
    run.step()
    run.succeed("a", {"n": 1})
    run.succeed("b")
    assert (run.phase(), run.status.error) == ("Completed", None)


def test_none_of_them_passes_over_a_nested_workflow_with_an_error(made: Made) -> None:
    """There `agent` is null."""
    run = run_under(compiled(spec({"name": "sub", "agent": None, "workflow": "other"})), *policies(made))
    assert [request.task for request in run.step().children] == ["sub"]
