"""Random graphs, results, observations and crashes: what must hold whatever happens.

The machine holds a small world: pods as the API server has them, the operator's view of them (late, repeated or out
of order), and the operator, which may die between writing the status and creating or deleting pods.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ossa.api.execution import AttemptStatus, ExecutionStatus
from ossa.api.workflow import WorkflowSpec
from ossa.engine.decide import Decision, PodRequest, decide
from ossa.engine.rulings import NOBODY, Finding, Judge, Ruling, RunCase, TaskCase
from ossa.engine.snapshot import Outage, PodView, Snapshot, WorkflowView
from ossa.engine.states import EXECUTION_EDGES, EXECUTION_TERMINAL, TASK_EDGES, TASK_TERMINAL
from ossa.engine.units import active_units, held_locks
from tests.unit.engine.world import NOW, agent, compiled, execution, reference, spec

EXECUTION_CHANGES = {(edge.source, edge.target) for edge in EXECUTION_EDGES}
TASK_CHANGES = {(edge.source, edge.target) for edge in TASK_EDGES}
OUTPUT_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}

ENDINGS: list[dict[str, Any]] = [
    {"phase": "Succeeded", "exit_code": 0, "message": '{"n": 1}'},
    {"phase": "Succeeded", "exit_code": 0, "message": '{"n": 0}'},
    {"phase": "Succeeded", "exit_code": 0, "message": ""},
    {"phase": "Succeeded", "exit_code": 0, "message": '{"n": "x"}'},
    {"phase": "Succeeded", "exit_code": 0, "message": "not JSON"},
    {"phase": "Succeeded", "exit_code": 0, "message": json.dumps({"n": 1, "r": reference()})},
    {"phase": "Running", "exit_code": 0, "message": '{"n": 2}', "containers": 2},
    {"phase": "Failed", "exit_code": 1, "terminated_reason": "Error", "message": "boom"},
    {"phase": "Failed", "exit_code": 137, "terminated_reason": "OOMKilled"},
    {"phase": "Failed", "pod_reason": "Evicted"},
    {"phase": "Failed", "pod_reason": "OutOfcpu"},
]
STANDINGS: list[dict[str, Any]] = [
    {"phase": "Running"},
    {"phase": "Pending", "waiting_reason": "ImagePullBackOff"},
    {"phase": "Pending", "waiting_reason": "InvalidImageName"},
    {"phase": "Pending", "unschedulable": "0/1 nodes are available"},
]


# What a task may be besides.
WAYS: list[dict[str, Any]] = [
    {},
    {},
    {
        "retry": {
            "maxAttempts": 2,
            "backoff": {"initial": "1s"},
            "reasons": ["Error", "Timeout", "OOMKilled", "InvalidOutput"],
        }
    },
    {"continueOnError": True, "defaultOutput": {"n": 0}},
    {"forEach": {"range": {"count": 3}, "parallelism": 2}},
    {"forEach": {"range": {"count": 2}}, "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}}},
    {"locks": [{"name": "one"}]},
]


@st.composite
def workflows(draw: st.DrawFn) -> WorkflowSpec:
    """A workflow without cycles; its expressions may fail."""
    tasks: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        above = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        task: dict[str, Any] = {"name": f"t{number}", "dependsOn": [f"t{parent}" for parent in above]}
        reads, asks, timed = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        if above and reads:
            task["input"] = {"n": f"${{{{ tasks.t{above[0]}.output.n }}}}"}
        if above and asks:
            task["when"] = f"${{{{ has(tasks.t{above[-1]}.output.n) && tasks.t{above[-1]}.output.n > 0 }}}}"
        if timed:
            task["timeout"] = "1m"
        task |= draw(st.sampled_from(WAYS))
        tasks.append(task)
    outputs = {"n": "${{ has(tasks.t0.output.n) }}"} if draw(st.booleans()) else {}
    more: dict[str, Any] = {"outputs": outputs, "failFast": draw(st.booleans())}
    if draw(st.booleans()):
        more["finally_"] = [{"name": "last"}]
    if draw(st.booleans()):
        more["retry"] = {"maxAttempts": 2, "backoff": {"initial": "1s"}}
    if draw(st.booleans()):
        more["parallelism"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        more["timeout"] = "3m"
    return spec(*draw(st.permutations(tasks)), **more)


TASKS = [*(f"t{number}" for number in range(6)), "last"]
DENIAL = Ruling((Finding("a-policy", 1, "Enforce", "fail", denies=True, message="no"),))
WARNING = Ruling((Finding("a-policy", 1, "Warn", "fail", message="hm"),))


@dataclass(frozen=True)
class Denier:
    """A judge that denies by name: the start of tasks, every other item of some, what some gave, or all of it."""

    starts: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    everything: bool = False

    def denied(self, task: str, index: int | None) -> bool:
        return task in self.starts or (task in self.items and (index or 0) % 2 == 1)

    def execution(self, _case: RunCase) -> Ruling:
        return DENIAL if self.everything else WARNING

    def task(self, case: TaskCase) -> Ruling:
        return DENIAL if self.denied(case.unit.task, case.unit.index) else WARNING

    def output(self, case: TaskCase) -> Ruling:
        return DENIAL if case.unit.task in self.outputs else WARNING


NAMES = st.frozensets(st.sampled_from(TASKS), max_size=2)
JUDGES = st.one_of(
    st.just(NOBODY),
    st.just(NOBODY),
    st.builds(Denier, starts=NAMES, items=NAMES, outputs=NAMES),
    st.builds(Denier, everything=st.just(True)),
)


class World(RuleBasedStateMachine):
    """An operator, an API server, and whatever happens."""

    @initialize(workflow=workflows(), judge=JUDGES)
    def begin(self, workflow: WorkflowSpec, judge: Judge) -> None:
        self.judge = judge
        self.now = NOW
        self.revision = compiled(workflow, agent(outputSchema=OUTPUT_SCHEMA))
        self.execution = execution()
        self.pods: dict[str, PodView] = {}
        self.seen: dict[str, PodView] = {}
        self.history: dict[str, list[PodView]] = {}
        self.in_flight: set[str] = set()
        self.refused: dict[str, str] = {}
        self.logs: dict[str, str] = {}
        self.wanted: set[str] = set()
        self.requested: set[str] = set()
        self.outages: tuple[Outage, ...] = ()
        self.epoch = 1

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

    # --- how the world works --------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        view = WorkflowView(phase="Published", revision=self.revision.name, message=None, current=True)
        return Snapshot(
            execution=self.execution,
            workflow=view,
            revision=self.revision,
            pods=dict(self.seen),
            in_flight=frozenset(self.in_flight),
            refused=dict(self.refused),
            log_tails=dict(self.logs),
            outages=self.outages,
            epoch=self.epoch,
            judge=self.judge,
        )

    def steer(self, **fields: bool) -> None:
        wanted = self.execution.spec.model_copy(update=fields)
        self.execution = self.execution.model_copy(update={"spec": wanted})

    def act(self, decision: Decision) -> None:
        self.execution = self.execution.model_copy(update={"status": stored(decision.status)})
        self.request(decision)
        for request in decision.create:
            self.create(request)
            self.in_flight.add(request.name)
        for name in decision.delete:
            if name in self.pods:
                self.delete(name, gone=False)
        self.wanted |= set(decision.need_logs)

    def request(self, decision: Decision) -> None:
        self.requested |= {request.name for request in decision.create}

    def create(self, request: PodRequest) -> None:
        assert request.name not in self.pods
        pod = PodView(
            name=request.name,
            uid=f"uid-{request.name}",
            task=request.task,
            attempt=request.attempt,
            phase="Pending",
            created_at=self.now,
            input_json=json.dumps(request.input),
            index=request.identity.index,
            round=request.identity.round,
            lost=request.identity.lost,
            locks=request.identity.locks,
            judged=request.identity.judged,
        )
        self.set_pod(pod)

    def set_pod(self, pod: PodView) -> None:
        self.pods[pod.name] = pod
        self.history.setdefault(pod.name, []).append(pod)

    def delete(self, name: str, *, gone: bool) -> None:
        if gone:
            del self.pods[name]
        else:
            self.set_pod(replace(self.pods[name], deleting=True))

    def see(self, names: Iterable[str]) -> None:
        for name in names:
            self.in_flight.discard(name)
            if name in self.pods:
                self.seen[name] = self.pods[name]
            else:
                self.seen.pop(name, None)

    def running(self) -> list[str]:
        return sorted(name for name, pod in self.pods.items() if not pod.ended)


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


def stored(status: ExecutionStatus) -> ExecutionStatus:
    """The status as it comes back from the API server."""
    return ExecutionStatus.model_validate(json.loads(json.dumps(status.to_json())))


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    print_blob=True,  # each run goes through other worlds: how to see a bad one again
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
