"""What is told at the end."""

from __future__ import annotations

import json

from tests.chaos import report
from tests.chaos.records import Evidence, FaultLog, Finding


def test_it_counts_faults_and_writes_findings_out() -> None:
    log = FaultLog(began=100.0, left_out={"apiserver-restarted": "not here"}, renewals=[1.0, 3.0, 14.0])
    log.note("pod-deleted", "x")
    log.note("pod-deleted", "y")
    found = Finding("a task ran twice", "chain-1 a[0]", "once", "twice", 107.25)
    told = report.summary(Evidence([], {}, {}, log, {}), [found], seed=7, seconds=60.04)
    assert json.loads(json.dumps(told)) == told
    assert (told["faults"], told["faultsInAll"], told["longestWithoutLeader"]) == ({"pod-deleted": 2}, 2, 11.0)
    assert told["findings"][0]["at"] == 7.25
    text = report.as_text(told)
    for line in (
        "seed 7, 60 s",
        "  pod-deleted                              2",
        "  left out: apiserver-restarted: not here",
        "a task ran twice: chain-1 a[0] at 7.2 s",
        "  expected: once",
    ):
        assert line in text.splitlines()
    assert [line.split()[1] for line in log.lines] == ["pod-deleted", "pod-deleted"]
