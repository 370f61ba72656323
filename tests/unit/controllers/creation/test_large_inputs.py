"""What is too large for a pod is stored before the pod is made, whatever the artifact service does."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controllers.background import PATIENCE
from controllers.transfers import KEPT
from ossa.api.artifact import ArtifactRef
from ossa.kube.client import ApiError
from ossa.store.access import OPERATOR
from ossa.store.client import ArtifactClient
from ossa.store.signing import Signer
from tests.unit.controllers.creation.world import RUN, refusal, served
from tests.unit.store.running import KEY, running


@pytest.mark.usefixtures("unhurried")
async def test_what_is_too_large_is_stored_before_the_pod_is_made(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service, served(ArtifactClient(service.url, token)) as world:
        name = world.want(rows=b"[1, 2, 3]", more=b"[4]")
        await world.create()
        given = world.input_of(name)
        assert (set(given), given["x"]) == ({"x", "rows", "more"}, 1)
        ref = ArtifactRef.model_validate(given["rows"])
        assert Signer(KEY).verify(ref, namespace="lab", execution_uid=RUN, pod_uid=OPERATOR)
        assert ref.describes(b"[1, 2, 3]")
        assert len(service.objects()) == 4


@pytest.mark.usefixtures("unhurried")
async def test_asked_for_again_the_pod_has_the_same_input(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service, served(ArtifactClient(service.url, token)) as world:
        name = world.want(rows=b"[1]")
        given = list[str]()

        async def fails(_: web.Request, pod: dict[str, Any]) -> web.Response:
            given.append(pod["metadata"]["annotations"]["ossa.dev/input"])
            return refusal(500, "InternalError", "etcd is away")

        world.server.next = [fails]
        with pytest.raises(ApiError):
            await world.create()
        await world.create()
        assert json.loads(given[0]) == world.input_of(name)
        assert len(service.objects()) == 2


@pytest.mark.usefixtures("unhurried")
async def test_many_pods_that_are_given_the_same_value_share_it(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service, served(ArtifactClient(service.url, token)) as world:
        names = [world.want(attempt, rows=b"[1]") for attempt in range(1, 21)]
        await world.create()
        names.append(world.want(21, rows=b"[1]"))
        await world.create()
        assert len({json.dumps(world.input_of(name)) for name in names}) == 1
        assert len(service.objects()) == 2
        world.creator.forget(RUN)
        world.want(22, rows=b"[1]")
        await world.create()
        assert len(service.objects()) == 4
        for attempt in range(100, 101 + KEPT):
            world.want(attempt, rows=str(attempt).encode())
        async with asyncio.timeout(30):
            while len(service.objects()) < 4 + 2 * (KEPT + 1):
                await world.create()  # what takes long is asked for again
        await world.create()
        world.want(1000, rows=b"[1]")
        await world.create()
        assert len(service.objects()) == 4 + 2 * (KEPT + 1) + 2


@pytest.mark.usefixtures("unhurried")
async def test_while_the_artifact_service_is_away_the_pod_waits_and_others_do_not(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service:
        port = service.port
    async with served(ArtifactClient(f"http://127.0.0.1:{port}", token)) as world:
        waits, goes = world.want(1, rows=b"[1]"), world.want(2)
        await world.create()
        assert set(world.server.pods) == {goes}
        assert "has to be stored first: the artifact service at" in world.creator.held(RUN)[waits]
        assert world.creator.pending() == ["ArtifactService"]
        assert world.in_flight() == {waits, goes}
        assert world.creator.pause(RUN) > 0
        async with running(tmp_path / "data", port=port):
            await world.create()
        assert set(world.server.pods) == {waits, goes}
        assert world.creator.held(RUN) == {}


async def test_a_slow_artifact_service_holds_up_the_pod_alone(token: Path) -> None:
    """The upload goes on meanwhile, and its end is told."""
    answer, asked = asyncio.Event(), list[bytes]()
    ref = {"$artifact": "A" * 43, "size": 3, "sha256": hashlib.sha256(b"[1]").hexdigest()}

    async def slow(request: web.Request) -> web.Response:
        asked.append(await request.read())
        await answer.wait()
        return web.json_response(ref, status=201)

    app = web.Application()
    app.router.add_put("/v1/namespaces/lab/executions/{uid}/artifacts", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with served(ArtifactClient(f"http://127.0.0.1:{runner.addresses[0][1]}", token)) as world:
            name = world.want(rows=b"[1]")
            for _ in range(2):
                async with asyncio.timeout(2 * PATIENCE + 1):
                    await world.create()
                assert "takes long" in world.creator.held(RUN)[name]
            assert (asked, world.woken.is_set()) == ([b"[1]"], False)
            answer.set()
            await asyncio.wait_for(world.woken.wait(), 5)
            await world.create()
            assert world.input_of(name)["rows"]["$artifact"] == ref["$artifact"]
            assert len(asked) == 1
    finally:
        await runner.cleanup()
