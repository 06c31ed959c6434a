"""The examples of workers on other machines, each run for real against a gateway, its connection cut once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest

from tests.support.switch import Switch
from trunkline import Trunkline
from trunkline.auth import Tokens
from trunkline.client import connect
from trunkline.settings import Settings

ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests/node/node_modules"
WORKERS = {
    "remote_worker.py": [sys.executable],
    "RemoteWorker.java": ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1"],
    "remote_worker.mjs": ["node"],
}
SECRET = "s" * 40


def program(name: str, folder: Path) -> list[str]:
    """How it is started; skips where its language, or its packages, are not there."""
    command = WORKERS.get(name, ["node"])
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not there")
    if command[0] != "node":
        return [*command, str(ROOT / "examples" / name)]
    if not NODE.is_dir():
        pytest.skip("tests/node/node_modules is not there: run make test, or npm ci in tests/node")
    shutil.copy(ROOT / "examples" / name, folder)
    (folder / "node_modules").symlink_to(NODE)
    return [*command, str(folder / name)]


@pytest.mark.parametrize("name", WORKERS)
async def test_a_remote_worker_works_and_comes_back(app, tmp_path, name):
    """Whoever copies it has a worker that survives a lost connection."""
    command = program(name, tmp_path)
    server = await app.start_gateway(port=0, mode="development")
    _, token = await Tokens(app.store).create(await app.tenant_id("customer-001"))
    async with Switch(server.port) as switch, connect(f"ws://127.0.0.1:{server.port}", token) as sender:
        env = {**os.environ, "TRUNKLINE_GATEWAY": f"ws://127.0.0.1:{switch.port}", "TRUNKLINE_TOKEN": token}
        worker = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            more = (
                {} if name.endswith(".py") else {"sizes": [1, 2.5, None, {"a": []}, "\\\n"]}
            )  # typed arguments refuse what they do not know
            results = [await sender.wait(await sender.send("resize", {"path": 'ä "1".png', **more}), timeout=40)]
            switch.cut()
            results += [await sender.wait(job_id, timeout=40) for job_id in await sender.send_many([("resize", {"path": "b"})] * 20)]
            batch = await (await sender.batch([("resize", {"path": "c"})] * 300)).wait(40)
            worker.send_signal(signal.SIGTERM)
            said, complained = await asyncio.to_thread(worker.communicate, timeout=20)
        except BaseException:
            worker.kill()
            print(*worker.communicate())
            raise

    assert [{"path": 'ä "1".png', "ok": True}] + [{"path": "b", "ok": True}] * 20 == results
    assert (300, 0, "") == (batch.completed, batch.failed, complained)
    assert 321 == said.count("resized")
    assert worker.returncode in ((0,) if name.endswith(".py") else (-signal.SIGTERM, 143))


async def test_the_page_of_a_user_follows_its_job(trunkline_url, tmp_path):
    """And says so where the job is not its own."""
    command = program("my_jobs.mjs", tmp_path)
    token = jwt.encode({"sub": "ann", "exp": int(time.time()) + 600}, SECRET, algorithm="HS256")
    settings = Settings.load({}, database_url=trunkline_url, jwt_secret=SECRET, jwt_default_tenant="default")
    async with Trunkline(settings=settings) as app:
        server = await app.start_gateway(port=0, mode="production")
        env = {**os.environ, "TRUNKLINE_URL": f"http://127.0.0.1:{server.port}", "TRUNKLINE_TOKEN": token}
        pipe = asyncio.subprocess.PIPE
        said = []
        for user_id in ("ann", "bob"):
            job_id = str(await app.enqueue("a", {}, user_id=user_id))
            page = await asyncio.create_subprocess_exec(*command, job_id, env=env, stdout=pipe)
            if user_id == "ann":
                await page.stdout.readline()
                await app.updates.emit_job_progress(job_id, 50, "half")
                await app.updates.emit_job_completed(job_id, {"ok": True})
            said.append((await asyncio.wait_for(page.communicate(), 30))[0].decode().splitlines())
        await app.stop_gateway(0.0)

    assert [["active 50 % half", 'completed {"ok":true}'], [f"{job_id}: not found"]] == said


def test_the_shortest_worker_is_short():
    """Fifteen lines in the README, and not many more in the file."""
    lines = [line for line in (ROOT / "examples/remote_worker.py").read_text("utf-8").splitlines() if line.strip()]

    assert len(lines) < 20
