"""What is spoiled is found, exactly: nothing more and nothing less."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from ossa.api.contract import TaskIdentity
from ossa.worker import Task
from ossa.worker.handler import load_handler
from tests.unit.agents.conftest import REPO, Artifacts, RunAgent

CHECK_OF = {"missing": "missing", "wrong-type": "type", "out-of-range": "range", "duplicate-id": "duplicate"}


def task(given: dict[str, Any]) -> Task:
    """A task as the SDK hands it to a handler."""
    identity = TaskIdentity(namespace="default", execution="test", uid="0", workflow="test", task="test")
    return Task(input=given, identity=identity, log=logging.getLogger("task"))


@pytest.mark.parametrize(("dataset", "rows"), [("wine", 178), ("breast_cancer", 569)])
def test_finds_exactly_the_spoiled_rows_and_why(
    dataset: str, rows: int, run_agent: RunAgent, artifacts: Artifacts
) -> None:
    ingested = artifacts.open(run_agent("ingest", {"dataset": dataset, "spoil": 60, "seed": 3}).output)
    assert ingested["count"] == rows
    assert {entry["way"] for entry in ingested["spoiled"]} == CHECK_OF.keys()
    given = {"dataset": dataset, "records": ingested["records"]}
    checked = artifacts.open(run_agent("validate", given).output)
    expected = {(e["row"], CHECK_OF[e["way"]], e["field"]) for e in ingested["spoiled"]}
    found = {(e["row"], r["check"], r["field"]) for e in checked["rejected"] for r in e["reasons"]}
    assert found == expected
    assert checked["counts"] == {"total": rows, "valid": rows - 60, "rejected": 60}
    assert len(checked["records"]) == rows - 60


def test_rejects_nothing_of_an_unspoiled_data_set(run_agent: RunAgent) -> None:
    ingested = run_agent("ingest", {"dataset": "wine"}).output
    assert ingested["spoiled"] == []
    checked = run_agent("validate", {"dataset": "wine", "records": ingested["records"]}).output
    assert checked["rejected"] == []


def test_the_same_seed_spoils_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # loading an agent adds its folder
    ingest = load_handler("ingest:run", REPO / "agents")
    first, again, other = (ingest(task({"spoil": 9, "seed": seed})) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_one_row_must_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    spoil = load_handler("ingest:spoil", REPO / "agents")
    with pytest.raises(ValueError, match="spoil: 2 rows cannot be spoiled, the data set has 2"):
        spoil([{}, {}], 2, seed=1)  # type: ignore[arg-type,call-arg]


def test_refuses_a_source_that_is_broken_altogether(run_agent: RunAgent) -> None:
    records: list[dict[str, Any]] = [{"id": f"wine-{n:04d}", "label": "class_0", "values": {}} for n in range(4)]
    ran = run_agent("validate", {"dataset": "wine", "records": records})
    assert ran.exit_code == 1
    assert ran.message == ""
    assert "4 of 4 records were rejected" in ran.log
    assert "alcohol has no value" in ran.log


def test_survives_records_of_any_shape(run_agent: RunAgent, artifacts: Artifacts) -> None:
    records: list[Any] = [
        "text",
        {"id": 7, "label": "class_0", "values": {}},
        {"id": "wine-0001", "label": "Merlot", "values": {}},
        {"id": "wine-0002", "label": "class_0"},
        {"id": "wine-0003", "label": ["class_0"], "values": {"sugar": 1.0}},
    ]
    given = {"dataset": "wine", "records": records, "maxRejectedShare": 1}
    checked = artifacts.open(run_agent("validate", given).output)
    assert [entry["row"] for entry in checked["rejected"]] == [0, 1, 2, 3, 4]
    checks = [{reason["check"] for reason in entry["reasons"]} for entry in checked["rejected"]]
    assert checks == [
        {"type"},
        {"format", "missing"},
        {"enum", "missing"},
        {"type"},
        {"enum", "missing", "unknown"},
    ]


def test_an_unknown_data_set_is_invalid_input(run_agent: RunAgent) -> None:
    ran = run_agent("ingest", {"dataset": "iris"})
    assert ran.exit_code == 65
    assert "dataset" in ran.log
