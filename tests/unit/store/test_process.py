"""The artifact service as the process that the chart runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml

from ossa.api.artifact import ArtifactRef
from tests.unit.store.api_server import ApiServer, api_server
from tests.unit.store.running import EXECUTION_UID, KEY, NAMESPACE, Cluster

ROOT = Path(__file__).parents[3]


async def start(folder: Path, server: ApiServer, **environ: str) -> asyncio.subprocess.Process:
    user = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [user],
        "clusters": [{"name": "x", "cluster": {"server": server.url}}],
        "users": [{"name": "x", "user": {}}],
    }
    (folder / "data").mkdir(exist_ok=True)
    (folder / "key").write_bytes(KEY)
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    settings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "KUBECONFIG": str(folder / "kubeconfig"),
        "OSSA_ARTIFACTS_HOST": "127.0.0.1",
        "OSSA_ARTIFACTS_PORT": "0",
        "OSSA_ARTIFACTS_STORE": (folder / "data").as_uri(),
        "OSSA_ARTIFACTS_KEY_FILE": str(folder / "key"),
        "OSSA_ARTIFACTS_DRAIN_DELAY": "0.2",
        "OSSA_ARTIFACTS_SWEEP_INTERVAL": "0.1",
        "OSSA_ARTIFACTS_SWEEP_GRACE": "0.1",
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "operator" / "artifacts.py")),
        env={**settings, **environ},
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def serving(folder: Path, server: ApiServer) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """The process and its port; killed at the end if it still runs."""
    process = await start(folder, server)
    assert process.stderr is not None
    try:
        line = json.loads(await asyncio.wait_for(process.stderr.readline(), 20))
        found = re.search(r"'127.0.0.1', (\d+)", line["message"])
        assert found is not None, line
        yield process, int(found[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_serves_and_lets_an_upload_end_when_it_is_stopped(tmp_path: Path) -> None:
    cluster = Cluster(executions={NAMESPACE: frozenset({EXECUTION_UID})})
    token = cluster.add_pod("a")
    async with api_server(cluster) as server, serving(tmp_path, server) as (process, port):

        async def pieces() -> AsyncIterator[bytes]:
            yield b"abc"
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)  # it no longer listens, and waits for what runs
            yield b"def"

        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{port}/v1/artifacts"
        async with aiohttp.ClientSession() as http, http.put(url, data=pieces(), headers=headers) as answer:
            assert answer.status == 201
            assert ArtifactRef.model_validate(await answer.json()).size == 6
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_it_deletes_what_executions_left(tmp_path: Path) -> None:
    cluster = Cluster(executions={NAMESPACE: frozenset({EXECUTION_UID})})
    headers = {"Authorization": f"Bearer {cluster.add_pod('a')}"}
    async with api_server(cluster) as server, serving(tmp_path, server) as (_, port), aiohttp.ClientSession() as http:
        async with http.put(f"http://127.0.0.1:{port}/v1/artifacts", data=b"1", headers=headers) as answer:
            assert answer.status == 201
        folder = tmp_path / "data" / NAMESPACE / EXECUTION_UID
        await asyncio.sleep(0.5)
        assert len(list(folder.iterdir())) == 2
        cluster.executions.clear()
        for _ in range(100):
            if not folder.exists():
                break
            await asyncio.sleep(0.05)
        assert not folder.exists()


async def test_settings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    expected = {
        "OSSA_ARTIFACTS_KEY_FILE": ("/no/key", "the signing key at /no/key cannot be read: No such file"),
        "OSSA_ARTIFACTS_STORE": ("file:///no/store", "the artifact store 'file:///no/store' cannot be opened"),
        "KUBECONFIG": ("/no/config", "no usable kubeconfig"),
    }
    async with api_server(Cluster()) as server:
        for name, (value, message) in expected.items():
            process = await start(tmp_path, server, **{name: value})
            _, stderr = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 1
            assert message in json.loads(stderr.splitlines()[-1])["message"]
