"""``python -m ossa.worker``: run one task by the contract in the environment.

Exit codes: 0, 65 (InvalidInput), 76 (InvalidOutput), the handler's own, or 1. The last line on stderr
says why.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from types import FrameType

from ossa.api.trace import identity_fields
from ossa.logs import log_to
from ossa.worker.contract import Contract
from ossa.worker.errors import WorkerError
from ossa.worker.run import run_task
from ossa.worker.tracing import traced


def main() -> int:
    """Run the task; the exit code."""
    # As PID 1 of a container, a process without a handler of its own ignores SIGTERM until it is killed.
    signal.signal(signal.SIGTERM, _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the handler prints comes before the traceback in the log, not after it.
        sys.stdout.reconfigure(line_buffering=True)
    log_to(sys.stderr)
    try:
        contract = Contract.from_environ(os.environ)
        identity = contract.identity
        about: dict[str, str | int] = {**identity_fields(identity), "attempt": identity.attempt}
        log_to(sys.stderr, level=logging.INFO, **about)
        with traced(identity, os.environ) as traceparent:
            run_task(contract, traceparent=traceparent)
    except WorkerError as error:
        # The kubelet reports the end of the log: one plain line for a person.
        print(f"{error.reason}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _stop(number: int, _: FrameType | None) -> None:
    print(f"stopped by {signal.Signals(number).name}", file=sys.stderr)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
