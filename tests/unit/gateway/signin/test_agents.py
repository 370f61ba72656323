"""Agents: whose token the cluster says it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ossa.gateway.problems import Problem
from ossa.gateway.signin.agents import AT_ONCE, Agents, reviewed
from tests.unit.gateway.kubernetes import kubernetes

USER = "system:serviceaccount:lab:worker"
GROUPS = ["system:serviceaccounts", "system:serviceaccounts:lab", "system:authenticated"]


def status(user: str = USER, **changed: Any) -> dict[str, Any]:
    good = {"authenticated": True, "audiences": ["ossa-gateway"], "user": {"username": user, "groups": GROUPS}}
    return {**good, **changed}


async def test_an_agent_is_its_service_account() -> None:
    async with kubernetes() as (server, api):
        server.tokens = {"good": status()}
        identity = await Agents(api).identify("good")
    assert (identity.user, identity.kind, identity.session) == (USER, "agent", None)
    assert identity.groups == tuple(GROUPS)
    assert server.asked == [{"token": "good", "audiences": ["ossa-gateway"]}]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        status(authenticated=False),
        status(audiences=[]),
        status(audiences=["ossa-artifacts"]),
        status(user="system:admin"),
        status(user="kubernetes-admin"),
        status(user="system:node:one"),
        status(user="ossa:alice"),
        status(user="system:serviceaccount:lab"),
        status(user="system:serviceaccount:lab:worker:more"),
        status(user="system:serviceaccount:lab:worker\n"),
    ],
)
def test_nobody_else_is_one(wrong: dict[str, Any]) -> None:
    assert reviewed(wrong) is None


async def test_answers_are_remembered_and_rubbish_too() -> None:
    async with kubernetes() as (server, api):
        server.tokens = {"good": status()}
        agents = Agents(api)
        for _ in range(3):
            await agents.identify("good")
            with pytest.raises(Problem) as refusal:
                await agents.identify("bad")
            assert refusal.value.status == 401
        assert len(server.asked) == 2


async def test_rubbish_does_not_keep_the_api_server_from_its_work() -> None:
    async with kubernetes() as (server, api):
        server.delay = 0.1
        agents = Agents(api)
        answers = await asyncio.gather(
            *(agents.identify(f"bad-{number}") for number in range(100)), return_exceptions=True
        )
        assert len(server.asked) == AT_ONCE
        assert {int(answer.status) for answer in answers if isinstance(answer, Problem)} == {401, 503}


async def test_with_the_api_server_away_nobody_can_tell() -> None:
    async with kubernetes() as (server, api):
        server.failing = True
        with pytest.raises(Problem) as refusal:
            await Agents(api).identify("good")
        assert refusal.value.status == 503
