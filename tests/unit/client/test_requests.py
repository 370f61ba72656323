"""Requests of both clients: tokens, further tries, errors."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from starlette.responses import Response

from ossa.api.gateway import OrchestrateRequest, Tokens
from ossa.client import (
    Backoff,
    Conflict,
    FixedToken,
    Forbidden,
    GatewayError,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Session,
    TokenFile,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Which,
)
from tests.ports import free_port
from tests.unit.client.scripted import QUICK, Either, answer, lines, problem, scripted

pytestmark = pytest.mark.parametrize("kind", ["sync", "async"])
RUN = OrchestrateRequest(namespace="team", workflow="data-pipeline", inputs={"dataset": "wine"})
ACCEPTED = {"id": "r1", "namespace": "team", "execution": "data-pipeline-1", "state": "Created", "new": "ignored"}
VIEW = {"namespace": "team", "name": "x", "uid": "u", "phase": "Running", "createdAt": "2026-01-01T00:00:00Z"}
ONE = "/api/v1/namespaces/team/executions/x"
LOGIN, REFRESH = "/api/v1/auth/login", "/api/v1/auth/refresh"
TOKEN = FixedToken("t0")


def _tokens(number: int, *, seconds: int = 600) -> Response:
    return answer({"access_token": f"a{number}", "expires_in": seconds, "refresh_token": f"r{number}"})


async def test_orchestrate_says_what_is_to_be_run(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        script.on("/orchestrate", answer(ACCEPTED, 202))
        accepted = await gateway.orchestrate(RUN)
        assert (accepted.execution, accepted.state) == ("data-pipeline-1", "Created")
        seen = script.seen[0]
        assert seen.headers["authorization"] == "Bearer t0"
        assert seen.body["workflow"] == "data-pipeline"
        assert "workflowSpec" not in seen.body


async def test_further_tries_have_the_same_key_and_other_requests_another(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        script.on("/orchestrate", problem(503), problem(429), problem(502), answer(ACCEPTED, 202))
        await gateway.orchestrate(RUN)
        await gateway.orchestrate(RUN)
        await gateway.orchestrate(RUN, key="mine")
        keys = [seen.headers["idempotency-key"] for seen in script.seen]
        assert len(set(keys[:4])) == 1
        assert len({keys[0], keys[4], keys[5]}) == 3
        assert keys[5] == "mine"


async def test_retry_after_is_kept_to(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        script.on(ONE, answer({}, 429, retry_after="1"), answer(VIEW))
        began = time.monotonic()
        await gateway.execution("team", "x")
        assert time.monotonic() - began >= 1.0


async def test_tries_end(kind: str) -> None:
    backoff = Backoff(first=0.01, longest=0.02, total=0.2)
    async with scripted() as script, Either(kind, script.url, TOKEN, backoff=backoff) as gateway:
        script.on(ONE, problem(503, "not now"))
        with pytest.raises(Unavailable, match="not now"):
            await gateway.execution("team", "x")
        script.on(ONE, answer({}, 429, retry_after="3600"))
        before = len(script.seen)
        with pytest.raises(RateLimited):
            await gateway.execution("team", "x")
        assert len(script.seen) == before + 1


async def test_nobody_answers(kind: str) -> None:
    backoff = Backoff(first=0.01, longest=0.02, total=0.1)
    async with Either(kind, f"http://127.0.0.1:{free_port()}", TOKEN, backoff=backoff) as gateway:
        with pytest.raises(Unreachable, match="GET /api/v1/auth/whoami"):
            await gateway.who_am_i()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Invalid),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, Invalid),
        (418, Refused),
        (422, Invalid),
        (500, Unavailable),
    ],
)
async def test_errors_have_the_gateways_words(kind: str, status: int, error: type[Refused]) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        script.on(ONE, problem(status, "that is why", field="inputs.dataset", policy="p"))
        with pytest.raises(error, match="that is why") as raised:
            await gateway.execution("team", "x")
        assert type(raised.value) is error
        assert raised.value.status == status
        assert raised.value.problem.field == "inputs.dataset"
        assert raised.value.problem.more == {"policy": "p"}
        assert len(script.seen) == 1


async def test_whoever_answers_may_be_no_gateway(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        script.on(ONE, Response("<html>", 200), Response("", 302, headers={"Location": "/"}), Response("<html>no", 404))
        for error in (UnexpectedAnswer, UnexpectedAnswer, NotFound):
            with pytest.raises(error):
                await gateway.execution("team", "x")


async def test_many_share_one_sign_in_and_one_refresh(kind: str) -> None:
    async with scripted() as script:
        session = Session(name="alice", password="secret")
        async with Either(kind, script.url, session) as gateway:
            script.on(LOGIN, _tokens(1, seconds=1))
            script.on(REFRESH, _tokens(2))
            script.on(ONE, answer(VIEW))
            await asyncio.gather(*(gateway.execution("team", "x") for _ in range(5)))
            await asyncio.sleep(0.6)
            await asyncio.gather(*(gateway.execution("team", "x") for _ in range(5)))
        assert [seen.path for seen in script.seen if seen.path != ONE] == [LOGIN, REFRESH]
        assert script.seen[0].body == {"name": "alice", "password": "secret"}
        assert {seen.headers["authorization"] for seen in script.seen[-5:]} == {"Bearer a2"}
        assert "secret" not in repr(session)
        assert "a2" not in repr(session.tokens)


async def test_a_token_that_is_not_taken_is_renewed_once(kind: str) -> None:
    async with scripted() as script:
        session = Session(tokens=Tokens(access_token="a0", expires_in=600, refresh_token="r0"))
        async with Either(kind, script.url, session) as gateway:
            script.on(REFRESH, _tokens(1), _tokens(2))
            script.on(ONE, problem(401), answer(VIEW))
            await gateway.execution("team", "x")
            script.on(ONE, problem(401, "sign in"))
            with pytest.raises(Unauthenticated, match="sign in"):
                await gateway.execution("team", "x")
        assert [seen.body["refresh_token"] for seen in script.seen if seen.path == REFRESH] == ["r0", "r1"]


async def test_a_session_that_ended_is_begun_anew_where_there_is_a_password(kind: str) -> None:
    async with scripted() as script:
        script.on(REFRESH, problem(401, "the session ended"))
        script.on(LOGIN, _tokens(5))
        script.on(ONE, answer(VIEW))
        old = Tokens(access_token="a0", expires_in=0, refresh_token="r0")
        async with Either(kind, script.url, Session(name="alice", password="s", tokens=old)) as gateway:
            await gateway.execution("team", "x")
        assert script.seen[-1].headers["authorization"] == "Bearer a5"
        async with Either(kind, script.url, Session(tokens=old)) as gateway:
            with pytest.raises(Unauthenticated, match="the session ended"):
                await gateway.execution("team", "x")


async def test_a_token_file_is_read_each_time(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with scripted() as script, Either(kind, script.url, TokenFile(file)) as gateway:
        script.on(ONE, answer(VIEW))
        for token in ("one", "two"):
            file.write_text(f"{token}\n")
            await gateway.execution("team", "x")
            assert script.seen[-1].headers["authorization"] == f"Bearer {token}"
        file.unlink()
        with pytest.raises(GatewayError, match="the token cannot be read"):
            await gateway.execution("team", "x")


async def test_lists_go_on_page_by_page(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        pages = [{"items": [{**VIEW, "name": f"x{n}"}], "next": f"c{n}" if n < 3 else None} for n in (1, 2, 3)]
        script.on("/api/v1/executions", *(answer(page) for page in pages))
        found = await gateway.executions("", Which(workflow="w", phase="Running"))
        assert [one.name for one in found] == ["x1", "x2", "x3"]
        assert [seen.query.get("cursor") for seen in script.seen] == [None, "c1", "c2"]
        assert {(seen.query["workflow"], seen.query["phase"]) for seen in script.seen} == {("w", "Running")}


async def test_logs_are_streamed(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        script.on(f"{ONE}/logs", problem(503), lines("one\ntw", "o\n", "three"))
        assert await gateway.logs("team", "x", task="ingest", follow=True) == ["one", "two", "three"]
        assert script.seen[-1].query == {"task": "ingest", "follow": "true"}
        script.on(f"{ONE}/logs", problem(404, "no pod"))
        with pytest.raises(NotFound, match="no pod"):
            await gateway.logs("team", "x")


async def test_what_is_in_a_name_stays_in_its_segment(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN) as gateway:
        with pytest.raises(NotFound):
            await gateway.execution("team", "../../agents?x=1")
        assert script.seen[0].path == "/api/v1/namespaces/team/executions/..%2F..%2Fagents%3Fx%3D1"


async def test_steering(kind: str) -> None:
    async with scripted() as script, Either(kind, script.url, TOKEN, backoff=QUICK) as gateway:
        for action in ("pause", "resume", "cancel"):
            script.on(f"{ONE}/{action}", answer(VIEW))
            await getattr(gateway, action)("team", "x")
        script.on(f"{ONE}/retry", answer(ACCEPTED, 202))
        assert (await gateway.retry("team", "x")).execution == "data-pipeline-1"
        script.on(f"{ONE}/rerun", answer(ACCEPTED, 202))
        assert (await gateway.rerun("team", "x")).execution == "data-pipeline-1"
        script.on(f"{ONE}/approve", answer({"name": "a", "execution": "x", "task": "release", "state": "Approved"}))
        assert (await gateway.approve("team", "x", reason="fine")).state == "Approved"
        assert script.seen[-1].body == {"verdict": "Approved", "reason": "fine"}
        assert "idempotency-key" in script.seen[-2].headers
