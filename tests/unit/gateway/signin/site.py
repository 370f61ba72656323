"""A gateway that people sign in at, everything real but for the API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ossa.gateway.context import Collaborators
from ossa.gateway.metrics import Metrics
from ossa.gateway.signin.assembly import Security
from ossa.gateway.signin.settings import SignInSettings
from ossa.kube.client import ApiClient
from ossa.store.records.pool import Records
from tests.unit.gateway.kubernetes import Kubernetes
from tests.unit.gateway.serving import PATIENT, Book
from tests.unit.gateway.signin.issuing import Issuing
from tests.unit.gateway.signin.replicas import NO_LIMITS

AUTH = "/api/v1/auth"
FIRST, THEIRS = "the first password", "a password of theirs"
MANAGES = {("ossa:admins", verb, "users", "") for verb in ("get", "list", "create", "update", "delete")}
AGENT = "system:serviceaccount:lab:worker"


def settings_in(folder: Path, **more: Any) -> SignInSettings:
    """Without limits; its files are in the folder."""
    (folder / "key").write_bytes(b"k" * 44)
    (folder / "password").write_text(FIRST)
    return SignInSettings(
        public_url="http://127.0.0.1",
        key_file=folder / "key",
        first_password_file=folder / "password",
        login_limits=NO_LIMITS,
        **more,
    )


def collaborating(
    security: Security, *, api: ApiClient, records: Records, book: Book, metrics: Metrics
) -> Collaborators:
    """Whoever calls is found out by these parts."""
    return Collaborators(
        settings=PATIENT,
        authenticator=security.authenticator,
        authorizer=security.authorizer,
        limiter=security.limiter,
        api=api,
        records=records,
        trail=book,
        metrics=metrics,
    )


@dataclass
class Site:
    """A gateway with its servers, a client, and its audit trail."""

    client: httpx.AsyncClient
    book: Book
    cluster: Kubernetes
    issuer: Issuing
    security: Security
    metrics: Metrics

    def signed_in(self, how: str, outcome: str) -> float:
        """As counted."""
        labels = {"how": how, "outcome": outcome}
        return self.metrics.registry.get_sample_value("ossa_gateway_sign_ins_total", labels) or 0

    @property
    def dropped(self) -> dict[str, float]:
        """Connections that the gateway closed by itself, by cause."""
        (metric,) = self.metrics.dropped.collect()
        return {sample.labels["cause"]: sample.value for sample in metric.samples if sample.name.endswith("_total")}

    async def login(self, name: str = "admin", password: str = FIRST) -> httpx.Response:
        return await self.client.post(f"{AUTH}/login", json={"name": name, "password": password})

    async def token(self, name: str = "admin", password: str = FIRST) -> dict[str, str]:
        """Headers of somebody signed in."""
        answer = await self.login(name, password)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def until(self, status: int) -> None:
        """Until a sign-in is answered with the status."""
        for _ in range(100):
            answer = await self.login()
            if answer.status_code == status:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(answer.text)

    async def add(self, name: str, password: str = THEIRS, **more: Any) -> dict[str, str]:
        body = {"name": name, "password": password, **more}
        answer = await self.client.post("/api/v1/users", json=body, headers=await self.token())
        assert answer.status_code == 201, answer.text
        return await self.token(name, password)

    @property
    def trail(self) -> list[tuple[str, str, str, str, int]]:
        """Who, what, about whom, how it ended."""
        ended = [entry for entry in self.book.entries if entry.outcome != "asked"]
        return [(entry.user, entry.verb, entry.name, entry.outcome, entry.status) for entry in ended]


def causes(error: BaseException) -> list[str]:
    """The error and what led to it, last first, also where a library has hidden it (`raise … from None`)."""
    told = [repr(error)]
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
        told.append(repr(error))
    return told
