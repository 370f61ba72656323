"""Requests of all sorts, made from the published OpenAPI document: none brings the process down.

Every operation is tried with what fits the document, with the same for things that exist, with what does not fit it,
and by somebody who has not signed in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from ossa.api.gateway import ORCHESTRATE, SIGN_IN, SIGN_OUT
from ossa.gateway.problems import MEDIA_TYPE
from tests.unit.gateway.installed import UNLIMITED, Installed, installed
from tests.unit.gateway.lab import EXECUTIONS
from tests.unit.gateway.rest.resources import execution
from tests.unit.gateway.signin.issuing import CLIENT_ID, CLIENT_SECRET, issuing

Case = schemathesis.Case[Any]
CHECKS = (status_code_conformance, content_type_conformance, response_schema_conformance)
# Tokens are sent here.
CONFIG = {"generation": {"with-security-parameters": False}}
EXAMPLES = 6  # of each operation and each way to try it
SESSIONS, PASSWORD = "/api/v1/auth/sessions", "/api/v1/auth/password"
TOO_LONG = 431
ENDING = {("POST", SIGN_OUT), ("DELETE", SESSIONS)}
# Any text may be the name of a user: nobody of that name is found.
ANY_NAME = "/api/v1/users/{name}"
# What is there, by the end of the path above its name.
THERE = {"executions": "x1", "agents": "rules", "workflows": "pipeline", "users": "bob"}


@dataclass
class Caller:
    """Somebody signed in, who signs in again after each request that ended their session."""

    url: str
    password: str = field(repr=False)
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.sign_in()

    def sign_in(self) -> None:
        answer = self.session.post(self.url + SIGN_IN, json={"name": "admin", "password": self.password}, timeout=10)
        assert answer.status_code == 200, answer.text
        self.token = str(answer.json()["access_token"])

    def try_it(self, case: Case) -> None:
        """What fits the document, or what does not: the answer is one that the document has."""
        answer = self._call(case, self.token)
        # A password is asked for there, and for nothing else.
        assert answer.status_code != 401 or case.operation.path == PASSWORD or is_open(case), answer.text
        if answer.status_code < 300 and (case.method, case.operation.path) in ENDING:
            self.sign_in()

    def try_what_does_not_fit(self, case: Case) -> None:
        """It is refused."""
        self._call(case, self.token, negative_data_rejection)

    def try_as_nobody(self, case: Case) -> None:
        """Without a token, and with one that is none: what is not open to everybody is closed."""
        for token in (None, "forged", f"{self.token}x"):
            answer = self._call(case, token)
            assert is_open(case) or answer.status_code == 401, answer.text

    def _call(self, case: Case, token: str | None, *more: Callable[..., Any]) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        answer = case.call(base_url=self.url, session=self.session, headers=headers, timeout=10, allow_redirects=False)
        # To be too long to be looked at is a refusal, too.
        more = more if answer.status_code != TOO_LONG else ()
        case.validate_response(answer, checks=[*CHECKS, *more])
        # Nothing is away.
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            is_a_problem(answer)
        return answer


def is_a_problem(answer: Any) -> None:
    """RFC 9457, with the request's id."""
    assert answer.headers["content-type"] == [MEDIA_TYPE], answer.headers
    document = json.loads(answer.content)
    assert document["status"] == answer.status_code
    assert document["detail"]
    # What is too long to be read has no id yet.
    assert answer.status_code == TOO_LONG or [document["instance"]] == answer.headers["x-request-id"]


def is_open(case: Case) -> bool:
    """Whether it is for those, too, who have not signed in."""
    return not case.operation.definition.raw.get("security")


def ways(operation: Any, caller: Caller) -> Iterator[tuple[SearchStrategy[Case], Callable[[Case], None], int]]:
    """How an operation is tried: the requests, what is done with each, and how many."""
    yield operation.as_strategy(), caller.try_it, EXAMPLES
    yield operation.as_strategy(), caller.try_as_nobody, 2
    if there := of_what_is_there(operation.path):
        yield operation.as_strategy(path_parameters=there), caller.try_it, EXAMPLES
    takes, has_body = operation.definition.raw.get("parameters"), operation.definition.raw.get("requestBody")
    if has_body or (takes and not operation.path.startswith(ANY_NAME)):
        strategy = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        yield strategy, caller.try_what_does_not_fit, EXAMPLES


def of_what_is_there(path: str) -> dict[str, str]:
    """Parameters of a path that lead to something; empty where it leads to nothing by name."""
    found = {"namespace": "lab"} if "{namespace}" in path else {}
    for kind, name in THERE.items():
        if f"/{kind}/{{name}}" in path:
            found["name"] = name
    return found if ("{name}" in path) == ("name" in found) and "{action}" not in path else {}


def try_some(strategy: SearchStrategy[Case], attempt: Callable[[Case], None], examples: int) -> None:
    """The same each time: what a run finds is found again by the next. To make it small would take minutes."""

    @given(case=strategy)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Case) -> None:
        attempt(case)

    check()


def hammer(caller: Caller) -> set[tuple[str, str]]:
    """The operations that were tried: method and path."""
    schema = schemathesis.openapi.from_url(f"{caller.url}/openapi.json", config=SchemathesisConfig.from_dict(CONFIG))
    tried = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        for strategy, attempt, examples in ways(operation, caller):
            try_some(strategy, attempt, examples)
        tried.add((operation.method.upper(), operation.path))
    return tried


def published(url: str) -> set[tuple[str, str]]:
    """The document's operations."""
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, held in paths.items() for method in held}


async def test_no_request_brings_it_down(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with issuing() as issuer:
        (tmp_path / "secret").write_text(CLIENT_SECRET)
        environment = {
            **UNLIMITED,
            "OSSA_OIDC_ISSUER": issuer.url,
            "OSSA_OIDC_CLIENT_ID": CLIENT_ID,
            "OSSA_OIDC_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        }
        async with installed(tmp_path, records=records_url, bus=redis_url, **environment) as held:
            await furnish(held)
            url = held.gateway.url
            caller = await asyncio.to_thread(Caller, url, held.gateway.password)
            tried = await asyncio.to_thread(hammer, caller)
            assert tried == await asyncio.to_thread(published, url)
            assert {path for _, path in tried} >= {ORCHESTRATE, SIGN_IN, PASSWORD, "/api/v1/auth/oidc/callback"}
            assert held.gateway.process.poll() is None
        lines = [json.loads(line) for line in held.log.read_text().splitlines()]
        assert [line for line in lines if line["level"] == "error"] == []


async def furnish(held: Installed) -> None:
    """Makes what paths lead to."""
    held.cluster.create(EXECUTIONS.format("lab"), execution("x1"))
    for kind, name in (("Agent", "rules"), ("Workflow", "pipeline")):
        item = {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "lab"}}
        held.cluster.create(f"/apis/ossa.dev/v1alpha1/namespaces/lab/{kind.lower()}s", {**item, "spec": {}})
    body = {"name": "bob", "password": "a password of his", "groups": ["devs"]}
    async with httpx.AsyncClient(base_url=held.gateway.url, headers=held.authorization) as client:
        answer = await client.post("/api/v1/users", json=body)
    assert answer.status_code == 201, answer.text
