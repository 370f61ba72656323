"""Sessions: refreshed, repeated, stolen, ended, with either server away."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from ossa.gateway.identity import Identity
from ossa.gateway.problems import Problem
from ossa.gateway.signin.agents import Agents
from ossa.gateway.signin.authenticator import BearerTokens
from ossa.gateway.signin.sessions import LOCAL_TTL, ReusedToken
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from tests.unit.gateway.signin.replicas import Replica, Replicas
from tests.unit.servers import Postgres, Redis


async def identify(replica: Replica, token: str) -> Identity:
    agents = Agents(ApiClient(KubeConfig(server="http://127.0.0.1:9", token=lambda: None, namespace="default")))
    return await BearerTokens(tokens=replica.tokens, sessions=replica.sessions, agents=agents).identify(token)


async def refusal(replica: Replica, token: str) -> int:
    """The status that a token is refused with."""
    with pytest.raises(Problem) as refused:
        await identify(replica, token)
    return int(refused.value.status)


@pytest.fixture
async def replica(replicas: Replicas) -> Replica:
    made = await replicas()
    await made.add_user()
    return made


async def test_a_refresh_gives_another_pair_of_the_same_session(replica: Replica) -> None:
    first = await replica.sign_in()
    second = await replica.sessions.refresh(first.refresh_token)
    third = await replica.sessions.refresh(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert first.session.id == third.session.id
    assert (await identify(replica, third.access_token)).user == "ossa:alice"


async def test_refresh_tokens_lie_hashed_in_the_database(replica: Replica) -> None:
    pair = await replica.sign_in()
    async with replica.records.connection() as db:
        rows = await db.fetch("SELECT hash FROM refresh_tokens")
    assert all(row["hash"] != bytes.fromhex(pair.refresh_token) for row in rows)
    assert pair.refresh_token not in repr(pair)
    assert pair.access_token not in repr(pair)


async def test_two_tabs_that_refresh_at_once_get_the_same_pair(replicas: Replicas, replica: Replica) -> None:
    other = await replicas()
    first = await replica.sign_in()
    answers = await asyncio.gather(
        *(each.sessions.refresh(first.refresh_token) for each in (replica, other) for _ in range(5))
    )
    assert len({answer.refresh_token for answer in answers}) == 1
    following = await replica.sessions.refresh(answers[0].refresh_token)
    assert (await identify(replica, following.access_token)).user == "ossa:alice"


async def test_an_old_refresh_token_ends_the_session(replica: Replica) -> None:
    first = await replica.sign_in()
    second = await replica.sessions.refresh(first.refresh_token)
    async with replica.records.transaction() as db:
        await db.execute("UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds'")
    with pytest.raises(ReusedToken):
        await replica.sessions.refresh(first.refresh_token)
    with pytest.raises(Problem, match="its session is over"):
        await replica.sessions.refresh(second.refresh_token)
    assert await refusal(replica, second.access_token) == 401


async def test_a_refresh_token_whose_successor_was_used_ends_the_session_even_within_the_grace(
    replica: Replica,
) -> None:
    first = await replica.sign_in()
    second = await replica.sessions.refresh(first.refresh_token)
    third = await replica.sessions.refresh(second.refresh_token)
    with pytest.raises(ReusedToken):
        await replica.sessions.refresh(first.refresh_token)
    assert await refusal(replica, third.access_token) == 401


@pytest.mark.parametrize("token", ["", "x", "0" * 64, "ü"])
async def test_a_refresh_token_that_is_none_ends_nothing(replica: Replica, token: str) -> None:
    pair = await replica.sign_in()
    with pytest.raises(Problem, match="not known"):
        await replica.sessions.refresh(token)
    await identify(replica, pair.access_token)


async def test_a_session_ends_by_its_own_lifetime(replica: Replica) -> None:
    pair = await replica.sign_in()
    async with replica.records.transaction() as db:
        await db.execute("UPDATE sessions SET expires_at = now()")
    with pytest.raises(Problem, match="its session is over"):
        await replica.sessions.refresh(pair.refresh_token)
    assert await refusal(replica, pair.access_token) == 401


async def test_a_refresh_brings_the_groups_that_the_user_has_now(replica: Replica) -> None:
    pair = await replica.sign_in()
    await replica.accounts.change_user("alice", groups=["auditors", "team"])
    assert (await identify(replica, pair.access_token)).groups == ("ossa:team",)
    following = await replica.sessions.refresh(pair.refresh_token)
    assert (await identify(replica, following.access_token)).groups == ("ossa:auditors", "ossa:team")


async def test_logging_out_is_known_to_every_replica(replicas: Replicas, replica: Replica) -> None:
    other = await replicas()
    pair = await replica.sign_in()
    await identify(other, pair.access_token)
    await replica.sessions.end(pair.session.id, "logout")
    assert await refusal(replica, pair.access_token) == 401
    await asyncio.sleep(LOCAL_TTL)
    assert await refusal(other, pair.access_token) == 401


async def test_nobody_ends_anothers_session(replica: Replica) -> None:
    pair = await replica.sign_in()
    assert await replica.sessions.end(pair.session.id, "revoked", user="ossa:mallory") is None
    await identify(replica, pair.access_token)


async def test_logging_out_everywhere_ends_all_of_one_user_alone(replica: Replica) -> None:
    await replica.add_user("bob")
    alices = [await replica.sign_in() for _ in range(3)]
    bobs = await replica.sign_in("bob")
    assert {session.id for session in await replica.sessions.of("ossa:alice")} == {pair.session.id for pair in alices}
    assert await replica.sessions.end_all("ossa:alice", "logout") == 3
    assert [await refusal(replica, pair.access_token) for pair in alices] == [401, 401, 401]
    assert (await identify(replica, bobs.access_token)).user == "ossa:bob"
    assert await replica.sessions.of("ossa:alice") == []


@pytest.mark.parametrize("how", ["disabled", "password", "deleted"])
async def test_a_user_that_is_changed_loses_the_sessions(replica: Replica, how: str) -> None:
    pair = await replica.sign_in()
    await identify(replica, pair.access_token)
    ended: list[UUID] | None
    if how == "deleted":
        ended = await replica.accounts.delete_user("alice")
    else:
        changed = await replica.accounts.change_user(
            "alice", disabled=True if how == "disabled" else None, password_hash="x" if how == "password" else None
        )
        ended = changed[1] if changed else None
    assert ended == [pair.session.id]
    await replica.sessions.were_ended(ended)
    assert await refusal(replica, pair.access_token) == 401
    with pytest.raises(Problem, match="its session is over"):
        await replica.sessions.refresh(pair.refresh_token)


async def test_a_session_that_ended_is_refused_with_redis_away(replica: Replica, redis: Redis) -> None:
    ended, live = await replica.sign_in(), await replica.sign_in()
    await replica.sessions.end(ended.session.id, "revoked")
    redis.stop()
    assert await refusal(replica, ended.access_token) == 401
    assert (await identify(replica, live.access_token)).user == "ossa:alice"


async def test_a_session_that_ends_with_redis_away_is_over_when_it_is_back_empty(
    replica: Replica, replicas: Replicas, redis: Redis
) -> None:
    pair = await replica.sign_in()
    await identify(replica, pair.access_token)
    redis.stop()
    await replica.sessions.end(pair.session.id, "revoked")
    assert await refusal(replica, pair.access_token) == 401
    redis.start()
    redis.command("FLUSHALL")
    assert await refusal(await replicas(), pair.access_token) == 401


async def test_a_session_that_ended_is_refused_with_postgresql_away(replica: Replica, postgres: Postgres) -> None:
    ended, live = await replica.sign_in(), await replica.sign_in()
    await identify(replica, live.access_token)
    await replica.sessions.end(ended.session.id, "revoked")
    postgres.stop()
    assert await refusal(replica, ended.access_token) == 401
    assert (await identify(replica, live.access_token)).user == "ossa:alice"


async def test_with_both_away_nobody_is_let_in(
    replicas: Replicas, replica: Replica, postgres: Postgres, redis: Redis
) -> None:
    pair = await replica.sign_in()
    other = await replicas()
    await other.ring.load()
    postgres.stop()
    redis.stop()
    assert await refusal(other, pair.access_token) == 503


async def test_an_answer_read_before_the_end_is_not_written_over_it(replicas: Replicas, replica: Replica) -> None:
    """One replica has read in PostgreSQL that it lives, another ends it, then the first would tell Redis."""
    other = await replicas()
    pair = await replica.sign_in()
    await replica.sessions.end(pair.session.id, "revoked")
    await other.sessions._tell(keys=[f"ossa:session:{pair.session.id}"], args=["live", 600])
    assert await refusal(other, pair.access_token) == 401


async def test_with_postgresql_away_for_minutes_who_is_signed_in_goes_on(
    replicas: Replicas, replica: Replica, postgres: Postgres
) -> None:
    """As long as the access token is good; what Redis says then is older than it would count for otherwise."""
    known, unknown = await replica.sign_in(), await replica.sign_in()
    await identify(replica, known.access_token)
    await replica.redis.expire(f"ossa:session:{known.session.id}", 60)  # told more than nine minutes ago
    other = await replicas()
    await other.ring.load()
    postgres.stop()
    assert (await identify(other, known.access_token)).user == "ossa:alice"
    assert await refusal(other, unknown.access_token) == 503


async def test_what_redis_says_is_asked_again_in_postgresql_after_a_while(replicas: Replicas, replica: Replica) -> None:
    pair = await replica.sign_in()
    await identify(replica, pair.access_token)
    await replica.accounts.end(pair.session.id, "revoked")  # Redis was not told
    other = await replicas()
    await identify(other, pair.access_token)
    await replica.redis.expire(f"ossa:session:{pair.session.id}", 599)
    assert await refusal(await replicas(), pair.access_token) == 401


async def test_old_sessions_are_removed_with_their_tokens(replica: Replica) -> None:
    await replica.sign_in()
    kept = await replica.sign_in()
    async with replica.records.transaction() as db:
        await db.execute(
            "UPDATE sessions SET expires_at = now() - $2::interval WHERE id <> $1", kept.session.id, timedelta(days=31)
        )
    assert await replica.accounts.remove_old() == 1
    async with replica.records.connection() as db:
        assert await db.fetchval("SELECT count(*) FROM refresh_tokens") == 1
