"""Becomes another program that ends when its parent does, however that ends.

python -m tests.bench.child PARENT_PID PROGRAM ARGUMENT…
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; stays set over exec


def main() -> None:
    parent, program, *arguments = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        return  # it died before it could be tied to
    os.execv(program, [program, *arguments])  # noqa: S606 - the parent names it


if __name__ == "__main__":
    main()
