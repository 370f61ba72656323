"""Follows an Execution over the gateway's WebSocket: follow.py URL NAMESPACE EXECUTION, the token on standard input.

A client of few lines, for `make demo`; ossa.client resumes after a broken connection and renews its token besides.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp

SUBPROTOCOL = "ossa.v1"
BEGINNING = "0-0"  # before all events: the gateway tells first how things stand
ENDED = ("Completed", "Failed")
TIMEOUT = 300.0  # seconds


def lines_of(frame: dict[str, Any]) -> list[str]:
    """What a frame tells, for people."""
    if frame["type"] == "snapshot":
        found = []
        for item in frame["executions"]:
            found.append(f"snapshot   {item['execution']['phase']}")
            found += [f"snapshot   task {task['name']}: {task['phase']}" for task in item["tasks"]]
        return found
    if frame["type"] != "event":
        return []
    event = frame["event"]
    time = event["time"][11:19]
    if event["type"] == "task":
        return [f"{time}   task {event['task']}: {event['phase']}"]
    result = f"   {json.dumps(event['output'])}" if event.get("output") else ""
    return [f"{time}   {event['type']}: {event['phase']} {event['progress']}{result}"]


def phase_of(frame: dict[str, Any]) -> str:
    """The phase of the Execution that a frame tells; empty where it tells none."""
    if frame["type"] == "snapshot":
        return next((str(item["execution"]["phase"]) for item in frame["executions"]), "")
    if frame["type"] == "event" and frame["event"]["type"] == "execution":
        return str(frame["event"]["phase"])
    return ""


async def follow(url: str, *, namespace: str, execution: str, token: str) -> int:
    """Prints what happens until the Execution ends; the exit code: 0 where it ended well."""
    asked = {"namespace": namespace, "execution": execution, "after": BEGINNING}
    async with (
        asyncio.timeout(TIMEOUT),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.ws_connect(f"{url}/api/v1/events", params=asked, protocols=(SUBPROTOCOL,)) as socket,
    ):
        async for message in socket:
            frame = json.loads(message.data)
            for line in lines_of(frame):
                print(f"  {line}", flush=True)
            if phase_of(frame) in ENDED:
                return 0 if phase_of(frame) == "Completed" else 1
    print(f"the gateway closed the WebSocket: {socket.close_code}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    url, namespace, execution = sys.argv[1:]
    token = sys.stdin.readline().strip()
    sys.exit(asyncio.run(follow(url, namespace=namespace, execution=execution, token=token)))
