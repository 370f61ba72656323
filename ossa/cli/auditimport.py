"""`ossa audit import`: posts the API server's audit log file to the gateway."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TextIO

import aiohttp

from ossa.api.gateway import AUDIT_EVENTS
from ossa.audit.kubernetes import API_VERSION, BadEvent, slim
from ossa.cli.outcome import Exit, Stop
from ossa.cli.view import one_line

# Events and bytes in one request; the gateway takes bodies of 1 MiB.
EVENTS, SIZE = 200, 900_000
TIMEOUT: Final = aiohttp.ClientTimeout(total=60)


async def import_log(options: argparse.Namespace) -> Exit:
    """Post all events of a file; what is in the trail already is not added again."""
    token = _token(options.token_file)
    sent = new = 0
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as session:
        with _opened(options.file) as file:
            for batch in batches(file, options.file):
                new += await _post(session, options.gateway.rstrip("/") + AUDIT_EVENTS, batch)
                sent += len(batch)
    print(f"{sent} events tell of changes, {new} new entries in the audit trail")
    return Exit.OK


def batches(file: TextIO, name: str) -> Iterator[list[dict[str, Any]]]:
    """The events of a log file that tell of our objects, in pieces that fit into a request.

    A cluster's log has bodies and other objects in it, of which nothing is sent. Raises Stop where a line is no event.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for number, line in enumerate(file, 1):
        event = _event(line, f"{name}:{number}") if line.strip() else None
        if event is None:
            continue
        length = len(json.dumps(event))
        if batch and (len(batch) == EVENTS or size + length > SIZE):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch


def _event(line: str, place: str) -> dict[str, Any] | None:
    try:
        return slim(json.loads(line), place)
    except BadEvent as error:
        raise Stop(one_line(f"{error}; the lines before were imported"), Exit.USAGE) from error
    except ValueError as error:
        raise Stop(f"{place}: it is no JSON: {error}; the lines before were imported", Exit.USAGE) from error


async def _post(session: aiohttp.ClientSession, url: str, events: list[Any]) -> int:
    document = {"apiVersion": API_VERSION, "kind": "EventList", "items": events}
    async with session.post(url, json=document) as answer:
        text = await answer.text()
        if answer.status != HTTPStatus.OK:
            raise Stop(
                one_line(f"The gateway answers {answer.status}: {text[:500]}. Import the file again, it is safe")
            )
        return int(json.loads(text)["added"])


def _token(file: str) -> str:
    try:
        token = Path(file).read_text(encoding="utf-8").strip() if file else os.environ.get("OSSA_TOKEN", "")
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{file} cannot be read: {error}", Exit.USAGE) from error
    if not token:
        raise Stop("Give a token that may create auditevents.ossa.dev: --token-file FILE, or $OSSA_TOKEN", Exit.USAGE)
    return token


def _opened(file: str) -> TextIO:
    if file == "-":
        return sys.stdin
    try:
        return Path(file).open(encoding="utf-8")
    except OSError as error:
        raise Stop(f"{file} cannot be read: {error}", Exit.USAGE) from error
