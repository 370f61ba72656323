"""The routes of sign-in over HTTP, everything real but for the API server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ossa.gateway.ratelimit import Limit, Limits
from ossa.gateway.signin.login import LOGIN_LIMITS
from ossa.gateway.signin.settings import SignInSettings
from tests.unit.gateway.signin.site import AGENT, AUTH, FIRST, Site, causes
from tests.unit.servers import Postgres, Redis


async def test_the_first_user_signs_in_and_is_told_who_they_are(site: Site) -> None:
    answer = await site.login()
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["user"]) == ("Bearer", 600, "ossa:admin")
    assert answer.headers["Cache-Control"] == "no-store"
    me = await site.client.get(f"{AUTH}/whoami", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json() == {"user": "ossa:admin", "groups": ["ossa:admins"], "kind": "person", "session": body["session"]}
    assert site.trail == [("ossa:admin", "sign-in", "admin", "allowed", 200)]
    assert site.book.entries[0].address == "127.0.0.1"


async def test_a_wrong_password_is_a_problem_and_in_the_trail_without_it(site: Site) -> None:
    answer = await site.login(password="a wrong password")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert site.trail == [("", "sign-in", "admin", "denied", 401)]
    assert [site.signed_in("password", outcome) for outcome in ("allowed", "denied")] == [0, 1]
    assert "a wrong password" not in repr(site.book.entries)


NO_SIGN_IN = [
    b"",
    b"{",
    b"[" * 100_000,
    b"[]",
    b"null",
    b'{"name": "a"}',
    b'{"name": "a", "password": 7}',
    b'{"name": "a", "password": ""}',
    b'{"name": "a\\u0000", "password": "x"}',
    b'{"name": "a", "password": "x", "role": "admin"}',
    b'{"name": "' + b"a" * 200 + b'", "password": "x"}',
    b'{"name": "a", "password": "' + b"x" * 300 + b'"}',
    b'{"name": "\xff", "password": "x"}',
]


async def test_what_is_no_sign_in_is_a_problem_that_repeats_no_password(site: Site) -> None:
    for body in NO_SIGN_IN:
        answer = await site.client.post(f"{AUTH}/login", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), body[:40]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "xxx" not in answer.text


async def test_a_password_with_a_nul_and_one_of_other_languages_are_passwords(site: Site) -> None:
    for password in ("wrong\0password", "пароль-пароль-пароль", "🔑" * 20):
        assert (await site.login(password=password)).status_code == 401
    headers = await site.add("olga", "пароль-пароль-пароль")
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 200


async def test_refresh_logout_and_what_they_leave_behind(site: Site) -> None:
    first = (await site.login()).json()
    answer = await site.client.post(f"{AUTH}/refresh", json={"refresh_token": first["refresh_token"]})
    second = answer.json()
    assert second["session"] == first["session"]
    headers = {"Authorization": f"Bearer {second['access_token']}"}
    assert (await site.client.post(f"{AUTH}/logout", headers=headers)).status_code == 204
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 401
    again = await site.client.post(f"{AUTH}/refresh", json={"refresh_token": second["refresh_token"]})
    assert again.status_code == 401
    assert [entry[1:] for entry in site.trail] == [
        ("sign-in", "admin", "allowed", 200),
        ("sign_out", "", "allowed", 204),
        ("who_am_i", "", "denied", 401),
        ("refresh", "", "denied", 401),
    ]


async def test_a_stolen_refresh_token_is_in_the_trail_with_its_session(site: Site) -> None:
    first = (await site.login()).json()
    second = (await site.client.post(f"{AUTH}/refresh", json={"refresh_token": first["refresh_token"]})).json()
    await site.client.post(f"{AUTH}/refresh", json={"refresh_token": second["refresh_token"]})
    stolen = await site.client.post(f"{AUTH}/refresh", json={"refresh_token": first["refresh_token"]})
    assert (stolen.status_code, "was used before" in stolen.json()["detail"]) == (401, True)
    assert site.trail[-1] == ("ossa:admin", "refresh", first["session"], "denied", 401)
    assert [site.signed_in("refresh", outcome) for outcome in ("allowed", "reused", "denied")] == [2, 1, 0]


async def test_ones_own_sessions_are_listed_and_ended_one_or_all(site: Site) -> None:
    one, other, current = [await site.token() for _ in range(3)]
    listed = (await site.client.get(f"{AUTH}/sessions", headers=current)).json()["items"]
    assert [session["current"] for session in listed].count(True) == 1
    assert len(listed) >= 3
    mine = next(session for session in listed if session["current"])
    assert (mine["method"], mine["address"]) == ("password", "127.0.0.1")
    ended = (await site.client.get(f"{AUTH}/whoami", headers=one)).json()["session"]
    assert (await site.client.delete(f"{AUTH}/sessions/{ended}", headers=current)).status_code == 204
    assert (await site.client.delete(f"{AUTH}/sessions/{ended}", headers=current)).status_code == 404
    assert (await site.client.get(f"{AUTH}/whoami", headers=one)).status_code == 401
    assert (await site.client.delete(f"{AUTH}/sessions/x", headers=current)).status_code == 422
    assert (await site.client.delete(f"{AUTH}/sessions", headers=current)).json()["ended"] >= 2
    assert (await site.client.get(f"{AUTH}/whoami", headers=other)).status_code == 401


async def test_nobody_ends_the_session_of_another_by_its_id(site: Site) -> None:
    alice = await site.add("alice")
    admins = (await site.login()).json()
    answer = await site.client.delete(f"{AUTH}/sessions/{admins['session']}", headers=alice)
    assert answer.status_code == 404
    headers = {"Authorization": f"Bearer {admins['access_token']}"}
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 200


async def test_what_the_trail_cannot_keep_is_not_done(site: Site) -> None:
    """Neither a sign-in, nor a sign-out, nor anything about users."""
    alice = await site.add("alice")
    admin = await site.token()
    site.book.entries.clear()
    site.book.away = {"asked"}
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/api/v1/users", {"name": "eve", "password": "p" * 12}),
        ("PATCH", "/api/v1/users/alice", {"disabled": True}),
        ("DELETE", "/api/v1/users/alice/sessions", None),
        ("DELETE", "/api/v1/users/alice", None),
        ("POST", f"{AUTH}/password", {"old": FIRST, "new": "p" * 12}),
        ("DELETE", f"{AUTH}/sessions", None),
        ("POST", f"{AUTH}/logout", None),
        ("POST", f"{AUTH}/login", {"name": "admin", "password": FIRST}),
    ]
    sessions = (await site.client.get(f"{AUTH}/sessions", headers=admin)).json()["items"]
    for method, path, body in changes:
        answer = await site.client.request(method, path, json=body, headers=admin)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), path
        assert "asked cannot be kept" in answer.json()["detail"], path
    assert site.book.entries == []
    assert (await site.client.get(f"{AUTH}/sessions", headers=admin)).json()["items"] == sessions
    assert (await site.client.get(f"{AUTH}/whoami", headers=alice)).status_code == 200
    listed = (await site.client.get("/api/v1/users", headers=admin)).json()["items"]
    assert [(user["name"], user["disabled"]) for user in listed] == [("admin", False), ("alice", False)]
    site.book.away = set()
    for method, path, body in changes:
        answer = await site.client.request(method, path, json=body, headers=await site.token())
        if path.endswith("/password"):
            break
        assert answer.status_code < 300, path
    told = [(entry.verb, entry.outcome) for entry in site.book.entries if entry.resource == "users"]
    assert told == [(verb, outcome) for verb in ("create", "update", "end_sessions", "delete")
                    for outcome in ("asked", "allowed")]  # fmt: skip


async def test_an_agent_is_known_by_its_own_token_and_has_no_session(site: Site) -> None:
    site.cluster.tokens["not-ours"] = {}
    token = _unsigned()
    site.cluster.tokens[token] = {
        "authenticated": True,
        "audiences": ["ossa-gateway"],
        "user": {"username": AGENT, "groups": ["system:serviceaccounts"]},
    }
    headers = {"Authorization": f"Bearer {token}"}
    me = (await site.client.get(f"{AUTH}/whoami", headers=headers)).json()
    assert (me["user"], me["kind"], me["session"]) == (AGENT, "agent", None)
    assert (await site.client.post(f"{AUTH}/logout", headers=headers)).status_code == 403


def _unsigned() -> str:
    """As the API server's look from outside."""
    return "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiJ4In0.c2ln"


