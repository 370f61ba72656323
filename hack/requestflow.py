"""The way of a request, as a client of the gateway has it: 202, live updates, the result, the rows, the audit trail.

Standard library; curl where it is; and the Python of the `ossa` command for the WebSocket.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.forward import forwarded

SYSTEM, GATEWAY, PORT = "ossa-system", "ossa-gateway", 8080
SIGN_IN, ORCHESTRATE = "/api/v1/auth/login", "/orchestrate"
FOLLOW = Path(__file__).with_name("follow.py")
NAMESPACE, WORKFLOW = "default", "data-pipeline"
TIMEOUT = 30  # seconds that an answer may take
RECORDED_SECONDS = 30.0
ROWS = """\
SELECT name, status, progress, results IS NOT NULL AS has_results FROM executions WHERE name = '{name}';
SELECT t.name, t.status, t.attempt, round(extract(epoch FROM t.completed_at - t.started_at), 1) AS seconds
  FROM tasks t JOIN executions e ON e.id = t.execution_id WHERE e.name = '{name}' ORDER BY t.started_at;
SELECT count(*) AS transitions FROM task_events WHERE execution = '{name}';
SELECT "user", verb, resource, outcome FROM audit WHERE name = '{name}' ORDER BY recorded;"""


@dataclass(frozen=True, slots=True)
class Client:
    """Sends JSON to the gateway with curl, else as curl would, and shows what is no secret of it."""

    url: str
    token: str = field(default="", repr=False)

    def send(self, method: str, path: str, body: Any = None, *, key: str = "", secret: bool = False) -> dict[str, Any]:
        """The answer; neither it nor the body is shown where they are secret. SystemExit where it is an error."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        data = json.dumps(body) if body is not None else ""
        shown = [f"curl -i -X {method} {self.url}{path}", *(f"-H '{name}: {value}'" for name, value in headers.items())]
        shown += ['-H "Authorization: Bearer $TOKEN"'] if self.token else []
        shown += [f"-d '{'{…}' if secret else data}'"] if data else []
        print(f"\n$ {' '.join(shown)}", flush=True)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        send = by_curl if shutil.which("curl") else by_python
        status, text = send(method, f"{self.url}{path}", data, headers)
        print(f"HTTP {status}" + ("" if secret else f"\n{text}"), flush=True)
        if status >= 400:
            raise SystemExit(f"{method} {path} was answered {status}: {text}")
        found: dict[str, Any] = json.loads(text)
        return found


def by_curl(method: str, url: str, data: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status and body. What is secret goes over standard input, where nobody sees it among the processes."""

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    settings = [f"header = {quoted(f'{name}: {value}')}" for name, value in headers.items()]
    settings += [f"data-raw = {quoted(data)}"] if data else []
    options = [
        "--silent",
        "--show-error",
        "--max-time",
        str(TIMEOUT),
        "--write-out",
        "\\n%{http_code}",
        "-X",
        method,
        url,
    ]
    done = subprocess.run(
        ["curl", "--config", "-", *options], input="\n".join(settings), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"curl: {done.stderr.strip()}")
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def by_python(method: str, url: str, data: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status and body, as curl would have them."""
    request = urllib.request.Request(url, data.encode() or None, dict(headers), method=method)  # noqa: S310 - http alone
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def admin_password(kubectl: str) -> str:
    """That of the first user, which the chart has made."""
    query = ["-n", SYSTEM, "get", "secret", "ossa-gateway-admin", "-o", "jsonpath={.data.password}"]
    return base64.b64decode(subprocess.run([kubectl, *query], check=True, capture_output=True).stdout).decode()


def follow(python: str, client: Client, execution: str) -> None:
    """Prints what comes over the WebSocket until the Execution has ended. SystemExit where it failed."""
    address = f"ws{client.url.removeprefix('http')}/api/v1/events?namespace={NAMESPACE}&execution={execution}"
    print(f"\n# live, over a WebSocket: {address}", flush=True)
    command = [python, str(FOLLOW), client.url, NAMESPACE, execution]
    code = subprocess.run(command, input=f"{client.token}\n", text=True, check=False).returncode
    if code != 0:
        raise SystemExit(f"{execution} did not end well, or the WebSocket broke off; see above")


def rows(kubectl: str, execution: str) -> None:
    """Shows what PostgreSQL holds of the Execution, once its last state is there."""
    psql = [kubectl, "-n", SYSTEM, "exec", "ossa-postgresql-0", "--", "psql", "-h", "/var/run/postgresql", "-U", "ossa"]
    finished = f"SELECT finished FROM executions WHERE name = '{execution}'"  # noqa: S608 - a name of our own
    deadline = time.monotonic() + RECORDED_SECONDS
    while True:
        done = subprocess.run([*psql, "-t", "-A", "-c", finished], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "t":
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"{execution} is not in the records after {RECORDED_SECONDS:g} s: {done.stderr}")
        time.sleep(0.5)
    print("\n# the rows in PostgreSQL", flush=True)
    subprocess.run([*psql, "-c", ROWS.format(name=execution)], check=True)


def show(kubectl: str, python: str) -> str:
    """All of it; gives the name of the Execution."""
    with forwarded(SYSTEM, GATEWAY, PORT) as url:
        print("\n# sign in at the gateway, as the user that the chart has made", flush=True)
        body = {"name": "admin", "password": admin_password(kubectl)}
        token = str(Client(url).send("POST", SIGN_IN, body, secret=True)["access_token"])
        client = Client(url, token)
        print("\n# ask for an execution: written down, and answered at once", flush=True)
        request = {"namespace": NAMESPACE, "workflow": WORKFLOW}
        key = time.strftime("demo-%Y%m%d-%H%M%S", time.gmtime())
        execution = str(client.send("POST", ORCHESTRATE, request, key=key)["execution"])
        print("\n# the same request again: the same execution", flush=True)
        again = client.send("POST", ORCHESTRATE, request, key=key)
        if again["execution"] != execution:
            raise SystemExit(f"the same Idempotency-Key led to {execution} and to {again['execution']}")
        follow(python, client, execution)
        print("\n# the final result", flush=True)
        client.send("GET", f"/api/v1/namespaces/{NAMESPACE}/executions/{execution}")
    rows(kubectl, execution)
    return execution
