"""Examples of the documentation: taken from a page, and its commands run by bash, as somebody would who reads it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pages import blocks

_SEEN = re.compile(r"^SENT (\S+) (\S+) (\d+)$", re.MULTILINE)
# curl itself, which tells what it sent; kubectl as far as the pages use it. What is set is for the next command, too.
_BEFORE = r"""
set -o pipefail -o allexport
curl() {
  command curl --fail-with-body --max-time 30 -w '%{stderr}\nSENT %{method} %{url_effective} %{http_code}\n' "$@"
}
kubectl() {
  case "$*" in
    *"get secret ossa-gateway-admin "*) printf %s "$FIRST_PASSWORD" | base64 ;;
    "create token "*"--audience ossa-gateway"*) printf %s "$AGENT_TOKEN" ;;
    *" port-forward service/ossa-gateway 8080") ;;
    "create "*binding*" --clusterrole "* | "delete clusterrolebinding "*) ;;
    "auth can-i "*) echo yes ;;
    *) echo "kubectl $*: nobody expected this" >&2; return 1 ;;
  esac
}
"""


def commands(text: str, *words: str) -> Iterator[str]:
    """The commands in blocks without a language of which one begins with one of the words, in their order."""
    for block in blocks(text):
        if any(re.search(rf"^{word}\b", block, re.MULTILINE) for word in words):
            yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that a command has made, and the status of the answer."""

    method: str
    url: str
    status: int


@dataclass
class Shell:
    """Runs commands one after the other in a folder. environment: variables that they find, and set."""

    folder: Path
    environment: dict[str, str]
    sent: list[Sent] = field(default_factory=list)

    def run(self, command: str) -> str:
        """What it prints. Raises AssertionError where it fails, or a request of it is refused."""
        after = self.folder / "environment"
        script = f"{_BEFORE}\n{command}\ncode=$?\nenv -0 > '{after}'\nexit $code\n"
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        sent = [Sent(method, url, int(status)) for method, url, status in _SEEN.findall(done.stderr)]
        refused = [one for one in sent if not 200 <= one.status < 300]
        assert (done.returncode, refused) == (0, []), f"{command}\n{done.stdout}\n{done.stderr}"
        self.sent += sent
        pairs = (pair.partition("=") for pair in after.read_text().split("\0") if pair)
        self.environment = {name: value for name, _, value in pairs if not name.startswith("BASH_FUNC_")}
        return done.stdout


def shell(folder: Path, **more: str) -> Shell:
    """One that finds the programs of this process, and these variables."""
    return Shell(folder, {"PATH": os.environ["PATH"], "HOME": str(folder), **more})


def operation_of(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """What the OpenAPI document says of a request. Raises AssertionError where it has none of it."""
    for known, held in document["paths"].items():
        found = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(known)), path)
        operation = held.get(method.lower())
        if found and operation and _fits(operation, found.groupdict()):
            return dict(operation)
    raise AssertionError(f"{method} {path} is not in the OpenAPI document")


def _fits(operation: dict[str, Any], given: dict[str, str]) -> bool:
    """Whether parameters of which there are few have one of these values."""
    schemas = {one["name"]: one["schema"] for one in operation.get("parameters", ()) if one["in"] == "path"}
    return all(value in schemas[name].get("enum", [value]) for name, value in given.items())
