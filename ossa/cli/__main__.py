"""`ossa`: start, watch and steer Executions, decide what waits for people, and check by policies.

What it does not do, kubectl does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp

import ossa.cli.approvals as people
import ossa.cli.download as downloads
import ossa.cli.run as runs
import ossa.cli.steer as steering
import ossa.cli.watch as watches
from ossa.api.approval import Verdict
from ossa.api.contract import GROUP
from ossa.cli import auditline, governance
from ossa.cli.artifacts import Source
from ossa.cli.outcome import Exit, Stop
from ossa.cli.session import Session
from ossa.kube.client import ApiClient
from ossa.kube.config import NoCluster, load_config
from ossa.kube.errors import ApiError

EXIT_CODES = """\
exit codes:
  0    it worked; of `watch` and with --watch: the execution is Completed
  1    the execution Failed, or was deleted; `lint`, `policy test` or `audit verify` found something
  2    the command line makes no sense
  3    --timeout is over; the execution goes on
  4    the cluster could not do it: not found, refused, not possible any more, or away
  130  interrupted; the execution goes on
"""

STEERING = {
    "suspend": "let what runs end, and start nothing new",
    "resume": "let a suspended execution go on",
    "cancel": "stop an execution; it cannot be undone",
}
AGAIN = {
    "retry": "resume a failed execution: a new one takes over what was completed",
    "rerun": "start a new execution of the same workflow with the same inputs",
}
VERDICTS: dict[str, Verdict] = {"approve": "Approved", "reject": "Rejected"}
INTERRUPTED = 130
AWAY = "The API server does not answer: {error}. Is the cluster up (make up), and does $KUBECONFIG name it?"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("-n", "--namespace", help="namespace (default: that of the kubeconfig's context)")
    place.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    common = argparse.ArgumentParser(add_help=False, parents=[place])
    common.add_argument("-o", "--output", choices=["text", "json"], default="text", help="form of the output")
    main_parser = argparse.ArgumentParser(
        prog="ossa",
        description=(
            f"Start, watch and steer executions, approve what waits, check by policies ({GROUP}). "
            "kubectl does the rest."
        ),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", parents=[common], help="start an execution of a workflow")
    run.add_argument("workflow", metavar="WORKFLOW", nargs="?", help="name of a Workflow of the cluster")
    run.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="run the Workflow in a file (- is standard input), which stays out of the cluster",
    )
    run.add_argument(
        "-i", "--input", action="append", default=[], metavar="NAME=VALUE", help="an input; may be repeated"
    )
    run.add_argument("--name", help="name of the execution (default: WORKFLOW-xxxxx)")
    _add_watch(run)

    watch = commands.add_parser("watch", parents=[common], help="show an execution's progress until it ends")
    watch.add_argument("execution", metavar="EXECUTION")
    watch.add_argument("--timeout", type=seconds, metavar="TIME", help="how long at most, e.g. 90s, 5m")

    for name, what in STEERING.items():
        steer = commands.add_parser(name, parents=[common], help=what)
        steer.add_argument("execution", metavar="EXECUTION")
    for name, what in AGAIN.items():
        again = commands.add_parser(name, parents=[common], help=what)
        again.add_argument("execution", metavar="EXECUTION")
        again.add_argument("--name", help="name of the new execution (default: WORKFLOW-xxxxx)")
        _add_watch(again)

    tasks = commands.add_parser("tasks", parents=[common], help="show where each task of an execution stands")
    tasks.add_argument("execution", metavar="EXECUTION")

    download = commands.add_parser("download", parents=[common], help="fetch the artifacts of an execution's outputs")
    download.add_argument("execution", metavar="EXECUTION")
    download.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="TASK",
        help="the output of this task instead, as JSON; repeatable",
    )
    download.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="folder to write to (default: here)")
    download.add_argument(
        "--as-service-account",
        default="report-reader",
        metavar="NAME",
        help="service account of the namespace to read as (default: report-reader)",
    )
    download.add_argument(
        "--system-namespace",
        default="ossa-system",
        metavar="NAME",
        help="where OSSA runs (default: ossa-system)",
    )

    commands.add_parser("approvals", parents=[common], help="show what waits for an approval, and whose")
    for name, what in (("approve", "say yes to a task that waits for it"), ("reject", "say no; the task then fails")):
        verdict = commands.add_parser(name, parents=[common], help=what)
        verdict.add_argument("execution", metavar="EXECUTION")
        verdict.add_argument("task", metavar="TASK")
        verdict.add_argument("--reason", default="", metavar="TEXT", help="why, for those who read it later")
    governance.add_commands(commands, common, place)
    auditline.add_commands(commands, common)
    return main_parser


def _add_watch(command: argparse.ArgumentParser) -> None:
    command.add_argument("-w", "--watch", action="store_true", help="watch it until it ends")
    command.add_argument("--timeout", type=seconds, metavar="TIME", help="with --watch: how long at most, e.g. 90s, 5m")


def seconds(text: str) -> float:
    """A length of time: 90, 90s, 5m, 1h30m. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    if match is None or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time; write 90s, 5m or 1h30m")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


