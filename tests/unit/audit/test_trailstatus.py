"""What the monitor tells of the trail, and what the compliance report makes of it."""

from __future__ import annotations

from datetime import timedelta

from ossa.api.trail import STATUS_KEY, TrailStatus
from ossa.audit.findings import Verdict
from ossa.governance.evidence import of_trail
from ossa.monitor.trailstatus import manifest, status_of
from tests.unit.audit.trails import NOW, chain_of, verdict_of


def told(records: Verdict, archive: Verdict | None = None) -> TrailStatus:
    verdicts = {"records": records} if archive is None else {"records": records, "archive": archive}
    return status_of(verdicts, NOW, kept=timedelta(days=183), archived=archive is not None)


def test_a_proven_trail_is_told_and_is_evidence() -> None:
    item = manifest("ossa-system", told(verdict_of(chain_of(5)), verdict_of(chain_of(5))))
    data = item["data"]
    assert isinstance(data, dict)
    status = TrailStatus.model_validate_json(data[STATUS_KEY])
    assert (status.links, status.chains, status.faults, status.archived) == (5, 1, 0, True)
    assert of_trail(status, "trail", NOW).status == "evidence-present"
    assert of_trail(status, "retention", NOW).status == "evidence-present"


def test_what_is_wrong_in_any_place_is_told_and_speaks_against_it() -> None:
    written = chain_of(5)
    status = told(verdict_of(written), verdict_of(written, texts=written.texts[:3]))
    assert (status.faults, status.finding.startswith("archive: unsigned: gateway-0")) == (2, True)
    assert of_trail(status, "trail", NOW).status == "not-met"