async def test_a_browser_signs_in_at_the_issuer(site: Site) -> None:
    begun = await site.client.get(f"{AUTH}/oidc/login")
    assert begun.status_code == 302
    cookie = begun.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    back = await site.client.get(begun.headers["Location"])
    target = urlsplit(back.headers["Location"])
    answer = await site.client.get(f"{target.path}?{target.query}")
    assert answer.json()["user"] == "ossa:oidc:u-1"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert site.trail == [("ossa:oidc:u-1", "sign-in", "ossa:oidc:u-1", "allowed", 200)]
    assert site.signed_in("oidc", "allowed") == 1
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).json()["groups"] == ["ossa:oidc:devs"]
    site.client.cookies.clear()
    refused = await site.client.get(f"{target.path}?{target.query}")
    assert refused.status_code == 400
    # An administrator ends what the issuer has begun.
    admin = await site.token()
    ended = await site.client.delete("/api/v1/users/ossa:oidc:u-1/sessions", headers=admin)
    assert ended.json() == {"ended": 1}
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 401


async def test_an_issuer_that_says_no_is_repeated_as_text(site: Site) -> None:
    answer = await site.client.get(f"{AUTH}/oidc/callback?state=x&error=<script>alert(1)</script>")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_published_keys_are_for_everybody(site: Site) -> None:
    [key] = (await site.client.get(f"{AUTH}/jwks")).json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], "d" in key) == ("OKP", "Ed25519", "EdDSA", False)


