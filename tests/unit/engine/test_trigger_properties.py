"""Random schedules, clocks, crashes and edits: what must hold of triggers whatever happens.

The machine holds a small world: the Executions as the API server has them, the status as it is written, and an operator
that may die between any two of its writes. Its decisions see both as they are: names make creations idempotent, and
what a late view could do wrong is the tests' of the controller.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ossa.api.trigger import MAX_CATCH_UP, Trigger, TriggerStatus
from ossa.engine.clock import from_text, to_text
from ossa.engine.cron import parse_schedule
from ossa.engine.triggers import Run, Standing, TriggerDecision, due

BEGIN = datetime(2026, 3, 29, 0, 0, 20, tzinfo=UTC)  # an hour before Berlin's clocks are put forward
CRONS = ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "@hourly", "*/10 3,4 * * SUN"]
TRIGGERS = st.fixed_dictionaries(
    {
        "cron": st.sampled_from(CRONS),
        "timeZone": st.sampled_from(["Etc/UTC", "Europe/Berlin"]),
        "concurrencyPolicy": st.sampled_from(["Allow", "Forbid", "Replace"]),
        "catchUp": st.sampled_from(["Latest", "All"]),
        "successfulHistoryLimit": st.integers(0, 2),
        "failedHistoryLimit": st.integers(0, 2),
    },
    optional={"startingDeadlineSeconds": st.sampled_from([1, 60, 600])},
)


class World(RuleBasedStateMachine):
    """A workflow with two triggers."""

    @initialize(one=TRIGGERS, two=TRIGGERS)
    def begin(self, one: dict[str, Any], two: dict[str, Any]) -> None:
        self.now = self.latest = BEGIN
        self.triggers = {
            name: Trigger.model_validate({"name": name, **fields})
            for name, fields in zip("ab", (one, two), strict=True)
        }
        self.status: dict[str, TriggerStatus] = {}
        self.runs: dict[str, Run] = {}
        self.made: Counter[str] = Counter()
        self.standing: Standing = "Published"

    # --- the operator ---------------------------------------------------------------------------------------

    @rule()
    def turn(self) -> None:
        self.act(steps=1000)

    @rule(steps=st.integers(0, 4))
    def turn_and_death(self, steps: int) -> None:
        self.act(steps=steps)

    def act(self, *, steps: int) -> None:
        """Makes, looks again, cancels, deletes, and writes the status; dies after `steps` of these."""
        for new in self.decided().create:
            if not steps:
                return
            steps -= 1
            assert new.name not in self.runs
            self.made[new.name] += 1
            self.runs[new.name] = Run(new.name, f"uid-{new.name}", new.trigger, new.scheduled_at)
        decision = self.decided()
        for run in decision.cancel:
            if not steps:
                return
            steps -= 1
            self.runs[run.name] = replace(run, cancelled=True)
        for run in decision.delete:
            if not steps:
                return
            steps -= 1
            del self.runs[run.name]
        if steps:
            self.status = {name: stored(status) for name, status in decision.status.items()}

    # --- the world ------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 30, 60, 61, 600, 3600, 5 * 3600, 86400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.latest = max(self.latest, self.now)

    @rule(seconds=st.sampled_from([1, 60, 3600, 90000]))
    def the_clock_steps_back(self, seconds: int) -> None:
        self.now -= timedelta(seconds=seconds)

    @precondition(lambda self: any(not run.finished for run in self.runs.values()))
    @rule(data=st.data(), well=st.booleans())
    def an_execution_ends(self, data: st.DataObject, well: bool) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, run in self.runs.items() if not run.finished)))
        self.runs[name] = replace(self.runs[name], finished=True, succeeded=well)

    @precondition(lambda self: self.recorded())
    @rule(data=st.data())
    def somebody_deletes_an_execution(self, data: st.DataObject) -> None:
        del self.runs[data.draw(st.sampled_from(self.recorded()))]

    @rule(name=st.sampled_from("ab"), change=TRIGGERS, suspend=st.booleans())
    def somebody_edits_a_trigger(self, name: str, change: dict[str, Any], suspend: bool) -> None:
        self.triggers[name] = Trigger.model_validate({"name": name, **change, "suspend": suspend})

    @rule(standing=st.sampled_from(["Published", "Published", "Draft", "Withheld"]))
    def the_workflow_changes(self, standing: Standing) -> None:
        self.standing = standing

    # --- what must hold -------------------------------------------------------------------------------------

    def decided(self) -> TriggerDecision:
        """A decision, checked."""
        triggers = list(self.triggers.values())
        asked: dict[str, Any] = {"status": self.status, "standing": self.standing, "now": self.now}
        decision = due("flow", triggers, runs=self.runs.values(), **asked)
        assert due("flow", triggers, runs=reversed(list(self.runs.values())), **asked) == decision
        for new in decision.create:
            trigger = self.triggers[new.trigger]
            # Never the same time twice, whoever died, whatever the clock did.
            assert self.made[new.name] == 0
            assert new.name == f"flow.{new.trigger}-{int(new.scheduled_at.timestamp()) // 60}"
            assert new.scheduled_at <= self.now
            assert (
                next(parse_schedule(trigger.cron, trigger.time_zone).after(new.scheduled_at - timedelta(seconds=1)))
                == new.scheduled_at
            )
            assert self.standing == "Published"
            assert not trigger.suspend
            if trigger.starting_deadline_seconds is not None:
                assert self.now - new.scheduled_at <= timedelta(seconds=trigger.starting_deadline_seconds)
        for name, trigger in self.triggers.items():
            new_times = [new.scheduled_at for new in decision.create if new.trigger == name]
            active = [run for run in self.runs.values() if run.trigger == name and not run.finished]
            assert new_times == sorted(set(new_times))
            assert len(new_times) <= (MAX_CATCH_UP if trigger.catch_up == "All" else 1)
            if trigger.concurrency_policy == "Forbid":
                assert len(new_times) <= (0 if active else 1)
            if trigger.concurrency_policy != "Replace":
                assert not [run for run in decision.cancel if run.trigger == name]
            assert decision.status[name].active == len(active)
            upcoming = decision.status[name].next_schedule_time
            assert upcoming is None or from_text(upcoming) > self.now
        assert all(not run.finished for run in decision.cancel)
        assert all(run.finished and run.name in self.recorded() for run in decision.delete)
        if decision.wake_at is not None:
            assert decision.wake_at > self.now
        return decision

    def recorded(self) -> list[str]:
        """Executions whose time the status holds."""
        lasts = {name: status.last_schedule_time for name, status in self.status.items()}
        return sorted(
            name
            for name, run in self.runs.items()
            if (last := lasts.get(run.trigger)) is not None and to_text(run.scheduled_at) <= last
        )

    def teardown(self) -> None:
        """Left alone, it settles: a second turn at the same moment asks for nothing and changes nothing."""
        if not hasattr(self, "triggers"):
            return
        self.standing, self.now = "Published", self.latest + timedelta(days=8)
        for name, trigger in self.triggers.items():
            self.triggers[name] = trigger.model_copy(update={"suspend": False})
        self.act(steps=1000)
        self.now += timedelta(days=8)  # each schedule has fired since
        for _ in range(2 * MAX_CATCH_UP):
            self.act(steps=1000)
            self.runs = {name: replace(run, finished=True, succeeded=True) for name, run in self.runs.items()}
        settled = self.decided()
        assert (settled.create, settled.cancel, settled.delete) == ((), (), ())
        assert {name: stored(status) for name, status in settled.status.items()} == self.status
        for name, trigger in self.triggers.items():
            newest = parse_schedule(trigger.cron, trigger.time_zone).latest(self.now - timedelta(days=8), self.now, 1)
            late = trigger.starting_deadline_seconds
            in_time = late is None or self.now - newest[0] <= timedelta(seconds=late)
            assert (self.status[name].last_schedule_time == to_text(newest[0])) or not in_time
            kept = [run for run in self.runs.values() if run.trigger == name]
            assert len([run for run in kept if run.succeeded]) <= trigger.successful_history_limit


def stored(status: TriggerStatus) -> TriggerStatus:
    """The status as it comes back from the API server."""
    return TriggerStatus.model_validate(json.loads(json.dumps(status.to_json())))


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
