"""The figures of a scenario, from counters and from what was seen."""

from __future__ import annotations

from tests.bench import figures
from tests.bench.figures import Counters
from tests.bench.measure import Seen

CHAIN = {"a": frozenset[str](), "b": frozenset("a")}


def requests(pods: int, patches: int, revisions: int) -> str:
    head = "apiserver_request_total{group="
    return "\n".join(
        [
            f'{head}"",resource="pods",subresource="",verb="POST",code="201"}} {pods}',
            f'{head}"",resource="pods",subresource="status",verb="PATCH",code="200"}} 99999',
            f'{head}"ossa.dev",resource="executions",subresource="status",verb="PATCH",code="200"}} {patches}',
            f'{head}"ossa.dev",resource="executions",subresource="status",verb="PATCH",code="409"}} 5',
            f'{head}"apps",resource="controllerrevisions",subresource="",verb="PUT",code="200"}} {revisions}',
            f"go_memstats_alloc_bytes_total {pods * 2048}",
        ]
    )


def test_costs_are_what_grew_meanwhile_by_the_tasks() -> None:
    before = Counters({"reconciler": 1.0, "machine": 100.0}, {"POST": 5.0}, requests(10, 20, 0))
    after = Counters({"reconciler": 1.5, "apiserver": 1.0, "machine": 102.0}, {"POST": 135.0}, requests(110, 90, 25))
    found = figures.cost(before, after, tasks=100)
    assert found["requests_per_task_post"] == 1.3
    assert found["pods_post_per_task"] == 1.0
    assert found["pods_get_per_task"] == 0.0
    assert found["status_patch_per_task"] == 0.7
    assert found["revisions_put_per_task"] == 0.25
    assert found["cpu_ms_per_task_reconciler"] == 5.0
    assert found["apiserver_alloc_kib_per_task"] == 2.0
    assert found["cpu_ms_per_task_other"] == 5.0
    assert found["other_share"] == 0.25


def test_the_speed_is_that_of_the_executions_that_were_created() -> None:
    seen = Seen(
        added={"x/a/0": 1.5, "x/b/0": 2.25, "model/a/0": 0.0},
        ended={"x/a/0": 2.0, "x/b/0": 3.0, "model/a/0": 0.5},
        finished={"x": ("Completed", 5.0), "model": ("Completed", 0.75)},
    )
    found = figures.speed(seen, {"x": 1.0, "y": 2.0}, CHAIN)
    assert (found["executions"], found["completed_share"], found["tasks"]) == (2.0, 0.5, 2.0)
    assert (found["duration_s"], found["tasks_per_s"]) == (4.0, 0.5)
    assert (found["successor_p50_ms"], found["first_pod_p50_ms"], found["execution_p50_ms"]) == (250.0, 500.0, 4000.0)


def test_a_run_in_which_nothing_ended_has_figures_too() -> None:
    found = figures.speed(Seen(), {"x": 1.0}, CHAIN)
    assert (found["completed_share"], found["tasks_per_s"]) == (0.0, 0.0)
    assert "successor_p50_ms" not in found


def test_the_ratio_of_cpu_leaves_out_what_others_took() -> None:
    most = {"tasks_per_s": 200.0, "cpu_ms_per_task_apiserver": 8.0, "cpu_ms_per_task_other": 100.0}
    task = {"tasks_per_s": 50.0, "cpu_ms_per_task_apiserver": 12.0, "cpu_ms_per_task_reconciler": 4.0}
    assert figures.ratios(task, most) == {"ceiling_ratio": 0.25, "cpu_ratio": 0.5}
    assert figures.ratios(task, {"tasks_per_s": 100.0}) == {"ceiling_ratio": 0.5}
