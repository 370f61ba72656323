"""Writes the CRDs: `python -m ossa.api.crds FOLDER...`."""

from __future__ import annotations

import sys
from pathlib import Path

from ossa.api.crds.definitions import write


def main(arguments: list[str]) -> int:
    if not arguments:
        print("usage: python -m ossa.api.crds FOLDER...", file=sys.stderr)
        return 2
    for folder in arguments:
        write(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
