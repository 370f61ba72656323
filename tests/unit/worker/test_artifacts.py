"""The SDK against the real artifact service: large values, files, and what happens when the service is away."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ossa.api.artifact import VALUE_MEDIA_TYPE
from ossa.store.client import ArtifactClient
from tests.unit.store.running import EXECUTION_UID, NAMESPACE, RECONCILER, Running, running
from tests.unit.worker.tasks import Ended, Pod

BIG = """
    def run(task):
        return {"records": [{"id": n, "text": "ü" * 90} for n in range(100_000)], "count": 100_000}
"""
SUMMED = """
    def run(task):
        return {"sum": sum(record["id"] for record in task.input["deep"]["records"]), "count": task.input["count"]}
"""
PLOT = """
    from pathlib import Path
    from ossa.worker import File
    def run(task):
        Path("plot.png").write_bytes(b"PNG" * 1000)
        return {"plot": File("plot.png", media_type="image/png"), "more": [File(b"abc")]}
"""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as found:
        yield found


def stored(served: Running, ended: Ended, name: str) -> bytes:
    """The bytes of a field, straight from the storage."""
    wanted = ended.ref(name).sha256
    found = [path.read_bytes() for path in served.data.rglob("*") if path.is_file() and path.suffix != ".json"]
    return next(content for content in found if hashlib.sha256(content).hexdigest() == wanted)


async def test_a_field_of_20_megabytes_reaches_the_next_task_as_a_value(served: Running, tmp_path: Path) -> None:
    first = await Pod(tmp_path / "a", code=BIG, served=served, token=served.cluster.add_pod("a")).run()
    ref = first.ref("records")
    assert ref.size > 20_000_000
    assert ref.media_type == "application/json"
    assert len(first.output) < 300
    task_input = {"deep": {"records": first.fields["records"]}, "count": first.fields["count"]}
    schema = {"properties": {"deep": {"properties": {"records": {"type": "array", "minItems": 100_000}}}}}
    token = served.cluster.add_pod("b", task_input=task_input)
    second = await Pod(tmp_path / "b", code=SUMMED, served=served, token=token).run(
        task_input, schemas={"inputSchema": schema}
    )
    assert second.fields == {"sum": sum(range(100_000)), "count": 100_000}


async def test_what_is_opened_is_checked_too(served: Running, tmp_path: Path) -> None:
    code = "def run(task): return {'records': ['x'] * 1000}"
    first = await Pod(tmp_path / "a", code=code, served=served, token=served.cluster.add_pod("a")).run()
    schema = {"properties": {"records": {"items": {"type": "integer"}}}}
    token = served.cluster.add_pod("b", task_input=first.fields)
    second = await Pod(tmp_path / "b", code=code, served=served, token=token).run(
        first.fields, schemas={"inputSchema": schema}
    )
    assert second.code == 65
    assert second.last_line.startswith("InvalidInput: input.records[0]: 'x' is not of type 'integer'")


async def test_an_invalid_output_uploads_nothing(served: Running, tmp_path: Path) -> None:
    token = served.cluster.add_pod("a")
    ended = await Pod(tmp_path / "a", code=BIG, served=served, token=token).run(
        schemas={"outputSchema": {"properties": {"count": {"type": "string"}}}}
    )
    assert ended.code == 76
    assert served.objects() == []


async def test_small_fields_stay_and_the_largest_go_until_the_rest_fits(served: Running, tmp_path: Path) -> None:
    code = "def run(task): return {f'f{n}': 'x' * (500 + n) for n in range(9)} | {'small': 1}"
    ended = await Pod(tmp_path / "a", code=code, served=served, token=served.cluster.add_pod("a")).run()
    assert len(ended.output) < 4096
    by_reference = {name for name, value in ended.fields.items() if isinstance(value, dict)}
    assert by_reference == {"f7", "f8"}
    assert json.loads(stored(served, ended, "f8")) == "x" * 508


async def test_files_go_as_they_are_and_are_passed_on_without_a_copy(served: Running, tmp_path: Path) -> None:
    first = await Pod(tmp_path / "a", code=PLOT, served=served, token=served.cluster.add_pod("a")).run()
    assert first.ref("plot").media_type == "image/png"
    assert stored(served, first, "plot") == b"PNG" * 1000
    code = """
        from ossa.worker import File
        def run(task):
            plot = task.input["plot"]
            assert isinstance(plot, File) and plot.read() == plot.path.read_bytes() == b"PNG" * 1000
            more = task.input["more"][0].read().decode()
            return {"plot": plot, "type": plot.media_type, "size": plot.size, "more": more}
    """
    before = served.objects()
    token = served.cluster.add_pod("b", task_input=first.fields)
    schema = {"properties": {"plot": {"type": "string"}}}
    second = await Pod(tmp_path / "b", code=code, served=served, token=token).run(
        first.fields, schemas={"inputSchema": schema, "outputSchema": schema}
    )
    assert second.fields == {
        "plot": first.fields["plot"], "type": "image/png", "size": 3000, "more": "abc"
    }  # fmt: skip
    assert served.objects() == before


async def test_a_reference_that_the_task_was_not_given_is_refused(served: Running, tmp_path: Path) -> None:
    first = await Pod(tmp_path / "a", code=BIG, served=served, token=served.cluster.add_pod("a")).run()
    token = served.cluster.add_pod("b")
    second = await Pod(tmp_path / "b", code=SUMMED, served=served, token=token).run({"deep": first.fields})
    assert (second.code, second.output) == (1, "")
    assert second.last_line.startswith("Error: the artifact service refused to open artifact")
    assert "pass its reference on in the workflow" in second.last_line


async def test_a_damaged_artifact_is_not_handed_to_the_handler(served: Running, tmp_path: Path) -> None:
    first = await Pod(tmp_path / "a", code=PLOT, served=served, token=served.cluster.add_pod("a")).run()
    for path in served.data.rglob("*"):
        if path.is_file() and path.read_bytes() == b"PNG" * 1000:
            path.write_bytes(b"GNP" * 1000)
    token = served.cluster.add_pod("b", task_input=first.fields)
    second = await Pod(tmp_path / "b", code=SUMMED, served=served, token=token).run(first.fields)
    assert second.code == 1
    assert "is damaged" in second.last_line


@pytest.mark.parametrize("how", ["nobody listens", "the API server is away"])
async def test_a_task_waits_for_the_service(tmp_path: Path, how: str) -> None:
    code = "def run(task): return {'text': 'x' * 2000}"
    async with running(tmp_path / "data") as found:
        port, cluster = found.port, found.cluster
        token = cluster.add_pod("a")
        pod = Pod(tmp_path / "a", code=code, served=found, token=token)
        cluster.down = True
        process = await pod.start() if how != "nobody listens" else None
        if process is not None:
            await waiting(process)
            cluster.down = False
            assert (await pod.end(process)).ref("text").size == 2002
    if process is None:
        cluster.down = False
        process = await pod.start()
        await waiting(process)
        async with running(tmp_path / "data", cluster=cluster, port=port):
            assert (await pod.end(process)).ref("text").size == 2002


async def waiting(process: asyncio.subprocess.Process) -> None:
    """Until the task has said twice that it waits."""
    assert process.stderr is not None
    for expected in (2, 3):
        line = json.loads(await asyncio.wait_for(process.stderr.readline(), 10))
        assert "is away" in line["message"]
        assert f"the task waits, try {expected} in" in line["message"]
        assert line["level"] == "warning"


async def test_a_refusal_ends_the_task_at_once(served: Running, tmp_path: Path) -> None:
    code = "def run(task): return {'text': 'x' * 2000}"
    ended = await Pod(tmp_path / "a", code=code, served=served, token="lab/nobody").run()
    assert (ended.code, ended.output) == (1, "")
    assert "refused to upload an artifact (401): the cluster does not know this token" in ended.last_line


async def test_without_an_artifact_service_small_values_still_pass(tmp_path: Path) -> None:
    small, large = "def run(task): return {'a': 1}", "def run(task): return {'a': 'x' * 2000}"
    assert (await Pod(tmp_path / "a", code=small).run(OSSA_ARTIFACTS_URL=None)).fields == {"a": 1}
    ended = await Pod(tmp_path / "b", code=large).run(OSSA_ARTIFACTS_URL=None)
    assert (ended.code, ended.output) == (1, "")
    assert "OSSA_ARTIFACTS_URL and OSSA_ARTIFACTS_TOKEN are not both set" in ended.last_line


async def test_too_large_a_field_is_refused_in_the_services_words(tmp_path: Path) -> None:
    async with running(tmp_path / "data", max_size=1 << 20) as served:
        token = served.cluster.add_pod("a")
        ended = await Pod(tmp_path / "a", code=BIG, served=served, token=token).run()
    assert ended.code == 1
    assert "(413): an artifact may have 1048576 bytes" in ended.last_line


async def test_a_value_that_the_operator_put_by_reference_is_opened_whole(served: Running, tmp_path: Path) -> None:
    """Checked by the schema as if it had come by value; a File in it can be passed on."""
    token = served.cluster.add_pod("a")
    code = """
        from ossa.worker import File
        def run(task):
            return {"rows": list(range(1000)), "plot": File(b"PNG", media_type="image/png")}
    """
    first = await Pod(tmp_path / "a", code=code, served=served, token=token).run()
    (tmp_path / "token").write_text(RECONCILER)
    async with ArtifactClient(served.url, tmp_path / "token") as operator:
        body = json.dumps([first.fields, {"rows": [1]}]).encode()
        ref = await operator.put(NAMESPACE, EXECUTION_UID, body, media_type=VALUE_MEDIA_TYPE)
    task_input = {"all": ref.to_json()}
    token = served.cluster.add_pod("b", task_input=task_input)
    code = """
        def run(task):
            first, second = task.input["all"]
            rows = first["rows"] + second["rows"]
            return {"count": len(rows), "plot": first["plot"], "bytes": first["plot"].size}
    """
    pod = Pod(tmp_path / "b", code=code, served=served, token=token)

    def schema(kind: str) -> dict[str, Any]:
        rows = {"properties": {"rows": {"items": {"type": kind}}}}
        return {"inputSchema": {"properties": {"all": {"items": rows}}}}

    second = await pod.run(task_input, schemas=schema("integer"))
    assert (second.fields["count"], second.fields["bytes"]) == (1001, 3)
    assert second.fields["plot"] == first.fields["plot"]
    third = await pod.run(task_input, schemas=schema("string"))
    assert third.code == 65
    assert "input.all[0].rows[0]: 0 is not of type 'string'" in third.last_line
