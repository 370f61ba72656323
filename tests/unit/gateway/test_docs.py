"""The examples of docs/api.md, docs/security.md and docs/events.md, at the process ossa-gateway.

Commands are run by bash and curl, in the order of the page; what they lead to in a cluster, a test does.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jsonschema
import pytest
import yaml

from ossa.api.gateway import SIGN_IN, OrchestrateRequest
from ossa.bus.frames import CLIENT_FRAMES, SERVER_TYPES, Close, Command
from ossa.gateway.openapi import PROBLEM_SCHEMA
from ossa.gateway.signin.tokens import AUDIENCE
from ossa.store.records.pool import Records
from ossa.store.records.write import Write, write
from tests.pages import DOCS, blocks, text_of
from tests.unit.gateway.examples import Shell, commands, operation_of, shell
from tests.unit.gateway.installed import UNLIMITED, Installed, installed
from tests.unit.gateway.lab import EXECUTIONS
from tests.unit.gateway.outages import SEEN_AGENT
from tests.unit.gateway.rest.resources import APPROVALS, approval, execution
from tests.unit.gateway.test_killed import closed

API, SECURITY, EVENTS = text_of("api.md"), text_of("security.md"), text_of("events.md")
CHART = DOCS.parent / "charts" / "ossa"
DEFAULT = EXECUTIONS.format("default")
# `GET, POST /api/v1/users`, or `POST …/executions/NAME/pause` of a namespace.
ROUTE = re.compile(r"`((?:GET|POST|PATCH|DELETE)(?:, (?:GET|POST|PATCH|DELETE))*) (…?)(/[\w/.-]+)`")
pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="the pages use curl and jq, which are not here"
)


async def document_of(held: Installed) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=held.gateway.url) as client:
        return dict((await client.get("/openapi.json")).json())


def check_sent(bash: Shell, document: dict[str, Any]) -> None:
    """What was sent is in the document, each parameter, too: the gateway ignores those that it does not know."""
    for sent in bash.sent:
        url = urlsplit(sent.url)
        operation = operation_of(document, sent.method, url.path)
        known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
        assert {name for name, _ in parse_qsl(url.query)} <= known, sent.url


async def furnish(held: Installed, records_url: str) -> None:
    """What the page speaks of."""
    agent = {"type": "worker", "capabilities": [{"name": "apply-rules"}]}
    for kind, name, spec in (("Agent", "rules", agent), ("Workflow", "data-pipeline", {"published": True})):
        metadata = {"name": name, "namespace": "default"}
        item = {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        held.cluster.create(f"/apis/ossa.dev/v1alpha1/namespaces/default/{kind.lower()}s", item)
    held.cluster.objects["/api/v1/namespaces/default/pods/p1/log"] = {"line": 1}
    # More than one page.
    async with Records(records_url, application="test") as records, records.connection() as connection:
        for number in range(1, 25):
            old = execution(f"old-{number}", "default", phase="Failed")
            uid = f"00000000-0000-0000-0000-{number:012d}"
            old["metadata"] |= {"uid": uid, "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
            old["spec"]["workflow"] = "data-pipeline"
            await write(connection, [Write("executions", uid, number, None, old)])


def becomes(held: Installed, name: str, phase: str, **more: Any) -> None:
    """An Execution is where an example finds it, and somebody else has asked for it."""
    item = held.cluster.objects[f"{DEFAULT}/{name}"]
    tasks = {"ingest": {"phase": "Running", "attempt": 1, "pod": "p1"}}
    status = {"phase": phase, "progress": "0/1", "tasks": tasks, "revision": "data-pipeline-1", **more}
    held.cluster.put(DEFAULT, {**item, "status": status})


async def test_the_commands_of_the_api_are_carried_out(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with installed(tmp_path, records=records_url, bus=redis_url, **UNLIMITED) as held:
        await furnish(held, records_url)
        bash = shell(tmp_path)
        filled = {
            "http://localhost:8080": held.gateway.url,
            '"password": "…"': f'"password": "{held.gateway.password}"',
        }
        answers: list[dict[str, Any]] = []
        for command in commands(API, "GATEWAY=", "curl", "NS="):
            if "/retry" in command:
                becomes(held, filled["run-5f0c2d…"], "Failed")
            if "cursor=NEXT" in command:
                filled["NEXT"] = answers[-1]["next"]
            if "/requests/" in command:
                await closed(records_url)  # it is asked for later
            if "/approvals" in command:
                waiting = approval("a-release")
                waiting["metadata"] |= {"labels": {"ossa.dev/execution": filled["run-5f0c2d…"]}, "namespace": "default"}
                waiting["spec"] |= {"execution": {"name": filled["run-5f0c2d…"], "uid": "u"}}
                waiting["spec"]["approverUsers"] = ["ossa:admin"]
                held.cluster.create(APPROVALS.format("default"), waiting)
            for word, value in filled.items():
                command = command.replace(word, value)  # noqa: PLW2901 - as a reader does
            said = await asyncio.to_thread(bash.run, command)
            if said.startswith("{"):
                answers.append(json.loads(said))
            if "$GATEWAY/orchestrate" in command:
                filled |= {"7d4a…": answers[-1]["id"], "run-5f0c2d…": answers[-1]["execution"]}
                becomes(held, answers[-1]["execution"], "Running")
        check_sent(bash, await document_of(held))
    assert len(bash.sent) == API.count("curl -s")
    (told,) = [json.loads(one) for one in blocks(API, "json") if '"execution"' in one]
    ran, became = [one for one in answers if one.get("id") == filled["7d4a…"]]
    assert (set(told), ran["state"], became["state"]) == (set(ran), "Created", "Created")
    decisions = held.cluster.objects[f"{APPROVALS.format('default')}/a-release"]["decisions"]
    assert decisions == {"ossa:admin": {"verdict": "Approved", "reason": "tested it"}}


async def test_the_commands_of_security_are_carried_out(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with installed(tmp_path, records=records_url, bus=redis_url, **UNLIMITED) as held:
        held.cluster.agents.add(SEEN_AGENT)
        bash = shell(tmp_path, FIRST_PASSWORD=held.gateway.password, AGENT_TOKEN=SEEN_AGENT)
        for command in commands(SECURITY, "kubectl", "PASSWORD=", "curl"):
            here = command.replace("http://127.0.0.1:8080", held.gateway.url)
            await asyncio.to_thread(bash.run, here.removesuffix(" &"))
        async with httpx.AsyncClient(base_url=held.gateway.url) as client:
            answer = await client.post(SIGN_IN, json={"name": "admin", "password": "a new long password"})
        bash.environment["TOKEN"] = answer.json()["access_token"]  # that of before ended with the old password
        alone = re.findall(r"`(curl [^`]*)`", SECURITY)
        for command in alone:
            await asyncio.to_thread(bash.run, command)
        check_sent(bash, await document_of(held))
    assert (len(bash.sent), len(alone)) == (len(re.findall(r"\bcurl -", SECURITY)), 1)


async def test_routes_that_are_told_of_exist(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with installed(tmp_path, records=records_url, bus=redis_url) as held:
        document = await document_of(held)
        wrong = await refused(held)
    told = {
        (method, "/api/v1/namespaces/NS" * bool(of_namespace) + path)
        for methods, of_namespace, path in ROUTE.findall(API + SECURITY)
        for method in methods.split(", ")
    }
    assert len(told) >= 20
    for method, path in told:
        operation_of(document, method, path)
    # The example of a problem is what is answered. Python before 3.13 has the status' older title.
    (shown,) = [json.loads(one) for one in blocks(API, "json") if '"type"' in one]
    jsonschema.validate(shown, PROBLEM_SCHEMA)
    assert set(shown) == set(wrong)
    compared = ("type", "status", "detail", "field")
    assert {name: shown[name] for name in compared} == {name: wrong[name] for name in compared}


async def refused(held: Installed) -> dict[str, Any]:
    """The problem that inputs which are none lead to."""
    async with httpx.AsyncClient(base_url=held.gateway.url, headers=held.authorization) as client:
        return dict((await client.post("/orchestrate", json={"workflow": "w", "inputs": "wine"})).json())


@pytest.mark.parametrize("text", [line for one in blocks(EVENTS, "json") for line in one.splitlines()])
def test_a_frame_is_one_that_the_gateway_takes(text: str) -> None:
    given = json.loads(text.replace("…", "x"))
    frame = CLIENT_FRAMES.validate_python(given)
    assert set(given) <= set(type(frame).model_fields)  # others are ignored
    if isinstance(frame, Command) and frame.action == "orchestrate":
        OrchestrateRequest.model_validate(frame.body)
    elif isinstance(frame, Command):
        assert (frame.namespace, frame.execution) == ("team", "run-1")


def test_frames_and_codes_are_told() -> None:
    told = EVENTS.split("## Frames of the gateway")[1].split("## Resume")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)) == SERVER_TYPES
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", EVENTS, re.MULTILINE)} == set(Close)


def test_the_values_are_those_of_the_chart() -> None:
    (text,) = [one for one in blocks(SECURITY, "yaml") if one.startswith("gateway:")]
    values, shown = yaml.safe_load((CHART / "values.yaml").read_text()), yaml.safe_load(text)
    assert set(shown["gateway"]) <= set(values["gateway"])
    assert set(shown["gateway"]["oidc"]) <= set(values["gateway"]["oidc"])
    values["gateway"] |= shown["gateway"]
    jsonschema.validate(values, json.loads((CHART / "values.schema.json").read_text()))


def test_the_token_of_an_agent_is_for_the_gateway() -> None:
    (text,) = [one for one in blocks(SECURITY, "yaml") if one.startswith("volumes:")]
    (volume,) = yaml.safe_load(text)["volumes"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == AUDIENCE
