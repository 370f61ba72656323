"""What becomes of an Execution where policies deny its start, or that it goes on."""

from __future__ import annotations

from dataclasses import replace

from ossa.engine.rulings import Ruling
from tests.unit.engine.judging.judge import DENIED, PASSED, Rules, judged_run, reasons


def test_an_execution_that_is_denied_never_starts() -> None:
    run = judged_run(Rules(starts=DENIED), {"name": "a"}, retry={"maxAttempts": 3})
    decision = run.step()
    assert (run.phase(), decision.create, run.status.tasks) == ("Failed", (), {})
    error = run.status.error
    assert error is not None
    assert (error.reason, error.policy, error.policy_version) == ("PolicyDenied", "no-b", 3)
    assert error.message == "policy 'no-b': not this one"
    assert reasons(decision.events) == ["PolicyDenied", "Failed"]
    before = run.status
    assert run.step().status == before


def test_what_judged_the_start_is_kept() -> None:
    run = judged_run(Rules(starts=PASSED), {"name": "a"})
    run.step()
    assert run.status.judged_at_start is not None
    (key,) = run.status.judged_at_start
    assert run.status.policies == {key: ["no-b@3"]}


def test_nothing_is_kept_where_no_policy_judges() -> None:
    run = judged_run(Rules(), {"name": "a"})
    run.step()
    run.succeed("a")
    assert not {"policies", "judgedAtStart", "overruled"} & run.status.to_json().keys()
    assert not {"judgedAtStart", "judgedAtEnd", "policy"} & run.status.tasks["a"].to_json().keys()


def test_one_that_waited_is_judged_when_it_goes_on() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"}, {"name": "b", "dependsOn": ["a"]}, finally_=[{"name": "last"}])
    run.step()
    run.steer(suspend=True)
    run.succeed("a")
    judge.starts = DENIED
    run.steer(suspend=False)
    assert run.phases() == {"a": "Completed", "b": "Skipped", "last": "Running"}
    run.succeed("last")
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert (run.status.error.reason, run.status.error.policy) == ("PolicyDenied", "no-b")
    assert judge.asked.count("start of run") == 2


def test_one_that_may_not_go_on_ends_at_once_though_a_log_is_awaited() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"})
    run.step()
    run.steer(suspend=True)
    run.fail("a", log=None)
    judge.starts = DENIED
    run.steer(suspend=False)
    assert (run.phase(), run.phases()) == ("Failed", {"a": "Failed"})
    assert run.status.error is not None
    assert run.status.error.reason == "PolicyDenied"


def test_one_that_is_allowed_to_go_on_does() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"})
    run.step()
    run.steer(suspend=True)
    judge.starts = Ruling((replace(PASSED.findings[0], generation=4),))
    run.steer(suspend=False)
    assert (run.phase(), len(run.status.judged_at_start or [])) == ("Running", 2)
    assert sorted(name for names in (run.status.policies or {}).values() for name in names) == ["no-b@3", "no-b@4"]


def test_another_attempt_of_an_execution_is_judged() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"}, retry={"maxAttempts": 3, "backoff": {"initial": "1s", "jitter": 0}})
    run.step()
    run.fail("a")
    assert run.phase() == "Retrying"
    judge.starts = DENIED
    run.later(seconds=2)
    assert run.step().create == ()
    assert (run.phase(), run.status.error and run.status.error.reason) == ("Failed", "PolicyDenied")
