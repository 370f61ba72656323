"""What /metrics tells of the engine."""

from __future__ import annotations

from prometheus_client import generate_latest

from controllers.limits import Limits
from controllers.metrics import Metrics
from ossa.api.execution import ExecutionStatus, TaskStatus


def test_executions_tasks_and_locks_are_counted() -> None:
    tasks = {
        "a": TaskStatus(phase="Completed"),
        "b": TaskStatus(phase="Running", locks=["db"]),
        "c": TaskStatus(phase="Retrying", reason="OOMKilled"),
    }
    statuses = [ExecutionStatus(phase="Running", tasks=tasks), ExecutionStatus(phase="Completed", tasks=tasks)]
    limits = Limits(most=1, namespace_most=lambda _: None, wake=lambda _: None)
    limits.update("u1", "lab", tasks)
    limits.waits("u2", "lab", starved=True, rank=(0.0,), locks=frozenset({"db"}))
    metrics = Metrics()
    metrics.look_at(lambda: statuses, limits)
    text = generate_latest(metrics.registry).decode()
    for line in (
        'ossa_executions{phase="Completed"} 1.0',
        'ossa_executions{phase="Running"} 1.0',
        'ossa_tasks{phase="Completed"} 1.0',
        'ossa_tasks{phase="Running"} 1.0',
        'ossa_retrying{reason="OOMKilled"} 1.0',
        "ossa_locks_held 1.0",
        "ossa_waiting_for_locks 1.0",
        "ossa_waiting_for_room 1.0",
    ):
        assert line in text.splitlines()
