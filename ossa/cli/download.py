"""`ossa download`: what an Execution's outputs refer to, or outputs of its tasks, as files."""

from __future__ import annotations

import json
import mimetypes
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef, is_reference
from ossa.api.base import JSONObject
from ossa.api.execution import ArchivedPart, ArchiveStatus, Execution, ExecutionStatus
from ossa.cli.artifacts import Reader, Source
from ossa.cli.outcome import Stop
from ossa.cli.session import Session, get_execution
from ossa.engine.packing import unpacked
from ossa.engine.units import output_of

# What the platform's own agents write, independent of the mime tables of the machine.
EXTENSIONS = {
    "application/json": ".json",
    VALUE_MEDIA_TYPE: ".json",
    "text/markdown": ".md",
    "image/png": ".png",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/octet-stream": ".bin",
}


# A file's name, its content, and what `-o json` tells of it besides its path.
File = tuple[str, bytes, JSONObject]


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact reference, and the keys that lead to it in the outputs."""

    keys: tuple[str, ...]
    ref: ArtifactRef


async def download(  # noqa: PLR0913 - all by name
    session: Session, name: str, *, to: Path, source: Source, tasks: Sequence[str], as_json: bool
) -> None:
    """Write every artifact of the outputs, or the outputs of `tasks`, to files in `to`, and print the paths.

    Raises Stop where there are no outputs, the service refuses, or the content is not what was promised.
    """
    execution = await get_execution(session, name)
    reader = Reader(session, source, execution.metadata.uid)
    files = _task_files(reader, execution, tasks) if tasks else _artifact_files(reader, execution)
    written = []
    async for file_name, content, about in files:
        target = str(_write(to / file_name, content))
        written.append({"path": target, **about})
        if not as_json:
            print(target, flush=True)
    if as_json:
        print(json.dumps(written, indent=2))
    elif not written:
        print(f"The outputs of '{name}' refer to no artifacts; they are all in its status.")


async def _artifact_files(reader: Reader, execution: Execution) -> AsyncIterator[File]:
    name, outputs = execution.metadata.name, execution.status.outputs
    if outputs is None:
        raise Stop(
            f"Execution '{name}' has no outputs: it is {execution.status.phase}. They are there once it is "
            f"Completed: ossa watch {name}"
        )
    found = list(references(outputs))
    for item in found:
        if item.ref.media_type == VALUE_MEDIA_TYPE:  # what is within a value that is too large is an output too
            found += references(json.loads(await reader.read(item.ref, _path(item))), item.keys)
    for file_name, item in zip(file_names(found), found, strict=True):
        about = {"output": ".".join(item.keys), **item.ref.to_json()}
        yield file_name, await reader.read(item.ref, _path(item)), about


def _path(item: Found) -> str:
    return f"outputs.{'.'.join(item.keys)}"


async def _task_files(reader: Reader, execution: Execution, names: Sequence[str]) -> AsyncIterator[File]:
    """The output of each task as JSON; of a forEach the list of its items' outputs."""
    tasks = execution.status.tasks
    for name in names:
        if name not in tasks:
            raise Stop(f"There is no task '{name}' in Execution '{execution.metadata.name}': it has {', '.join(tasks)}")
        if tasks[name].phase != "Completed":
            raise Stop(f"Task '{name}' has no output: it is {tasks[name].phase}")
    status = await _whole(reader, execution.status)
    for name in names:
        content = json.dumps(output_of(status.tasks[name], None), indent=2, ensure_ascii=False)
        yield f"{name}.json", content.encode(), {"task": name}


async def _whole(reader: Reader, status: ExecutionStatus) -> ExecutionStatus:
    """The status with what of it lies in the artifact service."""

    async def read(part: ArchivedPart) -> JSONObject:
        content: JSONObject = json.loads(await reader.read(part.reference, "status.archive"))
        return content

    archive = status.archive or ArchiveStatus()
    contents = [await read(part) for part in archive.outputs]
    return unpacked(status, contents, await read(archive.tasks) if archive.tasks is not None else None)


def references(value: Any, keys: tuple[str, ...] = ()) -> Iterator[Found]:
    """Every artifact reference within outputs. Raises Stop for a malformed one."""
    if is_reference(value):
        try:
            yield Found(keys, ArtifactRef.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            raise Stop(
                f"outputs.{'.'.join(keys)} is no well-formed reference: {first['loc']}: {first['msg']}"
            ) from error
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from references(inner, (*keys, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from references(inner, (*keys, str(index)))


def file_names(found: Sequence[Found]) -> list[str]:
    """A file name each: the output's key and the extension of the media type, `report.md`.

    Where two would be the same all keys that lead there are in it: `report-draft.md`, `report-final.md`.
    """
    short = [_file_name(item.keys[:1], item.ref) for item in found]
    long = [_file_name(item.keys, item.ref) for item in found]
    times = Counter(short)
    names = [short[i] if times[short[i]] == 1 else long[i] for i in range(len(found))]
    taken: Counter[str] = Counter()
    unique = []
    for name in names:
        taken[name] += 1
        path = Path(name)
        unique.append(name if taken[name] == 1 else f"{path.stem}-{taken[name]}{path.suffix}")
    return unique


def _file_name(keys: tuple[str, ...], ref: ArtifactRef) -> str:
    # Keys come from the cluster: nothing in them may lead out of the folder, or hide the file.
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(keys)).strip(".") or "output"
    media_type = ref.media_type.partition(";")[0].strip().lower()
    return stem + (EXTENSIONS.get(media_type) or mimetypes.guess_extension(media_type) or ".bin")


def _write(target: Path, content: bytes) -> Path:
    """The file is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target
