"""`ossa audit`: proves the audit trail and shows what is in it."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ossa.audit.chain import BadLink, Link
from ossa.audit.findings import Finding, Verdict
from ossa.audit.heads import BadKey, Head, Keys
from ossa.cli.outcome import Exit, Stop
from ossa.cli.view import columns, one_line
from ossa.engine.clock import to_exact_text, to_text
from ossa.store.errors import Problem
from ossa.store.objects import StoreUnusable
from ossa.store.records.audit import Asked, find
from ossa.store.records.errors import BadRecordsURL, RecordsUnavailable
from ossa.store.records.pool import connect
from ossa.store.trailarchive import TrailArchive
from ossa.store.trailcheck import Check, Progress

COLUMNS = ("PLACE", "WHAT", "WRITER", "EPOCH", "LINKS", "WHY")
SHOWN = ("TIME", "USER", "VERB", "WHAT", "OUTCOME", "STATUS", "COUNT", "REASON")


async def dispatch(options: argparse.Namespace) -> Exit:
    """Do what the command line says."""
    try:
        if options.verb == "verify":
            return await verify(options)
        return await show(options)
    except (BadKey, StoreUnusable, BadRecordsURL) as error:
        raise Stop(one_line(str(error)), Exit.USAGE) from error
    except RecordsUnavailable as error:
        raise Stop(f"The records do not answer: {one_line(str(error))}") from error
    except Problem as error:
        raise Stop(one_line(error.detail)) from error
    except sqlite3.OperationalError as error:
        place = tempfile.gettempdir()
        raise Stop(f"What was read has no room in {place} ({error}): name another folder by $TMPDIR") from error


async def verify(options: argparse.Namespace) -> Exit:
    """Prove the trail in each place that is named; FAILED where something is wrong."""
    if not options.store and not options.records:
        raise Stop("Name where the trail lies: --store URL, --records URL, or both", Exit.USAGE)
    if not options.keys:
        raise Stop("Name the public keys that prove it: --keys FILE, or $OSSA_AUDIT_KEYS", Exit.USAGE)
    check = Check(Keys.load(Path(options.keys)), datetime.now(UTC), timedelta(days=options.kept), _progress())
    known = known_heads(options.known) if options.known else []
    if options.records:
        async with connect(options.records, application="ossa-audit") as connection:
            await check.records(connection)
    if options.store:
        await check.archive(TrailArchive.open(options.store))
    verdicts = check.finish(known)
    wrong = any(verdict.faults for verdict in verdicts.values())
    nothing = not any(verdict.chains for verdict in verdicts.values())
    print(json.dumps(as_json(verdicts), indent=2) if options.output == "json" else as_text(verdicts))
    if nothing:
        raise Stop("There is no audit trail in the places that are named: nothing is proven", Exit.FAILED)
    return Exit.FAILED if wrong else Exit.OK


async def show(options: argparse.Namespace) -> Exit:
    """Print entries, newest first; they are proven by `verify`."""
    if not options.records:
        raise Stop("Name where the trail lies: --records URL, or $OSSA_RECORDS_URL", Exit.USAGE)
    asked = Asked(
        user=options.user,
        verb=options.action,
        resource=options.resource,
        namespace=options.namespace or "",
        name=options.name,
        outcome=options.outcome or "",
        since=options.since,
        until=options.until,
        limit=options.limit,
    )
    async with connect(options.records, application="ossa-audit") as connection:
        try:
            found = await find(connection, asked)
        except BadLink as error:
            raise Stop(f"A row of the trail is no link: {error}. Run ossa audit verify", Exit.FAILED) from error
    if options.output == "json":
        for link in found:
            print(link.text)
    elif found:
        print(columns(SHOWN, [_shown(link) for link in found]))
    else:
        print("There are no such entries", file=sys.stderr)
    return Exit.OK


def known_heads(path: str) -> list[Head]:
    """The heads of an earlier verification's JSON, of the gateway's log, or one a line. Raises Stop."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        whole = _parsed(text)
        if isinstance(whole, dict) and "heads" in whole:
            return [Head.model_validate(item) for item in whole["heads"]]
        lines = [held for line in text.splitlines() if (held := _parsed(line)) is not None]
        return [Head.model_validate(_of_log(line)) for line in lines if not isinstance(line, dict) or _has_head(line)]
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise Stop(one_line(f"{path} holds no heads: {error}"), Exit.USAGE) from error


def as_json(verdicts: dict[str, Verdict]) -> dict[str, Any]:
    """All that was found; `heads` are what a later verification can be held to."""
    heads: dict[tuple[str, str], Head] = {}
    for verdict in verdicts.values():
        for head in verdict.heads:
            best = heads.get((head.writer, head.epoch))
            if best is None or head.seq > best.seq:
                heads[head.writer, head.epoch] = head
    return {
        "proven": not any(verdict.faults for verdict in verdicts.values()),
        "places": {
            place: {
                "links": verdict.links,
                "proven": verdict.proven,
                "chains": [{key: _plain(value) for key, value in asdict(chain).items()} for chain in verdict.chains],
                "findings": [{**asdict(found), "fault": found.is_fault} for found in verdict.findings],
            }
            for place, verdict in verdicts.items()
        },
        "heads": [head.model_dump(mode="json") for _, head in sorted(heads.items())],
    }


def as_text(verdicts: dict[str, Verdict]) -> str:
    """A line for each place, and a table of what was found."""
    lines = []
    for place, verdict in verdicts.items():
        end = "all proven" if not verdict.faults else f"{verdict.proven} proven, {len(verdict.faults)} findings"
        since = min((chain.since for chain in verdict.chains if chain.since is not None), default=None)
        told = f", since {to_text(since)}" if since is not None else ""
        lines.append(f"{place}: {len(verdict.chains)} chains, {verdict.links} links{told}: {end}")
    found = [(place, finding) for place, verdict in verdicts.items() for finding in verdict.findings]
    if found:
        lines.append(columns(COLUMNS, [_row(place, finding) for place, finding in found]))
    return "\n".join(lines)


def _row(place: str, found: Finding) -> Sequence[str]:
    some = "" if not found.last else str(found.first) if found.first == found.last else f"{found.first}-{found.last}"
    return place, found.kind, one_line(found.writer), one_line(found.epoch), some, one_line(found.text)


def _shown(link: Link) -> Sequence[str]:
    entry = link.body.entry
    what = "/".join(part for part in (entry.resource, entry.namespace, entry.name) if part)
    cells = (entry.user, entry.verb, what, entry.outcome, str(entry.status or ""), str(entry.count), entry.reason)
    return (to_exact_text(entry.time), *(one_line(cell) for cell in cells))


def _plain(value: Any) -> Any:
    return to_text(value) if isinstance(value, datetime) else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _has_head(line: dict[str, Any]) -> bool:
    return "signature" in line or "head" in line


def _of_log(line: Any) -> Any:
    """A line of the gateway's log holds the head as text."""
    if isinstance(line, dict) and isinstance(line.get("head"), str):
        return _parsed(line["head"])
    return line


def _progress() -> Progress:
    """Tells a person at a terminal how far it is."""
    if not sys.stderr.isatty():
        return lambda _place, _count: None

    def told(place: str, count: int) -> None:
        print(f"\r{place}: {count} links read", end="", file=sys.stderr, flush=True)

    return told
