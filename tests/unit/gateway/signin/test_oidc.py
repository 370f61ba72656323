"""Sign-in at an OpenID Connect issuer, and all that may be wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ossa.gateway.problems import Problem
from ossa.gateway.signin import issuer as issuers
from ossa.gateway.signin.issuer import BadIssuer, Client, Issuer, check_url
from ossa.gateway.signin.names import MAX_GROUPS, BadName
from ossa.gateway.signin.oidc import Begun, Claims, Oidc, who
from ossa.gateway.signin.sessions import Pair
from tests.unit.gateway.signin.issuing import CLIENT_ID, CLIENT_SECRET, Issuing, issuing
from tests.unit.gateway.signin.replicas import Replica, Replicas

PUBLIC = "https://gateway.example.org"


@dataclass
class Scene:
    """A replica that knows an issuer."""

    server: Issuing
    replica: Replica
    issuer: Issuer
    oidc: Oidc

    async def visit(self, begun: Begun) -> dict[str, str]:
        """What the browser brings back from the issuer: code and state."""
        async with httpx.AsyncClient() as browser:
            answer = await browser.get(begun.location)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["Location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == f"{PUBLIC}/api/v1/auth/oidc/callback"
        return {name: values[0] for name, values in parse_qs(back.query).items()}

    async def end(self, brought: dict[str, str], cookie: str | None) -> Pair:
        who = await self.oidc.end(
            brought["code"], state=brought["state"], cookie=cookie, address="192.0.2.1", client="browser"
        )
        return await self.replica.sessions.begin(who)

    async def sign_in(self) -> Pair:
        begun = await self.oidc.begin()
        return await self.end(await self.visit(begun), begun.cookie)

    async def refusal(self) -> Problem:
        with pytest.raises(Problem) as refused:
            await self.sign_in()
        return refused.value


@pytest.fixture
async def scene(replicas: Replicas) -> AsyncIterator[Scene]:
    replica = await replicas()
    async with issuing() as server:
        issuer = Issuer(Client(issuer=server.url, client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
        oidc = Oidc(issuer, Claims(), secret=replica.secret, public_url=PUBLIC)
        yield Scene(server, replica, issuer, oidc)
        await issuer.close()


async def test_who_signs_in_is_kept_apart_from_local_users_and_from_the_clusters_groups(scene: Scene) -> None:
    session = (await scene.sign_in()).session
    assert (session.user_name, session.groups) == ("ossa:oidc:u-1", ("ossa:oidc:devs",))
    assert (session.method, session.local_user) == ("oidc", None)


async def test_a_session_of_an_issuer_is_refreshed_with_the_groups_of_its_beginning(scene: Scene) -> None:
    pair = await scene.sign_in()
    following = await scene.replica.sessions.refresh(pair.refresh_token)
    assert (await scene.replica.tokens.verify(following.access_token)).groups == ("ossa:oidc:devs",)


async def test_any_replica_may_end_what_another_began(scene: Scene, replicas: Replicas) -> None:
    other = await replicas()
    elsewhere = Oidc(scene.issuer, Claims(), secret=other.secret, public_url=PUBLIC)
    begun = await scene.oidc.begin()
    brought = await scene.visit(begun)
    who = await elsewhere.end(
        brought["code"], state=brought["state"], cookie=begun.cookie, address="192.0.2.1", client=""
    )
    assert who.user == "ossa:oidc:u-1"


@pytest.mark.parametrize("cookie", [None, "", "x", "!", "é", "other", "elsewhere"])
async def test_a_browser_that_did_not_begin_it_cannot_end_it(
    scene: Scene, cookie: str | None, replicas: Replicas
) -> None:
    """Somebody sends a victim the link that ends a sign-in of their own."""
    begun = await scene.oidc.begin()
    brought = await scene.visit(begun)
    if cookie == "other":
        cookie = (await scene.oidc.begin()).cookie  # of another sign-in
    elif cookie == "elsewhere":
        foreign = await replicas(key=b"x" * 32)
        oidc = Oidc(scene.issuer, Claims(), secret=foreign.secret, public_url=PUBLIC)
        cookie = (await oidc.begin()).cookie
    with pytest.raises(Problem, match="did not begin") as refusal:
        await scene.end(brought, cookie)
    assert refusal.value.status == 400
    assert brought["code"] in scene.server.codes  # and was not used


async def test_a_wrong_state_is_refused(scene: Scene) -> None:
    begun = await scene.oidc.begin()
    brought = await scene.visit(begun)
    with pytest.raises(Problem, match="did not begin"):
        await scene.end({**brought, "state": "é" + brought["state"]}, begun.cookie)


async def test_a_sign_in_that_took_too_long_is_begun_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ossa.gateway.signin.oidc.LIFETIME", -1)
    assert (await scene.refusal()).status == 400


async def test_a_code_works_once(scene: Scene) -> None:
    begun = await scene.oidc.begin()
    brought = await scene.visit(begun)
    await scene.end(brought, begun.cookie)
    with pytest.raises(Problem, match="took it before") as refusal:
        await scene.end(brought, begun.cookie)
    assert refusal.value.status == 401


async def test_a_stolen_code_is_worth_nothing_without_its_verifier(scene: Scene) -> None:
    """PKCE: the thief has begun a sign-in, and brings back another's code with the own state."""
    victims = await scene.visit(await scene.oidc.begin())
    begun = await scene.oidc.begin()
    own = await scene.visit(begun)
    with pytest.raises(Problem, match="does not take this code"):
        await scene.end({**own, "code": victims["code"]}, begun.cookie)


