"""What the API server notes comes into the trail once, whoever posts it how often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ossa.api.gateway import AUDIT_EVENTS
from ossa.audit.chain import hash_of
from ossa.cli.__main__ import main
from ossa.cli.outcome import Exit
from ossa.gateway.intake import Intake, router
from ossa.store.records.pool import Records
from tests.unit.audit.running import entries, verified, writing
from tests.unit.audit.test_kubernetes import event
from tests.unit.gateway.lab import Lab, lab
from tests.unit.gateway.serving import served
from tests.unit.servers import Postgres

REPO = Path(__file__).resolve().parents[3]
RIGHT = ("create", "auditevents", "")


@asynccontextmanager
async def taking(url: str) -> AsyncIterator[Lab]:
    """A gateway whose intake writes a real trail; `source` may post."""
    async with writing(url, None) as trail, Records(url, application="test") as records, lab(url) as made:
        made.people.add("source", RIGHT)
        async with served([router(made.collaborators, Intake(records, trail))]) as port:
            made.client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
            yield made


def listed(*events: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "EventList", "metadata": {}, "items": list(events)}


def numbered(number: int) -> dict[str, Any]:
    return event(auditID=f"id-{number}")


async def test_events_come_into_the_trail_once(records_url: str) -> None:
    batch = listed(*(numbered(number) for number in range(50)))
    async with taking(records_url) as made:
        answers = await asyncio.gather(*(made.post(AUDIT_EVENTS, batch, who="source") for _ in range(5)))
        assert sorted(answer.json()["added"] for answer in answers) == [0, 0, 0, 0, 50]
        assert (await made.post(AUDIT_EVENTS, event(auditID="alone"), who="source")).json() == {"added": 1}
    told = [entry for entry in await entries(records_url) if entry.user == "bob"]
    assert len({entry.id for entry in told}) == len(told) == 51
    assert (await verified(records_url)).findings == ()


async def test_denied_ones_are_not_thinned(records_url: str) -> None:
    refused = [event(auditID=f"id-{number}", responseStatus={"code": 403, "message": "no"}) for number in range(150)]
    async with taking(records_url) as made:
        assert (await made.post(AUDIT_EVENTS, listed(*refused), who="source")).json() == {"added": 150}
    assert len([entry for entry in await entries(records_url) if entry.outcome == "denied"]) == 150


async def test_names_as_long_as_somebody_likes_do_not_end_the_trail(records_url: str) -> None:
    """PostgreSQL refuses what does not fit into its indexes: anybody can send it, signed in or not."""
    # Four bytes each, in no order that could be compressed.
    text = "".join(chr(0x10000 + int(hash_of(str(number))[:5], 16) % 0xFFFF0) for number in range(6000))
    names = dict.fromkeys(("namespace", "name", "resource"), text)
    large = event(objectRef={"apiGroup": "ossa.dev", **names}, user={"username": text}, auditID=text)
    async with taking(records_url) as made:
        for _ in range(2):
            answer = await made.post(AUDIT_EVENTS, listed(large), who="source")
            assert answer.status_code == 200
    assert [entry.name[:512] for entry in await entries(records_url) if entry.verb == "patch"] == [text[:512]]
    assert (await verified(records_url)).findings == ()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"kind": "EventList"}, 400, "audit.k8s.io/v1"),
        (listed({"auditID": "x"}), 400, "items[0]"),
        (["x"], 422, ""),
    ],
)
async def test_what_is_no_event_is_refused(records_url: str, body: Any, status: int, said: str) -> None:
    async with taking(records_url) as made:
        answer = await made.post(AUDIT_EVENTS, body, who="source")
    assert (answer.status_code, said in answer.text) == (status, True)


async def test_nobody_else_may_add_to_the_trail(records_url: str) -> None:
    async with taking(records_url) as made:
        answer = await made.post(AUDIT_EVENTS, listed(event()), who="alice")
    assert answer.status_code == 403
    assert [entry for entry in await entries(records_url) if entry.user == "bob"] == []


async def test_with_postgresql_away_they_are_to_be_posted_again(records_url: str, postgres: Postgres) -> None:
    async with taking(records_url) as made:
        postgres.kill()
        answer = await made.post(AUDIT_EVENTS, listed(event()), who="source")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        postgres.start()
        async with asyncio.timeout(20):
            while (await made.post(AUDIT_EVENTS, listed(event()), who="source")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    assert len({entry.id for entry in await entries(records_url) if entry.user == "bob"}) == 1


async def test_a_log_file_is_imported_and_importing_it_again_adds_nothing(
    records_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.log"
    # As a cluster logs it that notes everything: bodies, and other objects.
    large = {"spec": {"inputs": {"text": "x" * 20_000}}}
    told = [{**numbered(number), "level": "RequestResponse", "requestObject": large} for number in range(450)]
    log.write_text("".join(f"{json.dumps(item)}\n" for item in [*told, event(verb="get", auditID="read")]))
    monkeypatch.setenv("OSSA_TOKEN", "source")
    async with taking(records_url) as made:
        arguments = ["audit", "import", str(log), "--gateway", str(made.client.base_url)]
        assert await asyncio.to_thread(main, arguments) == Exit.OK
        assert "450 events tell of changes, 450 new entries" in capsys.readouterr().out
        assert await asyncio.to_thread(main, arguments) == Exit.OK
        assert "450 events tell of changes, 0 new entries" in capsys.readouterr().out
        monkeypatch.setenv("OSSA_TOKEN", "alice")
        assert await asyncio.to_thread(main, arguments) == Exit.CLUSTER
        assert "answers 403" in capsys.readouterr().err


def test_a_line_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, token = tmp_path / "audit.log", tmp_path / "token"
    token.write_text("t\n")
    for line in ("{", "{}"):
        log.write_text(f"{json.dumps(event())}\n{line}\n")
        code = main(["audit", "import", str(log), "--gateway", "http://127.0.0.1:1", "--token-file", str(token)])
        assert (code, "audit.log:2" in capsys.readouterr().err) == (Exit.USAGE, True)


def test_the_policy_for_the_api_server_names_all_our_changes() -> None:
    policy = yaml.safe_load((REPO / "manifests/audit/policy.yaml").read_text())
    quiet, told, rest = policy["rules"]
    assert (policy["apiVersion"], policy["kind"]) == ("audit.k8s.io/v1", "Policy")
    assert "ResponseStarted" not in policy["omitStages"]  # of which a 401 is
    assert quiet["users"] == ["system:serviceaccount:ossa-system:ossa-reconciler"]
    assert (told["level"], set(told["verbs"])) == (
        "Metadata",
        {"create", "update", "patch", "delete", "deletecollection"},
    )
    assert rest == {"level": "None"}
