"""What is kept of an Execution that has ended: thousands of them may be left in a cluster."""

from __future__ import annotations

from typing import Any

from controllers.cache import Key, ObjectCache
from controllers.working import Working, kept


def execution(*, ended: bool, version: str = "1", **annotations: str) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Completed" if ended else "Running",
        "revision": "flow-0123456789",
        "inputs": {"rows": 3},
        "tasks": {"a": {"phase": "Completed", "attempt": 1, "output": {"n": 1}}},
        "outputs": {"n": 1},
        "conditions": [{"type": "Finished", "status": "True" if ended else "False", "reason": "Completed"}],
    }
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {
            "name": "run",
            "namespace": "lab",
            "uid": "u1",
            "resourceVersion": version,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
            "annotations": annotations,
        },
        "spec": {"workflow": "flow", "inputs": {"rows": 3}, "ttlSecondsAfterFinished": 60},
        "status": status,
    }


def test_one_that_runs_is_kept_but_for_what_nobody_reads() -> None:
    item = execution(ended=False)
    found = kept(item)
    assert found["status"] == item["status"]
    assert found["spec"] == item["spec"]
    assert "managedFields" not in found["metadata"]
    assert "managedFields" in item["metadata"]


def test_of_one_that_has_ended_the_values_go() -> None:
    found = kept(execution(ended=True))
    assert found["spec"] == {"workflow": "flow", "ttlSecondsAfterFinished": 60}
    assert found["status"].keys() == {"phase", "revision", "conditions"}


def test_a_child_keeps_its_outputs_for_its_parent() -> None:
    found = kept(execution(ended=True, **{"ossa.dev/identity": "{}"}))
    assert found["status"]["outputs"] == {"n": 1}


def test_at_rest_it_is_what_the_cache_keeps() -> None:
    cache = ObjectCache(keep=kept)
    held = Working.of(execution(ended=False))
    assert held.at_rest(execution(ended=False)) is held
    cache.put(execution(ended=True, version="2"))
    item = cache.get(Key("lab", "run"))
    assert item is not None
    held.told = True
    rested = held.at_rest(item)
    assert (rested.ended, rested.told, rested.status.tasks, rested.execution.spec.inputs) == (True, True, {}, {})
    assert rested.execution.spec.ttl_seconds_after_finished == 60
