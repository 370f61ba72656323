"""The command line of `ossa audit`. What the commands need is loaded when one of them is run."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ossa.cli.auditimport import import_log
from ossa.cli.outcome import Exit, Stop

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

COMMANDS = frozenset({"audit"})
KEPT_DAYS = 183
OUTCOMES = ("asked", "allowed", "denied", "failed")


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add them to the command line; `common` has --namespace, --context and --output."""
    audit = commands.add_parser("audit", help="prove the audit trail, and show what is in it")
    verbs = audit.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_verify(verbs)
    _add_show(verbs, common)
    _add_import(verbs)


def _add_verify(verbs: Commands) -> None:
    check = verbs.add_parser("verify", help="prove the chains by their signed heads; say what is missing or altered")
    _add_records(check)
    check.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("OSSA_AUDIT_STORE", ""),
        help="the archive: file:///folder, s3://bucket/prefix [$OSSA_AUDIT_STORE]",
    )
    check.add_argument(
        "--keys",
        metavar="FILE",
        default=os.environ.get("OSSA_AUDIT_KEYS", ""),
        help="public keys in PEM, the present one and those before it; or a folder of such [$OSSA_AUDIT_KEYS]",
    )
    check.add_argument(
        "--known",
        metavar="FILE",
        help="heads that were seen before and must still be there: an earlier -o json, or lines of the gateway's log",
    )
    check.add_argument(
        "--kept",
        type=int,
        default=KEPT_DAYS,
        metavar="DAYS",
        help=f"what is older may have been removed from PostgreSQL (default: {KEPT_DAYS})",
    )
    check.add_argument("-o", "--output", choices=["text", "json"], default="text", help="form of the output")


def _add_show(verbs: Commands, common: argparse.ArgumentParser) -> None:
    show = verbs.add_parser("show", parents=[common], help="print entries from PostgreSQL, newest first")
    _add_records(show)
    show.add_argument("--user", default="", metavar="NAME", help="who, as Kubernetes knows them: ossa:alice")
    show.add_argument("--action", default="", metavar="VERB", help="create, update, delete, approve, sign-in, …")
    show.add_argument("--resource", default="", metavar="PLURAL", help="executions, approvals, sessions, …")
    show.add_argument("--name", default="", metavar="NAME", help="of the object")
    show.add_argument("--outcome", choices=OUTCOMES, help="how it ended")
    show.add_argument("--since", type=moment, metavar="TIME", help="recorded then or later")
    show.add_argument("--until", type=moment, metavar="TIME", help="recorded before")
    show.add_argument("--limit", type=int, default=100, metavar="N", help="how many at most (default: 100)")


def _add_import(verbs: Commands) -> None:
    taken = verbs.add_parser("import", help="take the API server's audit log file into the trail, by the gateway")
    taken.add_argument(
        "file", metavar="FILE", help="lines of JSON, as --audit-log-path writes them; - is the standard input"
    )
    taken.add_argument("--gateway", metavar="URL", required=True, help="of the gateway, e.g. https://ossa.example.com")
    taken.add_argument("--token-file", metavar="FILE", default="", help="with a token for the gateway [$OSSA_TOKEN]")


def _add_records(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--records",
        metavar="URL",
        default=os.environ.get("OSSA_RECORDS_URL", ""),
        help="the trail in PostgreSQL [$OSSA_RECORDS_URL]",
    )


async def dispatch(options: argparse.Namespace) -> Exit:
    """Do what the command line says. Raises Stop, also where what it needs is not installed."""
    if options.verb == "import":
        return await import_log(options)
    try:
        from ossa.cli import audit  # noqa: PLC0415 - its drivers are no part of the plain command
    except ModuleNotFoundError as error:
        raise Stop(f"{error.name} is not installed: pip install 'ossa[cli,audit]'", Exit.USAGE) from error
    return await audit.dispatch(options)


def moment(text: str) -> datetime:
    """A time of the command line: RFC 3339, or a date in UTC. Raises ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2026-03-01 or 2026-03-01T12:00:00Z") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
