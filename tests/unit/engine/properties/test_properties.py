"""Random graphs, results, observations and crashes: what must hold whatever happens.

The machine holds a small world, and the operator in it, which may die between writing the status and creating or
deleting pods.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from ossa.api.execution import AttemptStatus, ExecutionStatus
from ossa.api.workflow import WorkflowSpec
from ossa.engine.decide import Decision, decide
from ossa.engine.rulings import Judge
from ossa.engine.snapshot import Outage, PodView
from ossa.engine.states import EXECUTION_EDGES, EXECUTION_TERMINAL, TASK_EDGES, TASK_TERMINAL
from ossa.engine.units import active_units, held_locks
from tests.unit.engine.properties.cluster import Cluster, stored
from tests.unit.engine.properties.drawn import ENDINGS, JUDGES, OUTPUT_SCHEMA, STANDINGS, Denier, workflows
from tests.unit.engine.world import agent, compiled

EXECUTION_CHANGES = {(edge.source, edge.target) for edge in EXECUTION_EDGES}
TASK_CHANGES = {(edge.source, edge.target) for edge in TASK_EDGES}


class World(Cluster):
    """An operator, an API server, and whatever happens."""

    @initialize(workflow=workflows(), judge=JUDGES)
    def begin(self, workflow: WorkflowSpec, judge: Judge) -> None:
        self.build(compiled(workflow, agent(outputSchema=OUTPUT_SCHEMA)), judge)

    # --- the operator ---------------------------------------------------------------------------------------

    @rule()
    def turn(self) -> None:
        self.act(self.decided())

    @rule(created=st.booleans())
    def turn_and_death(self, created: bool) -> None:
        """The status is written; then the operator dies, before or after it created the first pod."""
        decision = self.decided()
        self.execution = self.execution.model_copy(update={"status": stored(decision.status)})
        self.request(decision)
        if created and decision.create:
            self.create(decision.create[0])
        self.restart()

    @rule(data=st.data())
    def turn_and_death_before_it_is_written(self, data: st.DataObject) -> None:
        """Some pods are created, and the operator dies before it wrote the status that tells of them."""
        decision = self.decided()
        self.request(decision)
        if not decision.first:
            # They are asked for side by side: any of them may be there, and any not.
            for request in decision.create:
                if data.draw(st.booleans()):
                    self.create(request)
        self.restart()

    @rule(suspend=st.booleans())
    def somebody_suspends_or_resumes(self, suspend: bool) -> None:
        self.steer(suspend=suspend)

    @precondition(lambda self: len(self.history) > 4)
    @rule()
    def somebody_cancels(self) -> None:
        self.steer(cancel=True)

    @rule(judge=JUDGES)
    def policies_change(self, judge: Judge) -> None:
        self.judge = judge

    @rule()
    def restart(self) -> None:
        """A new operator knows what it lists, and nothing else."""
        self.seen = dict(sorted(self.pods.items()))  # as the API server lists them: by names, which say nothing
        self.epoch += 1
        self.in_flight, self.refused, self.logs, self.wanted = set(), {}, {}, set()

    @precondition(lambda self: self.wanted)
    @rule(text=st.sampled_from(["", "a\nb", "x" * 9000]))
    def fetch_logs(self, text: str) -> None:
        self.logs.update(dict.fromkeys(self.wanted, text))
        self.wanted = set()

    # --- the pods -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.running())
    @rule(data=st.data(), change=st.sampled_from(ENDINGS))
    def a_pod_ends(self, data: st.DataObject, change: dict[str, Any]) -> None:
        self.pod_changes(data, change)
        self.see(self.pods)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), change=st.sampled_from(STANDINGS + ENDINGS))
    def pod_changes(self, data: st.DataObject, change: dict[str, Any]) -> None:
        name = data.draw(st.sampled_from(self.running()))
        fresh = {"waiting_reason": None, "unschedulable": None}
        self.set_pod(replace(self.pods[name], **{**fresh, **change}))

    @precondition(lambda self: self.pods)
    @rule(data=st.data(), gone=st.booleans())
    def somebody_deletes_a_pod(self, data: st.DataObject, gone: bool) -> None:
        self.delete(data.draw(st.sampled_from(sorted(self.pods))), gone=gone)

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def see_a_pod(self, data: st.DataObject) -> None:
        """The view shows any state that the pod ever had, the newest or an old one again; or that it is gone."""
        name = data.draw(st.sampled_from(sorted(self.history)))
        self.see([name])
        if name in self.pods:
            self.seen[name] = data.draw(st.sampled_from(self.history[name]))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def a_pod_is_refused(self, data: st.DataObject) -> None:
        """The API server answers the creation with 403 or 422."""
        name = data.draw(st.sampled_from(sorted(self.in_flight)))
        if self.pods.get(name) == self.history[name][0]:
            del self.pods[name], self.history[name]
            self.in_flight.discard(name)
            self.refused[name] = "exceeded quota"

    @rule(seconds=st.sampled_from([1, 20, 40, 90]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(ends=st.booleans())
    def artifacts_are_down(self, ends: bool) -> None:
        self.outages = (Outage(self.now, self.now + timedelta(seconds=30) if ends else None),)

    @rule()
    def artifacts_are_up(self) -> None:
        self.outages = tuple(replace(outage, end=outage.end or self.now) for outage in self.outages)

    # --- what must hold -------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """When everything goes well from now on, the Execution ends."""
        if not hasattr(self, "execution"):
            return
        self.artifacts_are_up()
        self.steer(suspend=False)
        for _ in range(200):
            if self.execution.status.phase in EXECUTION_TERMINAL:
                break
            for name in self.running():
                self.set_pod(replace(self.pods[name], phase="Succeeded", exit_code=0, message='{"n": 1}'))
            for name in [name for name, pod in self.pods.items() if pod.deleting]:
                del self.pods[name]
            self.seen, self.in_flight = dict(self.pods), set()
            self.fetch_logs("")
            self.now += timedelta(seconds=1)
            self.act(self.decided())
        assert self.execution.status.phase in EXECUTION_TERMINAL
        assert all(task.phase in TASK_TERMINAL for task in self.execution.status.tasks.values())
        assert (self.execution.status.error is None) == (self.execution.status.phase == "Completed")
        assert len(json.dumps(self.execution.status.to_json())) < 100 * 1024

    def decided(self) -> Decision:
        """A decision, checked."""
        snapshot = self.snapshot()
        decision = decide(snapshot, self.now)
        assert decide(snapshot, self.now) == decision
        before, after = self.execution.status, decision.status
        self.check_changes(before, after)
        self.check_creations(decision)
        self.check_deletions(decision)
        if before.phase in EXECUTION_TERMINAL:
            assert after is before
            assert not decision.create
        # Deciding again before anything happened asks for nothing more.
        settled = replace(
            snapshot,
            execution=self.execution.model_copy(update={"status": stored(after)}),
            in_flight=snapshot.in_flight | {request.name for request in decision.create},
        )
        again = decide(settled, self.now)
        assert again.status == settled.execution.status
        assert (again.create, again.events) == ((), ())
        return decision

    def check_changes(self, before: ExecutionStatus, after: ExecutionStatus) -> None:
        assert is_reachable(before.phase, after.phase, EXECUTION_CHANGES)
        assert after.attempt - before.attempt in (0, 1)
        assert after.attempt <= 2
        for name, task in before.tasks.items():
            now = after.tasks[name]
            if task.phase in TASK_TERMINAL and after.attempt == before.attempt:
                assert now == task
            assert is_reachable(task.phase, now.phase, TASK_CHANGES)
            assert now.attempt >= task.attempt
            for held in (now, *(now.items.active.values() if now.items is not None else ())):
                policy = self.revision.tasks[name].spec.retry
                made = held.attempt - held.lost - held.earlier
                assert made <= (policy.max_attempts if policy is not None else 1)
                assert made >= (1 if held.pod is not None and held.phase == "Running" else 0)

    def check_creations(self, decision: Decision) -> None:
        judge = self.judge if isinstance(self.judge, Denier) else Denier()
        for request in decision.create:
            tasks = decision.status.tasks
            each = self.revision.tasks[request.task].spec.for_each is not None
            assert not judge.denied(request.task, request.identity.index if each else None)
            for above in self.revision.graph.needs.get(request.task, ()):
                spec = self.revision.tasks[above].spec
                ways = {"Completed"} | ({"Failed"} if spec.continue_on_error else set())
                # What depends on a skipped task runs where that one has a default to be read.
                assert tasks[above].phase in ways | ({"Skipped"} if spec.default_output is not None else set())
            if request.task in self.revision.final.order:
                assert all(tasks[name].phase in TASK_TERMINAL for name in self.revision.graph.order)
            assert self.held(decision.status, request.task, request.identity.index).pod == request.name
            assert request.name not in self.requested
            same = (request.task, request.identity.index)
            live = [pod for pod in self.seen.values() if (pod.task, pod.index) == same and is_live(pod)]
            assert all(pod.name in decision.delete for pod in live)
        limit = self.revision.revision.spec.parallelism
        running = [s for _, s in active_units(decision.status.tasks) if s.phase == "Running"]
        if decision.create and limit is not None:
            assert len(running) <= max(limit, len(self.pods))
        assert held_locks(decision.status.tasks).get("one", 0) <= 1 or not decision.create

    def check_deletions(self, decision: Decision) -> None:
        """What may still run is deleted exactly where its task does not wait for it."""
        for name, pod in self.seen.items():
            task = self.held(decision.status, pod.task, pod.index)
            waited_for = task.phase == "Running" and task.pod == name
            if pod.phase not in ("Succeeded", "Failed") and not pod.deleting:
                assert (name in decision.delete) != waited_for
            else:
                assert name not in decision.delete

    def held(self, status: ExecutionStatus, task: str, index: int) -> AttemptStatus:
        """The status of a task, or of an item of it."""
        items = status.tasks[task].items
        return items.active.get(str(index), AttemptStatus()) if items is not None else status.tasks[task]


def is_reachable(source: str, target: str, edges: set[tuple[str, str]]) -> bool:
    """Whether a turn may lead from one phase to another: along edges of the table."""
    known = {source}
    while True:
        more = {after for before, after in edges if before in known} - known
        if target in known:
            return True
        if not more:
            return False
        known |= more


def is_live(pod: PodView) -> bool:
    """Whether a pod may still do something."""
    return not pod.ended and not pod.deleting


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    print_blob=True,  # each run goes through other worlds: how to see a bad one again
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