WRONG: dict[str, dict[str, Any]] = {
    "of another sign-in": {"nonce": "another"},
    "without a nonce": {"nonce": None},
    "for another client": {"aud": "another"},
    "for several, by another": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "for several, by nobody": {"aud": [CLIENT_ID, "another"]},
    "of another issuer": {"iss": "https://elsewhere.example.org"},
    "expired": {"exp": 1_000_000_000},
    "without an end": {"exp": None},
    "without a subject": {"sub": None},
    "from the future": {"iat": 4_000_000_000},
}


@pytest.mark.parametrize("claims", WRONG.values(), ids=WRONG.keys())
async def test_an_id_token_that_is_not_for_this_is_refused(scene: Scene, claims: dict[str, Any]) -> None:
    scene.server.claims = claims
    refusal = await scene.refusal()
    assert (refusal.status, "not good" in refusal.detail) == (401, True)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_an_id_token_that_is_not_signed_with_a_published_key_is_refused(scene: Scene, algorithm: str) -> None:
    scene.server.algorithm = algorithm
    assert (await scene.refusal()).status == 401


async def test_an_id_token_of_a_key_that_is_not_published_is_refused(scene: Scene) -> None:
    published = scene.server.published
    scene.server.rotate("first")
    scene.server.published = published
    assert (await scene.refusal()).status == 401


async def test_a_rotated_key_is_read_but_not_at_every_sign_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.sign_in()
    await scene.sign_in()
    assert scene.server.jwks_asked == 1
    scene.server.rotate("second")
    assert (await scene.refusal()).status == 401  # it was asked for keys just now
    monkeypatch.setattr(scene.issuer, "_keys_until", 0.0)
    assert (await scene.sign_in()).session.user_name == "ossa:oidc:u-1"
    assert scene.server.jwks_asked == 2


async def test_keys_of_no_use_do_no_harm(scene: Scene) -> None:
    scene.server.published = [
        {"kty": "oct", "k": "AAAA", "kid": "first"},
        {"kty": "RSA", "kid": "broken"},
        {**scene.server.published[0], "use": "enc", "kid": "other"},
        *scene.server.published,
    ]
    assert (await scene.sign_in()).session.method == "oidc"


async def test_a_secret_goes_into_the_body_where_the_issuer_wants_it_there(scene: Scene) -> None:
    scene.server.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await scene.sign_in()).session.method == "oidc"


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://elsewhere.example.org"},
        {"token_endpoint": "http://elsewhere.example.org/token"},
        {"jwks_uri": ""},
    ],
)
async def test_an_issuer_that_says_what_cannot_be_is_not_used(scene: Scene, discovery: dict[str, Any]) -> None:
    scene.server.discovery = discovery
    assert (await scene.refusal()).status == 503


async def test_with_the_issuer_away_people_are_told(scene: Scene) -> None:
    scene.server.down = True
    refusal = await scene.refusal()
    assert (refusal.status, refusal.headers["Retry-After"]) == (503, "30")


async def test_what_was_discovered_is_used_while_the_issuer_does_not_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuers, "DISCOVERY_TTL", 0.0)
    await scene.oidc.begin()
    scene.server.down = True
    assert (await scene.oidc.begin()).location.startswith(scene.server.url)


async def test_an_answer_without_end_is_not_read(scene: Scene) -> None:
    scene.server.discovery = {"more": "x" * (2 << 20)}
    assert (await scene.refusal()).status == 503


def test_the_cookie_is_for_this_host_alone_where_there_is_https() -> None:
    assert Claims().prefix == "oidc:"
    for url in ("http://issuer.example.org", "ftp://issuer", "issuer", "http://10.0.0.1", "https://"):
        with pytest.raises(BadIssuer, match="https"):
            check_url(url, "the issuer")
    for url in ("https://issuer.example.org", "http://localhost:8080", "http://127.0.0.1:5556/dex", "http://[::1]/"):
        assert check_url(url, "the issuer") == url


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": 7},
        {"sub": ""},
        {"sub": "system:admin"},
        {"sub": "System:admin"},
        {"sub": "a\nb"},
        {"sub": " a"},
        {"sub": "x" * 257},
        {"sub": "a", "groups": [1]},
        {"sub": "a", "groups": {"a": 1}},
        {"sub": "a", "groups": [f"g{number}" for number in range(MAX_GROUPS + 1)]},
    ],
)
def test_a_name_that_nobody_may_have_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(BadName):
        who(claims, Claims())


def test_groups_may_be_one_text_and_those_of_the_cluster_are_left_out() -> None:
    assert who({"sub": "a", "groups": "devs"}, Claims())[1] == ("ossa:oidc:devs",)
    assert who({"sub": "a", "groups": ["b", "system:masters", "", "a", "b"]}, Claims())[1] == (
        "ossa:oidc:a",
        "ossa:oidc:b",
    )


def test_an_e_mail_address_is_a_name_where_it_was_verified() -> None:
    names = Claims(username="email")
    with pytest.raises(BadName, match="verified"):
        who({"email": "a@example.org"}, names)
    assert who({"email": "a@example.org", "email_verified": True}, names)[0] == "ossa:oidc:a@example.org"
