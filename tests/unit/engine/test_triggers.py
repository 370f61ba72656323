"""What triggers ask for: a decision at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ossa.api.trigger import MAX_CATCH_UP, Trigger, TriggerStatus
from ossa.engine.clock import to_text
from ossa.engine.names import triggered_name
from ossa.engine.triggers import Run, Standing, TriggerDecision, due

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(hour: int, minute: int = 0, *, day: int = 1) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


def trigger(name: str = "tick", *, cron: str = "0 * * * *", **fields: Any) -> Trigger:
    return Trigger.model_validate({"name": name, "cron": cron, **fields})


def status(*, since: datetime = MIDNIGHT, last: datetime | None = None, cron: str = "0 * * * *") -> TriggerStatus:
    return TriggerStatus(
        schedule=f"{cron} Etc/UTC", since=to_text(since), last_schedule_time=to_text(last) if last is not None else None
    )


def run(scheduled_at: datetime, *, trigger: str = "tick", **fields: Any) -> Run:
    name = triggered_name("flow", trigger, scheduled_at)
    return Run(name, f"uid-{name}", trigger, scheduled_at, **fields)


def ended(scheduled_at: datetime, *, well: bool = True) -> Run:
    return run(scheduled_at, finished=True, succeeded=well)


def decided(
    held: Trigger,
    old: TriggerStatus | None = None,
    runs: Iterable[Run] = (),
    *,
    standing: Standing = "Published",
    now: datetime = NOW,
) -> TriggerDecision:
    before = {held.name: old} if old is not None else {}
    return due("flow", [held], status=before, runs=runs, standing=standing, now=now)


def times(decision: TriggerDecision) -> list[datetime]:
    return [new.scheduled_at for new in decision.create]


def message(decision: TriggerDecision) -> str:
    return decision.status["tick"].message or ""


# --- when ---


def test_seen_for_the_first_time_nothing_of_the_past_is_started() -> None:
    decision = decided(trigger())
    assert decision.create == ()
    assert decision.wake_at == at(13)
    assert decision.status["tick"] == TriggerStatus(
        schedule="0 * * * * Etc/UTC", since=to_text(NOW), next_schedule_time=to_text(at(13))
    )


def test_a_time_that_has_come_is_started_once_with_the_inputs() -> None:
    held = trigger(inputs={"n": 1})
    decision = decided(held, status(last=at(11)))
    (new,) = decision.create
    assert (new.name, new.trigger, new.scheduled_at) == (f"flow.tick-{29454480}", "tick", at(12))
    assert new.inputs == {"n": 1}
    assert int(at(12).timestamp()) // 60 == 29454480
    assert decision.status["tick"].last_schedule_time == to_text(at(11))  # it is not made yet
    after = decided(held, status(last=at(11)), [run(at(12))])
    assert after.create == ()
    assert after.status["tick"].last_schedule_time == to_text(at(12))
    assert after.status["tick"].next_schedule_time == to_text(at(13))
    assert after.status["tick"].active == 1


def test_of_several_missed_times_the_newest_is_started() -> None:
    assert times(decided(trigger(), status(last=at(3)))) == [at(12)]


def test_all_missed_times_are_made_up_for_and_bounded() -> None:
    held = trigger(catchUp="All")
    assert times(decided(held, status(last=at(9)))) == [at(10), at(11), at(12)]
    assert times(decided(held, status(since=NOW - 100 * HOUR))) == [
        at(12) - n * HOUR for n in reversed(range(MAX_CATCH_UP))
    ]


@pytest.mark.parametrize("catch_up", ["Latest", "All"])
def test_what_is_later_than_the_deadline_is_missed(catch_up: str) -> None:
    held = trigger(catchUp=catch_up, startingDeadlineSeconds=30)
    assert times(decided(held, status(last=at(9)))) == [at(12)]
    late = decided(held, status(last=at(9)), now=NOW + timedelta(seconds=1))
    assert late.create == ()
    assert message(late) == (
        "the run of 2026-01-01T12:00:00Z was missed: it could not start within startingDeadlineSeconds (30)"
    )


def test_a_clock_that_went_back_starts_nothing_again_and_is_told() -> None:
    decision = decided(trigger(), status(last=at(20)))
    assert decision.create == ()
    assert decision.wake_at == at(21)
    assert "the clock has gone back behind 2026-01-01T20:00:00Z" in message(decision)


def test_a_clock_that_was_ahead_at_first_sight_does_not_hold_it_up() -> None:
    assert decided(trigger(), status(since=at(20))).wake_at == at(13)


def test_a_changed_schedule_makes_up_for_nothing() -> None:
    for changed in (trigger(cron="*/5 * * * *"), trigger(timeZone="Europe/Berlin")):
        decision = decided(changed, status(last=at(3)))
        assert decision.create == ()
        assert decision.status["tick"].since == to_text(NOW)


# --- suspended, not published ---


def test_what_passes_while_suspended_is_not_made_up_for() -> None:
    decision = decided(trigger(suspend=True), status(last=at(3)), [run(at(3))])
    assert (decision.create, decision.wake_at) == ((), None)
    assert message(decision) == "nothing is started while suspend is true"
    assert decision.status["tick"].active == 1
    resumed = decided(trigger(), decision.status["tick"])
    assert resumed.create == ()
    assert resumed.wake_at == at(13)


def test_a_withheld_workflow_is_suspended() -> None:
    decision = decided(trigger(), status(last=at(3)), standing="Withheld")
    assert decision.create == ()
    assert "spec.published is false" in message(decision)
    assert decided(trigger(), decision.status["tick"]).create == ()


def test_what_passes_while_an_agent_is_missing_is_made_up_for() -> None:
    decision = decided(trigger(), status(last=at(3)), standing="Draft")
    assert (decision.create, decision.wake_at) == ((), None)
    assert "while the Workflow is a Draft" in message(decision)
    assert times(decided(trigger(), decision.status["tick"])) == [at(12)]


def test_a_workflow_that_was_never_published_has_missed_nothing() -> None:
    decision = decided(trigger(), standing="Draft", now=NOW - 5 * HOUR)
    assert decision.status["tick"].since is None
    assert decided(trigger(), decision.status["tick"]).create == ()


# --- concurrency ---


def test_allow_starts_beside_what_runs() -> None:
    assert times(decided(trigger(), status(last=at(11)), [run(at(11))])) == [at(12)]


def test_forbid_waits_and_then_starts_the_newest() -> None:
    held = trigger(concurrencyPolicy="Forbid")
    busy = decided(held, status(last=at(10)), [run(at(10))])
    assert busy.create == ()
    assert message(busy) == (
        "the run of 2026-01-01T12:00:00Z waits for the end of flow.tick-29454360 (concurrencyPolicy Forbid)"
    )
    assert times(decided(held, status(last=at(10)), [ended(at(10))])) == [at(12)]


def test_forbid_makes_up_one_by_one() -> None:
    held = trigger(concurrencyPolicy="Forbid", catchUp="All")
    assert times(decided(held, status(last=at(9)))) == [at(10)]
    assert times(decided(held, status(last=at(9)), [run(at(10))])) == []
    assert times(decided(held, status(last=at(9)), [ended(at(10))])) == [at(11)]


def test_forbid_looks_at_its_own_executions_alone() -> None:
    held = trigger(concurrencyPolicy="Forbid")
    assert times(decided(held, status(last=at(11)), [run(at(11), trigger="tock")])) == [at(12)]


def test_replace_cancels_the_old_one_once_the_new_one_is_there() -> None:
    held = trigger(concurrencyPolicy="Replace", catchUp="All")
    old = run(at(10))
    first = decided(held, status(last=at(10)), [old])
    assert (times(first), first.cancel) == ([at(12)], ())
    second = decided(held, status(last=at(10)), [old, run(at(12))])
    assert (times(second), second.cancel) == ([], (old,))
    asked = run(at(10), cancelled=True)
    assert decided(held, status(last=at(12)), [asked, run(at(12))]).cancel == ()


# --- history ---


def test_ended_executions_beyond_the_limits_are_deleted() -> None:
    held = trigger(successfulHistoryLimit=2, failedHistoryLimit=1)
    good, bad = [ended(at(hour)) for hour in (2, 4, 6, 8)], [ended(at(hour), well=False) for hour in (3, 5)]
    decision = decided(held, status(last=at(12)), [*good, *bad, run(at(1))])
    assert {gone.scheduled_at for gone in decision.delete} == {at(2), at(4), at(3)}


def test_what_is_all_that_tells_of_a_time_is_kept() -> None:
    held = trigger(successfulHistoryLimit=0)
    assert decided(held, status(last=at(11)), [ended(at(12))]).delete == ()
    assert decided(held, status(last=at(12)), [ended(at(12))]).delete == (ended(at(12)),)


def test_triggers_do_not_mix() -> None:
    held = [trigger(), trigger("tock", cron="30 * * * *")]
    old = {"tick": status(last=at(11)), "tock": status(last=at(10, 30), cron="30 * * * *")}
    decision = due("flow", held, status=old, runs=[], standing="Published", now=NOW)
    assert [(new.trigger, new.scheduled_at) for new in decision.create] == [("tick", at(12)), ("tock", at(11, 30))]
    assert decision.wake_at == at(12, 30)
    assert decision.status.keys() == {"tick", "tock"}


def test_names_differ_and_fit() -> None:
    pairs = [("a.b", "c"), ("a", "b"), ("a-b", "c"), ("a", "b-c"), ("w" * 253, "t" * 63), ("w" * 252 + "x", "t" * 63)]
    names = [triggered_name(workflow, name, at(12)) for workflow, name in pairs]
    assert len(set(names)) == len(pairs)
    assert max(map(len, names)) <= 253
