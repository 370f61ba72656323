"""What every request gets: a problem document that says what to do, an id, headers; and the published document."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from ossa.environment import BadSetting
from ossa.gateway.inputs import is_deeper
from ossa.gateway.settings import settings_from
from tests.unit.gateway.lab import lab
from tests.unit.gateway.serving import raw

PATH = "/api/v1/orchestrate"
BODY = {"namespace": "lab", "workflow": "pipeline"}
SECRETS = {"OSSA_RECORDS_URL": "postgresql://ossa:hidden@db/ossa", "OSSA_BUS_URL": "redis://:hidden@bus:6382"}


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The document, which is one."""
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert (found["type"], found["status"]) == ("about:blank", answer.status_code)
    assert found["instance"] == answer.headers["x-request-id"]
    assert found["detail"]
    return found


async def test_errors_are_problems(records_url: str) -> None:
    async with lab(records_url) as gateway:
        assert problem(await gateway.get("/nothing"))["status"] == 404
        answer = await gateway.post("/healthz")
        assert (problem(answer)["status"], answer.headers["allow"]) == (405, "GET")
        answer = await gateway.client.post(PATH, json=BODY)
        assert (problem(answer)["status"], answer.headers["www-authenticate"]) == (401, "Bearer")
        assert problem(await gateway.post(PATH, BODY, who="nobody"))["status"] == 401
        gateway.people.full.add("ossa:alice")
        answer = await gateway.post(PATH, BODY)
        assert (problem(answer)["status"], answer.headers["retry-after"]) == (429, "1")
        assert [entry.status for entry in gateway.book.entries] == [401, 401, 429]
        # Whoever tries tokens is limited by where they come from.
        assert gateway.people.taken[-2:] == [("", "127.0.0.1"), ("ossa:alice", "127.0.0.1")]


@pytest.mark.parametrize(
    ("body", "status", "field", "said"),
    [
        ({**BODY, "workflow": "../x"}, 422, "workflow", "must match"),
        ({**BODY, "namespace": "x" * 64}, 422, "namespace", "at most 63"),
        ({**BODY, "inputs": [1]}, 422, "inputs", "dictionary"),
        ({**BODY, "priority": 1001}, 422, "priority", "less than or equal to 1000"),
        ({**BODY, "wokflow": "x"}, 422, "wokflow", "there is no such field"),
        ({"namespace": "lab"}, 422, "body", "give either `workflow`"),
        ({**BODY, "workflowSpec": {"tasks": [{"name": "A"}]}}, 422, "workflowSpec.tasks[0].name", "must match"),
        (b"{", 400, "body", "the body is no JSON"),
        (b"\xff\xfe", 400, "body", "the body is no JSON"),
        (b"null", 422, "body", ""),
        (b"", 422, "body", "is missing"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "", "nested deeper than 64 levels"),
        (b"[" * 500_000, 400, "", "nested deeper than 64 levels"),
    ],
)
async def test_what_is_wrong_with_a_body(records_url: str, body: Any, status: int, field: str, said: str) -> None:
    async with lab(records_url) as gateway:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": "Bearer alice", "Content-Type": "application/json"}
        answer = await gateway.client.post(PATH, content=content, headers=headers)
        found = problem(answer)
        assert (answer.status_code, found.get("field", "")) == (status, field)
        assert said in found["detail"]
        assert gateway.cluster.asked == 0
        assert await gateway.rows() == []


async def test_a_body_is_json_that_says_so(records_url: str) -> None:
    """What a form of a web page may send is refused."""
    async with lab(records_url) as gateway:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            headers = {"Authorization": "Bearer alice", "Content-Type": kind}
            answer = await gateway.client.post(PATH, content=json.dumps(BODY).encode(), headers=headers)
            assert problem(answer)["status"] == 415


@pytest.mark.parametrize("key", ["", "with space", "ü", "x" * 129, "a\tb"])
async def test_a_key_is_printable(records_url: str, key: str) -> None:
    async with lab(records_url) as gateway:
        headers = {b"Authorization": b"Bearer alice", b"Idempotency-Key": key.encode()}
        answer = await gateway.client.post(PATH, json=BODY, headers=headers)
        assert problem(answer)["field"] == "Idempotency-Key"


async def test_values_are_values(records_url: str) -> None:
    """Whatever stands in a key or in inputs arrives as it is."""
    async with lab(records_url) as gateway:
        evil = "'); DROP TABLE requests; --"
        inputs = {"a": evil, "b": "\x00\u2028</script>", evil: {"$": "${{ 1 }}"}}
        answer = await gateway.post(PATH, {**BODY, "inputs": inputs}, Idempotency_Key="');DROP/**/TABLE/**/requests;--")
        assert answer.status_code == 202
        assert gateway.cluster.executions()[0]["spec"]["inputs"] == inputs
        assert len(await gateway.rows()) == 1


