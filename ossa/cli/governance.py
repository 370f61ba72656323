"""The commands about policies on the command line: `lint`, most of which need no cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ossa.cli.lint import lint
from ossa.cli.manifests import DEFAULT_NAMESPACE
from ossa.cli.outcome import Exit

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

COMMANDS = frozenset({"lint"})
FILES = "FILE|FOLDER"


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add them to the command line; `common` has --namespace, --context and --output."""
    check = commands.add_parser("lint", parents=[common], help="check manifests as admission would, without a cluster")
    check.add_argument("paths", nargs="+", metavar=FILES, help="manifests; - is the standard input")
    check.add_argument(
        "--policies",
        action="append",
        default=[],
        type=Path,
        metavar=FILES,
        help="policies to judge them by, with their ConfigMaps, Namespaces and exceptions; may be repeated",
    )
    check.add_argument("--user", default="", metavar="NAME", help="with --policies: who would apply them")
    check.add_argument(
        "--group", action="append", default=[], metavar="NAME", help="with --policies: a group of theirs; repeatable"
    )


async def dispatch(options: argparse.Namespace) -> Exit:
    """Do what the command line says."""
    as_json = options.output == "json"
    return lint(
        options.paths,
        policies=options.policies,
        namespace=options.namespace or DEFAULT_NAMESPACE,
        user=options.user,
        groups=options.group,
        as_json=as_json,
    )
