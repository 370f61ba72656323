"""The routes of local users: who administers them, and what a change ends."""

from __future__ import annotations

from typing import Any

from tests.unit.gateway.signin.site import AUTH, THEIRS, Site


async def test_users_are_administered_by_those_whom_kubernetes_lets(site: Site) -> None:
    alice = await site.add("alice", groups=["team"])
    refused = await site.client.post("/api/v1/users", json={"name": "eve", "password": "p" * 12}, headers=alice)
    assert (refused.status_code, refused.json()["verb"], refused.json()["resource"]) == (403, "create", "users")
    assert (await site.client.get("/api/v1/users", headers=alice)).status_code == 403
    admin = await site.token()
    listed = (await site.client.get("/api/v1/users", headers=admin)).json()
    assert [(user["name"], user["groups"]) for user in listed["items"]] == [("admin", ["admins"]), ("alice", ["team"])]
    assert "password" not in repr(listed)
    page = (await site.client.get("/api/v1/users?limit=1", headers=admin)).json()
    assert page["next"] == "admin"
    twice = await site.client.post("/api/v1/users", json={"name": "alice", "password": "p" * 12}, headers=admin)
    assert twice.status_code == 409
    assert (await site.client.get("/api/v1/users/nobody", headers=admin)).status_code == 404
    assert ("ossa:alice", "create", "eve", "denied", 403) in site.trail
    assert ("ossa:admin", "create", "alice", "allowed", 201) in site.trail


NO_USERS: list[dict[str, Any]] = [
    {"name": "system:admin", "password": "p" * 12},
    {"name": "oidc:u-1", "password": "p" * 12},
    {"name": "Alice", "password": "p" * 12},
    {"name": "a\n", "password": "p" * 12},
    {"name": "../a", "password": "p" * 12},
    {"name": "alice", "password": "short"},
    {"name": "alice", "password": "p" * 12, "groups": ["system:masters"]},
    {"name": "alice", "password": "p" * 12, "disabled": True},
]


async def test_users_that_cannot_be_are_not_made(site: Site) -> None:
    admin = await site.token()
    for body in NO_USERS:
        answer = await site.client.post("/api/v1/users", json=body, headers=admin)
        assert answer.status_code == 422, body
        assert "p" * 12 not in answer.text


async def test_a_disabled_user_is_out_at_once_and_in_again_when_enabled(site: Site) -> None:
    alice, admin = await site.add("alice"), await site.token()
    changed = await site.client.patch("/api/v1/users/alice", json={"disabled": True}, headers=admin)
    assert changed.json()["disabled"] is True
    assert (await site.client.get(f"{AUTH}/whoami", headers=alice)).status_code == 401
    assert (await site.login("alice", THEIRS)).status_code == 401
    await site.client.patch("/api/v1/users/alice", json={"disabled": False}, headers=admin)
    await site.token("alice", THEIRS)
    assert (await site.client.delete("/api/v1/users/alice", headers=admin)).status_code == 204
    assert (await site.login("alice", THEIRS)).status_code == 401


async def test_ones_own_password_is_changed_with_the_old_one(site: Site) -> None:
    alice = await site.add("alice")
    wrong = {"old": "not the password", "new": "another password"}
    assert (await site.client.post(f"{AUTH}/password", json=wrong, headers=alice)).status_code == 401
    right = {"old": THEIRS, "new": "another password"}
    assert (await site.client.post(f"{AUTH}/password", json=right, headers=alice)).status_code == 204
    assert (await site.client.get(f"{AUTH}/whoami", headers=alice)).status_code == 401
    await site.token("alice", "another password")