async def test_headers_cannot_be_injected(records_url: str) -> None:
    async with lab(records_url) as gateway, raw(gateway.client.base_url.port or 0) as client:
        body = json.dumps(BODY).encode()
        await client.send(
            b"POST /orchestrate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
            b"Content-Type: application/json\r\nX-Request-Id: mine\r\n"
            b"traceparent: 00-zz\rSet-Cookie: a=b\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        status, headers, _ = await client.answer()
        assert status == 400
        assert "set-cookie" not in headers
    async with lab(records_url) as gateway:
        answer = await gateway.post(PATH, BODY, X_Request_Id="mine", traceparent="00-zz-not-one")
        assert answer.status_code == 202
        assert answer.headers["x-request-id"] != "mine"
        assert re.fullmatch("[0-9a-f]{32}", answer.json()["traceId"])


async def test_security_headers_and_no_cors(records_url: str) -> None:
    async with lab(records_url) as gateway:
        answer = await gateway.client.get("/healthz", headers={"Origin": "https://evil.example"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = await gateway.client.options(PATH, headers=preflight)
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)


async def test_cors_for_the_pages_that_are_named(records_url: str) -> None:
    page = "https://console.example"
    async with lab(records_url, origins=(page,)) as gateway:
        for origin, allowed in ((page, page), ("https://evil.example", None)):
            preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = await gateway.client.options(PATH, headers=preflight)
            assert answer.headers.get("access-control-allow-origin") == allowed
        for method in ("GET", "POST", "PATCH", "DELETE"):  # all there are
            preflight = {"Origin": page, "Access-Control-Request-Method": method}
            assert (await gateway.client.options(PATH, headers=preflight)).status_code == 200
        assert "access-control-allow-credentials" not in answer.headers


async def test_what_is_counted(records_url: str) -> None:
    """By route, not by path: names would make series without end."""
    async with lab(records_url) as gateway:
        await gateway.post(PATH, BODY)
        for number in range(3):
            await gateway.get(f"/api/v1/namespaces/lab/executions/x{number}")
            await gateway.get(f"/nothing/{number}")
        value = gateway.metrics.registry.get_sample_value
        name = "ossa_gateway_requests_total"
        assert value(name, {"route": PATH, "method": "POST", "code": "202"}) == 1
        route = "/api/v1/namespaces/{namespace}/executions/{name}"
        assert value(name, {"route": route, "method": "GET", "code": "403"}) == 3
        assert value(name, {"route": "unmatched", "method": "GET", "code": "404"}) == 3
        assert value("ossa_gateway_requests_in_flight") == 0


async def test_the_document_tells_of_every_route(records_url: str) -> None:
    async with lab(records_url) as gateway:
        answer = await gateway.client.get("/openapi.json")
        document = answer.json()
        assert document["openapi"].startswith("3.1")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                problems = {code: held for code, held in operation["responses"].items() if code >= "400"}
                assert {"500", "503"} <= problems.keys(), (path, method)
                assert {kind for held in problems.values() for kind in held["content"]} == {"application/problem+json"}
                if path not in ("/healthz", "/readyz"):
                    assert operation["security"] == [{"bearer": []}]
                    assert {"401", "403", "429"} <= problems.keys(), (path, method)
        assert {PATH, "/orchestrate", "/api/v1/namespaces/{namespace}/executions/{name}/logs"} <= document[
            "paths"
        ].keys()


@pytest.mark.parametrize(
    ("body", "most", "deeper"),
    [
        (b"[[[]]]", 3, False),
        (b"[[[]]]", 2, True),
        (b'{"a": {"b": [{}]}}', 4, False),
        (b'{"a": {"b": [{}]}}', 3, True),
        (b'["[[[[[", "{{{{", "\\"[[[["]', 1, False),
        (b'["\\\\", [1]]', 2, False),
        (b"[1],[2],[3]", 1, False),
    ],
)
def test_depth(body: bytes, most: int, deeper: bool) -> None:
    assert is_deeper(body, most) is deeper


def test_settings_hide_secrets_and_name_what_is_wrong() -> None:
    assert "hidden" not in repr(settings_from(SECRETS))
    for more, said in (
        ({"OSSA_GATEWAY_MAX_BODY": "much"}, "OSSA_GATEWAY_MAX_BODY: 'much' is not a number"),
        ({"OSSA_GATEWAY_HEADER_TIMEOUT": "0"}, "OSSA_GATEWAY_HEADER_TIMEOUT: 0 must be a number from 0.1 on"),
        ({"OSSA_GATEWAY_ORIGINS": "*"}, "OSSA_GATEWAY_ORIGINS: '*' is not JSON"),
        ({"OSSA_GATEWAY_ORIGINS": '"*"'}, "is not a JSON list"),
    ):
        with pytest.raises(BadSetting, match=re.escape(said)):
            settings_from({**SECRETS, **more})
    with pytest.raises(BadSetting, match="OSSA_RECORDS_URL must be set"):
        settings_from({})
