"""One task from its input to its output."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ossa.api.artifact import ArtifactRef
from ossa.api.contract import ENV_ARTIFACTS_TOKEN, ENV_ARTIFACTS_URL
from ossa.worker.contract import Contract
from ossa.worker.errors import ContractBroken, WorkerError
from ossa.worker.handler import call_handler, load_handler
from ossa.worker.inputs import open_input
from ossa.worker.outputs import encode_output
from ossa.worker.task import File, Task

if TYPE_CHECKING:
    from ossa.worker.artifacts import ArtifactClient


def run_task(contract: Contract, *, traceparent: str = "") -> None:
    """Run the handler and write its output; on any failure the output is left empty.

    traceparent: what the handler passes on to those that it calls.

    Raises WorkerError, or whatever the handler raises.
    """
    with _output_empty_on_failure(contract), contextlib.ExitStack() as closing:
        service = _service(contract, closing)
        input_schema, output_schema = contract.read_schemas()
        handler = load_handler(contract.handler, contract.agents_path)
        opened = open_input(contract.read_input(), schema=input_schema, source=service, folder=_folder(closing))
        log = logging.getLogger("task")
        task = Task(input=opened, identity=contract.identity, log=log, traceparent=traceparent)
        try:
            result = call_handler(handler, task)
        except SystemExit as error:
            if error.code in (None, 0):
                # Exit code 0 with an empty output would count as success.
                raise WorkerError("the handler called sys.exit(); return the output, or raise") from error
            raise

        def upload(file: File) -> ArtifactRef:
            return service().upload(file)

        contract.write_output(encode_output(result, schema=output_schema, upload=upload))


@contextlib.contextmanager
def _output_empty_on_failure(contract: Contract) -> Iterator[None]:
    """An empty output and an exit code other than 0 make the kubelet report the last lines of the log."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            contract.write_output("")


def _folder(closing: contextlib.ExitStack) -> Callable[[], Path]:
    """Where downloaded files lie, made when there is one: a container may have no place to write to."""
    made: list[Path] = []

    def folder() -> Path:
        if not made:
            temporary = tempfile.TemporaryDirectory(prefix="ossa-", ignore_cleanup_errors=True)
            made.append(Path(closing.enter_context(temporary)))
        return made[0]

    return folder


def _service(contract: Contract, closing: contextlib.ExitStack) -> Callable[[], ArtifactClient]:
    """The artifact service, connected when it is first needed: many tasks never do."""
    clients: list[ArtifactClient] = []

    def connected() -> ArtifactClient:
        if not clients:
            if contract.artifacts_url is None or contract.artifacts_token_path is None:
                raise ContractBroken(
                    f"a value passes by reference, but {ENV_ARTIFACTS_URL} and {ENV_ARTIFACTS_TOKEN} are not "
                    "both set; the operator sets them in a task's pod"
                )
            # An HTTP client takes a tenth of a second to import, and many tasks pass small values alone.
            from ossa.worker.artifacts import ArtifactClient  # noqa: PLC0415

            client = ArtifactClient(contract.artifacts_url, contract.artifacts_token_path)
            closing.callback(client.close)
            clients.append(client)
        return clients[0]

    return connected
