"""`python3 -m hack.up up | down | kubeconfig`; the Makefile calls it."""

from __future__ import annotations

import argparse
import os
import sys
import time

from . import paths, targets, tools
from .steps import Failure, say


def up() -> None:
    since = time.monotonic()
    target = targets.choose()
    target.up()
    say(f"ready in {time.monotonic() - since:.0f} s")
    kubeconfig()


def down() -> None:
    targets.down()


def kubeconfig() -> None:
    """What to type to use the cluster, and nothing else, so that `eval "$(make -s kubeconfig)"` works."""
    if not paths.KUBECONFIG.is_file():
        raise Failure("there is no cluster of this checkout: run `make up` first")
    print(f"export KUBECONFIG={paths.KUBECONFIG}")
    if paths.BIN.is_dir() and any((paths.BIN / name).resolve().is_relative_to(paths.CACHE) for name in targets.CLIENTS):
        print(f'export PATH="{paths.BIN}:$PATH"')


def main() -> int:
    parser = argparse.ArgumentParser(prog="hack.up", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "kubeconfig"))
    command = parser.parse_args().command
    os.umask(0o022)  # pods of another user read some of what is written here
    tools.extend_path()
    try:
        {"up": up, "down": down, "kubeconfig": kubeconfig}[command]()
    except Failure as failure:
        print(f"make {command}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"make {command}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
