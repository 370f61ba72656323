"""The commands about policies on the command line, most of which need no cluster."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ossa.cli.compliance import FORMS, report
from ossa.cli.lint import lint
from ossa.cli.manifests import DEFAULT_NAMESPACE
from ossa.cli.outcome import Exit
from ossa.cli.policy import explain, hash_specs, is_file
from ossa.cli.policytest import policy_test
from ossa.cli.reading import Seen, read_cluster, seen_in_files
from ossa.cli.session import Session
from ossa.governance.framework import SHIPPED
from ossa.kube.client import ApiClient
from ossa.kube.config import load_config

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

COMMANDS = frozenset({"lint", "policy", "compliance"})
FILES = "FILE|FOLDER"


def add_commands(commands: Commands, common: argparse.ArgumentParser, place: argparse.ArgumentParser) -> None:
    """Add them to the command line; `common` has --namespace, --context and --output, `place` the first two."""
    _add_lint(commands, common)
    _add_policy(commands, common)
    _add_compliance(commands, place)


def _add_lint(commands: Commands, common: argparse.ArgumentParser) -> None:
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


def _add_policy(commands: Commands, common: argparse.ArgumentParser) -> None:
    policy = commands.add_parser("policy", help="test and explain policies, hash what an exception pins")
    verbs = policy.add_subparsers(dest="verb", required=True, metavar="VERB")
    test = verbs.add_parser("test", parents=[common], help="run the PolicyTests in folders, without a cluster")
    test.add_argument("paths", nargs="+", metavar=FILES, help="folders with files of kind PolicyTest")
    explained = verbs.add_parser("explain", parents=[common], help="say what a policy does, and what it would hit now")
    explained.add_argument("policy", metavar="NAME|FILE", help="a policy of the cluster; or a file with some")
    explained.add_argument(
        "-f",
        "--files",
        action="append",
        default=[],
        metavar=FILES,
        help="with FILE: the objects that it is held against; may be repeated",
    )
    hashed = verbs.add_parser("hash", parents=[common], help="print the specHash for an AgentPolicyException")
    hashed.add_argument("paths", nargs="+", metavar=FILES, help="manifests; - is the standard input")


def _add_compliance(commands: Commands, place: argparse.ArgumentParser) -> None:
    compliance = commands.add_parser("compliance", help="show the evidence for controls of frameworks")
    verbs = compliance.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = verbs.add_parser(
        "report",
        parents=[place],
        help="control by control: enforced, evidence-present, not-met, unavailable or organisational",
    )
    made.add_argument("-o", "--output", choices=FORMS, default="text", help="form of the output")
    made.add_argument(
        "--framework",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help=f"one of {', '.join(SHIPPED)}, or a file of your own; may be repeated (default: all three)",
    )
    made.add_argument(
        "--files", action="append", default=[], metavar=FILES, help="look at these instead of the cluster; repeatable"
    )
    made.add_argument(
        "--system-namespace",
        default="ossa-system",
        metavar="NAME",
        help="where OSSA runs (default: ossa-system)",
    )
    made.add_argument("--summary", action="store_true", help="as text: the counts alone")


async def dispatch(options: argparse.Namespace) -> Exit:
    """Do what the command line says."""
    as_json = options.output == "json"
    namespace = options.namespace or DEFAULT_NAMESPACE
    if options.command == "lint":
        return lint(
            options.paths,
            policies=options.policies,
            namespace=namespace,
            user=options.user,
            groups=options.group,
            as_json=as_json,
        )
    if options.command == "compliance":
        return report(
            seen_in_files(options.files, namespace)
            if options.files
            else await from_cluster(options, options.system_namespace),
            frameworks=options.framework,
            form=options.output,
            summary=options.summary,
            in_cluster=not options.files,
            now=datetime.now(UTC),
        )
    if options.verb == "test":
        return policy_test(options.paths, as_json=as_json)
    if options.verb == "hash":
        return hash_specs(options.paths, namespace=namespace, as_json=as_json)
    if options.files or is_file(options.policy):
        return explain(seen_in_files([options.policy, *options.files], namespace), None, as_json=as_json)
    return explain(await from_cluster(options), options.policy, as_json=as_json)


async def from_cluster(options: argparse.Namespace, system_namespace: str | None = None) -> Seen:
    """What the user may see; with --namespace of that one alone."""
    config = load_config(context=options.context)
    async with ApiClient(config) as api:
        session = Session(api=api, namespace=options.namespace or config.namespace)
        return await read_cluster(
            session, one_namespace=options.namespace is not None, system_namespace=system_namespace
        )