async def test_with_postgresql_away_sign_in_says_so_and_who_is_signed_in_goes_on(
    site: Site, postgres: Postgres
) -> None:
    headers = await site.token()
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 200
    postgres.stop()
    answer = await site.login()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 200
    refresh = await site.client.post(f"{AUTH}/refresh", json={"refresh_token": "x"})
    assert refresh.status_code == 503
    postgres.start()
    await site.until(200)


async def test_with_redis_away_everything_goes_on(site: Site, redis: Redis) -> None:
    redis.stop()
    headers = await site.token()
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 200
    assert (await site.client.post(f"{AUTH}/logout", headers=headers)).status_code == 204
    assert (await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code == 401


class TestLimited:
    """With the limits of an installation."""

    @pytest.fixture
    async def settings(self, settings: SignInSettings) -> SignInSettings:
        limits = Limits(user=Limit(0.01, 5), address=Limit(1000, 1000))
        return replace(settings, limits=limits, login_limits=replace(LOGIN_LIMITS, known=Limit(0.01, 10)))

    async def test_a_flood_is_held_up(self, site: Site) -> None:
        logins = (site.login(f"user{number}", "wrong") for number in range(60))
        # All end here, so that none ends in another test.
        answers = await asyncio.gather(*logins, return_exceptions=True)
        assert not [causes(error) for error in answers if isinstance(error, BaseException)], site.dropped
        statuses = [answer.status_code for answer in answers if isinstance(answer, httpx.Response)]
        assert 15 <= statuses.count(401) <= 21
        assert statuses.count(401) + statuses.count(429) == 60
        late = answers[statuses.index(429)]
        assert isinstance(late, httpx.Response)
        assert int(late.headers["Retry-After"]) >= 1
        assert sorted(entry[4] for entry in site.trail) == sorted(statuses)
        assert site.signed_in("password", "limited") == statuses.count(429)

    async def test_a_user_has_so_many_requests(self, site: Site) -> None:
        headers = await site.token()
        answers = [(await site.client.get(f"{AUTH}/whoami", headers=headers)).status_code for _ in range(8)]
        assert answers == [200] * 5 + [429] * 3
        assert site.metrics.registry.get_sample_value("ossa_gateway_limited_requests_total") == 3
