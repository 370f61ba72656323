"""Reads manifests as kubectl does: files and folders of YAML and JSON, several documents a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ossa.api.base import JSONObject
from ossa.api.contract import GROUP
from ossa.cli.outcome import Exit, Stop

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
CLUSTER_KINDS = frozenset({"AgentPolicy", "Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"})
DEFAULT_NAMESPACE = "default"
STDIN = "-"
FILE_LIMIT = 8 * 1024 * 1024  # bytes
# Values of one document with its aliases written out: a few lines of YAML can stand for billions.
MOST_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document. number: counted from 1 in its file."""

    file: str
    number: int
    item: JSONObject

    @property
    def place(self) -> str:
        """file:document"""
        return f"{self.file}:{self.number}"

    @property
    def kind(self) -> str:
        """Its kind; '' where it says none."""
        return str(self.item.get("kind") or "")

    @property
    def is_ours(self) -> bool:
        """Whether it is of our API group."""
        return str(self.item.get("apiVersion") or "").startswith(f"{GROUP}/")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document that is no object. number 0: the whole file."""

    file: str
    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class Found:
    """All that was read, in the order of the files."""

    manifests: tuple[Manifest, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def of(self, *kinds: str) -> list[Manifest]:
        """Those of these kinds of ours, and of Kubernetes' own where one is named."""
        return [held for held in self.manifests if held.kind in kinds]


class _Loader(yaml.SafeLoader):
    """As the YAML of Kubernetes: times are texts, and a key that stands twice in a map is an error."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in held if tag != "tag:yaml.org,2002:timestamp"]
        for first, held in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ConstructorError for a key that is there twice."""
        seen: set[object] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands there twice; remove one", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


@dataclass(slots=True)
class _Reader:
    manifests: list[Manifest] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def read(self, name: str, text: str) -> None:
        number = 0
        try:
            for number, document in enumerate(yaml.load_all(text, Loader=_Loader), start=1):
                self._take(name, number, document)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
            self.unreadable.append(Unreadable(name, number + 1, f"{where}{error.problem or error.context}"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            self.unreadable.append(Unreadable(name, number + 1, said))

    def _take(self, name: str, number: int, document: object) -> None:
        if document is None:
            return
        if (problem := _no_json(document)) is not None:
            self.unreadable.append(Unreadable(name, number, problem))
        elif not isinstance(document, dict):
            self.unreadable.append(Unreadable(name, number, "it is no object; write apiVersion, kind, metadata, spec"))
        elif str(document.get("kind")).endswith("List") and isinstance(document.get("items"), list):
            for item in document["items"]:
                self._take(name, number, item)
        else:
            self.manifests.append(Manifest(name, number, document))


def read_manifests(paths: Sequence[str]) -> Found:
    """Files, folders with all that is below them, or - for the standard input. Raises Stop where there is none."""
    reader = _Reader()
    for name in paths:
        if name == STDIN:
            reader.read(STDIN, sys.stdin.read())
            continue
        for file in _files(Path(name)):
            try:
                if file.stat().st_size > FILE_LIMIT:
                    reader.unreadable.append(Unreadable(str(file), 0, f"has more than {FILE_LIMIT} bytes; split it"))
                    continue
                reader.read(str(file), file.read_text(encoding="utf-8"))
            except UnicodeDecodeError as error:
                reader.unreadable.append(Unreadable(str(file), 0, f"it is no UTF-8 text: {error.reason}"))
            except OSError as error:
                raise Stop(f"{file}: {error.strerror}", Exit.USAGE) from error
    return Found(tuple(reader.manifests), tuple(reader.unreadable))


def read_yaml(text: str) -> object:
    """One document, as Kubernetes reads YAML. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def with_namespace(item: JSONObject, namespace: str) -> JSONObject:
    """The object with a namespace, where its kind has one and it names none."""
    metadata = item.get("metadata")
    if str(item.get("kind")) in CLUSTER_KINDS or not isinstance(metadata, Mapping) or metadata.get("namespace"):
        return item
    return {**item, "metadata": {**metadata, "namespace": namespace}}


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not found:
            raise Stop(f"{path}: there is no file .yaml, .yml or .json in it", Exit.USAGE)
        return found
    if not path.exists():
        raise Stop(f"{path}: there is no such file or folder", Exit.USAGE)
    return [path]


def _no_json(document: object) -> str | None:
    """Why a document is no JSON; None where it is."""
    waiting: list[object] = [document]
    count = 0
    while waiting:
        count += 1
        if count > MOST_VALUES:
            return f"it stands for more than {MOST_VALUES} values; do not nest aliases (*name) in aliases"
        part = waiting.pop()
        waiting.extend(_parts(part))
        if isinstance(part, dict) and (bad := [key for key in part if not isinstance(key, str)]):
            return f"the key {bad[0]!r} is no text; put it in quotes"
        if not isinstance(part, (dict, list, str, int, float, type(None))):
            return f"a value is {type(part).__name__}; put it in quotes"
    return None


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
