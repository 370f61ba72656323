"""`ossa policy test`: runs the cases of PolicyTest files, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from ossa.api.base import JSONObject
from ossa.cli.manifests import STDIN, Manifest, read_manifests
from ossa.cli.outcome import Exit, Stop
from ossa.cli.reading import world_of
from ossa.cli.view import one_line
from ossa.governance.policytest import API_VERSION, KIND, CaseResult, PolicyTestFile, run_case
from ossa.governance.verdict import Judgement


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one PolicyTest. problems: why it, or what it names, cannot be used."""

    file: str
    name: str
    problems: tuple[str, ...]
    results: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        """Whether all of it is as expected."""
        return not self.problems and all(result.passed for result in self.results)


def policy_test(paths: Sequence[str], *, as_json: bool) -> Exit:
    """Run all PolicyTests below the paths, and print what became of them. FAILED where one is otherwise."""
    found = read_manifests(paths)
    tests = [held for held in found.manifests if held.item.get("apiVersion") == API_VERSION]
    if not tests and not found.unreadable:
        raise Stop(f"There is no {KIND} (apiVersion: {API_VERSION}) in {', '.join(paths)}", Exit.USAGE)
    unreadable = [one_line(f"{held.file}:{held.number}: {held.problem}") for held in found.unreadable]
    done: list[FileResult] = []
    for held in tests:
        result = run_file(held)
        done.append(result)
        if not as_json:
            print("\n".join(_lines(result)), flush=True)
    results = [result for file in done for result in file.results]
    failed = sum(not result.passed for result in results)
    good = not unreadable and all(file.passed for file in done)
    if as_json:
        made = {"passed": len(results) - failed, "failed": failed, "problems": unreadable}
        print(json.dumps({**made, "tests": [_file_json(file) for file in done]}, indent=2))
    else:
        print("\n".join([*unreadable, f"{len(results)} cases: {len(results) - failed} passed, {failed} failed"]))
    return Exit.OK if good else Exit.FAILED


def run_file(held: Manifest) -> FileResult:
    """Runs the cases of one PolicyTest. Raises Stop where a file that it names is not there."""
    try:
        test = PolicyTestFile.model_validate(held.item)
    except ValidationError as error:
        said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        return FileResult(held.file, held.place, tuple(said), ())
    folder = Path() if held.file == STDIN else Path(held.file).parent
    own = () if held.file == STDIN else (held.file,)
    read = read_manifests([*(str(folder / name) for name in test.files), *own])
    world = world_of(read)
    problems = [f"{one.file}:{one.number}: {one.problem}" for one in read.unreadable]
    problems += [f"policy {name!r}: {text}" for name, texts in world.policies()[1].items() for text in texts]
    name = str(test.metadata.get("name") or held.place)
    return FileResult(held.file, name, tuple(problems), tuple(run_case(world, case) for case in test.cases))


def _lines(file: FileResult) -> Iterator[str]:
    yield one_line(f"{file.file}: {file.name}")
    for problem in file.problems:
        yield one_line(f"  ERROR {problem}")
    for result in file.results:
        yield one_line(f"  {'ok   ' if result.passed else 'FAIL '} {result.name}")
        for held in result.differences:
            where = f"{held.where}: " if held.where else ""
            yield one_line(f"        - {where}{held.expected}")
            yield one_line(f"        + {where}{held.actual}" + (f" ({held.said})" if held.said else ""))


def _file_json(file: FileResult) -> JSONObject:
    return {
        "file": file.file,
        "name": file.name,
        "problems": list(file.problems),
        "cases": [
            {
                "name": result.name,
                "passed": result.passed,
                "differences": [asdict(held) for held in result.differences],
                "judged": [judgement_json(held) for held in result.verdict.judged],
            }
            for result in file.results
        ],
    }


def judgement_json(held: Judgement) -> JSONObject:
    """What one policy says, for programs."""
    return {
        "policy": held.policy,
        "action": held.action,
        "outcome": held.outcome,
        "refuses": held.refuses,
        "exception": held.exception,
        "violations": [asdict(violation) for violation in held.violations],
    }