async def dispatch(options: argparse.Namespace) -> Exit:
    """Do what the command line says."""
    if options.command in governance.COMMANDS:
        return await governance.dispatch(options)
    if options.command in auditline.COMMANDS:
        return await auditline.dispatch(options)
    config = load_config(context=options.context)
    as_json = options.output == "json"
    async with ApiClient(config) as api:
        session = Session(api=api, namespace=options.namespace or config.namespace)
        if options.command == "tasks":
            return await watches.tasks(session, options.execution, as_json=as_json)
        if options.command == "watch":
            return await watches.watch(session, options.execution, longest=options.timeout, as_json=as_json)
        if options.command == "download":
            source = Source(options.system_namespace, options.as_service_account)
            await downloads.download(
                session, options.execution, to=options.to, source=source, tasks=options.task, as_json=as_json
            )
            return Exit.OK
        if options.command == "approvals":
            await people.approvals(session, as_json=as_json)
            return Exit.OK
        if options.command in VERDICTS:
            await people.decide(
                session,
                options.execution,
                options.task,
                verdict=VERDICTS[options.command],
                reason=options.reason,
                as_json=as_json,
            )
            return Exit.OK
        if options.command in STEERING:
            await steering.steer(session, options.execution, options.command, as_json=as_json)
            return Exit.OK
        return await _start(session, options, as_json=as_json)


async def _start(session: Session, options: argparse.Namespace, *, as_json: bool) -> Exit:
    """The commands that make an Execution: `run`, `retry` and `rerun`."""
    if options.command == "run" and (options.workflow is None) == (options.file is None):
        raise Stop("ossa run: give the name of a Workflow, or --file with one in it", Exit.USAGE)
    if options.command == "run" and options.file is not None:
        created = await runs.start_inline(session, options.file, name=options.name, inputs=options.input)
    elif options.command == "run":
        created = await runs.start(session, options.workflow, name=options.name, inputs=options.input)
    else:
        make = steering.retry if options.command == "retry" else steering.rerun
        created = await make(session, options.execution, new=options.name)
    name = str(created["metadata"]["name"])
    if as_json:
        # With --watch lines of JSON follow, so this is one line, too.
        print(json.dumps(created, indent=None if options.watch else 2), flush=True)
    else:
        print(f"execution.{GROUP}/{name} created", flush=True)
    if options.watch:
        return await watches.watch(session, name, longest=options.timeout, as_json=as_json)
    return Exit.OK


def refusal(error: ApiError) -> str:
    """What the API server said, with what to do where that is known."""
    said = f"The API server refused ({error.status} {error.reason}): {error.message}".rstrip(": ")
    return f"{said}. Log in again, or choose another --context" if error.status == 401 else said


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code. SystemExit for --help and a wrong command line, as argparse does."""
    options = parser().parse_args(arguments)
    try:
        return asyncio.run(dispatch(options))
    except Stop as stop:
        message, code = str(stop), stop.code
    except NoCluster as error:
        message, code = str(error), Exit.CLUSTER
    except ApiError as error:
        message, code = (
            (AWAY.format(error=error.message) if error.status == 0 else refusal(error)),
            Exit.CLUSTER,
        )
    except aiohttp.ClientError as error:
        message, code = AWAY.format(error=error), Exit.CLUSTER
    except BrokenPipeError:  # `ossa watch x | head`: nobody reads on, and the interpreter must not flush at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    print(f"ossa: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
