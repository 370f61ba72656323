"""Becomes another program that ends when its parent does, however that ends.

On Linux; elsewhere it is that program and no more.

python hack/tied.py PARENT_PID PROGRAM ARGUMENT…
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; stays set over exec


def main() -> None:
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        return  # it died before it could be tied to
    os.execvp(program, [program, *arguments])  # noqa: S606 - the parent names it


if __name__ == "__main__":
    main()
